//! Like to like: real requests and answers of every dialect, each of them again with a field that nobody knows
//! in each of its objects, pass byte by byte but for the model's name.

use std::sync::{Arc, Mutex};

use super::support::{
    Answer, Exchange, TestApp, Upstream,
    fault::{CHUNKED, chunk, json_head, stream_head},
    upstream::After,
};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/unchanged/", $name))
    };
}

/// A dialect: its provider, its path for whole answers and for streams, and real bodies in it.
struct Fixture {
    provider: &'static str,
    whole: &'static str,
    stream: &'static str,
    request: &'static str,
    answer: &'static str,
    events: &'static str,
}

/// An upstream that answers with what `says` holds at the time, as JSON or, where it has lines of a stream, as
/// those: each in a chunk of its own.
async fn saying(says: Arc<Mutex<String>>) -> Upstream {
    Upstream::start(move |mut exchange: Exchange| {
        let sent = says.lock().unwrap().clone();
        async move {
            if sent.contains("\ndata: ") || sent.starts_with("data: ") {
                let chunks: String = sent.split_inclusive("\n\n").map(chunk).collect();
                exchange.write(stream_head(CHUNKED) + &chunks + "0\r\n\r\n").await;
            } else {
                exchange.write(json_head(sent.len()) + &sent).await;
            }
            After::Keep(exchange)
        }
    })
    .await
}

/// The text as it is, and with an unknown member at the beginning of each of its objects in turn.
fn variants(text: &str) -> Vec<String> {
    let (mut in_string, mut escaped) = (false, false);
    let mut all = vec![text.to_owned()];
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' if !in_string => {
                let (before, after) = text.split_at(at + 1);
                let comma = if after.trim_start().starts_with('}') { "" } else { " ," };
                let unknown = r#" "x_unknown" :{"deep":[1.50,1E3,"\u00fc\/",null,{}],"model":"inner"}"#;
                all.push(format!("{before}{unknown}{comma}{after}"));
            }
            _ => {}
        }
    }
    all
}

/// Sends every variant there and back; gives how many there were.
async fn check(fixture: &Fixture) -> usize {
    let says = Arc::new(Mutex::new(String::new()));
    let upstream = saying(says.clone()).await;
    let app = TestApp::start(&format!(
        "[[channel]]\nname = \"up\"\nprovider = \"{}\"\nbase_url = \"http://{}\"\ncredential = \"secret-up\"\n\
         models = [\"m\"]\n[channel.mapping]\nm = \"up-1\"\n",
        fixture.provider, upstream.address
    ));
    let client = app.client();
    let ask = async |stream: bool, body: &str| -> Answer {
        let path = if stream { fixture.stream } else { fixture.whole };
        let answer = client.post(path, body.replace("MODEL", "m").as_bytes()).await;
        assert_eq!(answer.status, 200, "{body}\n{}", answer.body);
        answer
    };
    let [request, asks_stream] = ["false", "true"].map(|v| fixture.request.replace("STREAM", v));
    let mut checked = 0;
    *says.lock().unwrap() = fixture.answer.replace("MODEL", "up-1");
    for body in variants(&request) {
        ask(false, &body).await;
        assert_eq!(upstream.seen().last().unwrap().body, body.replace("MODEL", "up-1"));
        checked += 1;
    }
    for (stream, sent) in [(false, fixture.answer), (true, fixture.events)] {
        for sent in variants(sent) {
            *says.lock().unwrap() = sent.replace("MODEL", "up-1");
            let answer = ask(stream, if stream { &asks_stream } else { &request }).await;
            assert_eq!(answer.body, sent.replace("MODEL", "m"));
            checked += 1;
        }
    }
    assert_eq!(upstream.seen().last().unwrap().body, asks_stream.replace("MODEL", "up-1"));
    checked
}

#[tokio::test]
async fn openais_bytes_pass_with_whatever_nobody_knows() {
    let checked = check(&Fixture {
        provider: "openai",
        whole: "/v1/chat/completions",
        stream: "/v1/chat/completions",
        request: fixture!("openai.request.json"),
        answer: fixture!("openai.answer.json"),
        events: fixture!("openai.answer.sse"),
    });
    assert!(checked.await >= 75);
}

#[tokio::test]
async fn anthropics_bytes_pass_with_whatever_nobody_knows() {
    let checked = check(&Fixture {
        provider: "anthropic",
        whole: "/v1/messages",
        stream: "/v1/messages",
        request: fixture!("anthropic.request.json"),
        answer: fixture!("anthropic.answer.json"),
        events: fixture!("anthropic.answer.sse"),
    });
    assert!(checked.await >= 70);
}

#[tokio::test]
async fn geminis_bytes_pass_with_whatever_nobody_knows() {
    let checked = check(&Fixture {
        provider: "gemini",
        whole: "/v1beta/models/m:generateContent",
        stream: "/v1beta/models/m:streamGenerateContent?alt=sse",
        request: fixture!("gemini.request.json"),
        answer: fixture!("gemini.answer.json"),
        events: fixture!("gemini.answer.sse"),
    });
    assert!(checked.await >= 85);
}

#[tokio::test]
async fn the_bytes_of_responses_pass_with_whatever_nobody_knows() {
    let checked = check(&Fixture {
        provider: "openai-responses",
        whole: "/v1/responses",
        stream: "/v1/responses",
        request: fixture!("responses.request.json"),
        answer: fixture!("responses.answer.json"),
        events: fixture!("responses.answer.sse"),
    });
    assert!(checked.await >= 68);
}
