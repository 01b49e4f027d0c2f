//! A bad upstream in the four ways a client can meet it: whole and as a stream, alone and with a good one below.

use super::{Answer, Exchange, TestApp, Upstream, chat, chat_stream, upstream, upstream::After};

/// What a client must see of a fault.
#[derive(Clone, Copy, Debug)]
pub enum Sees {
    /// An answer as if nothing had happened.
    Well,
    /// An error before any content, with this status and code; another channel hides it.
    Refusal(u16, &'static str),
    /// Content, then an error event with this code in a stream, a cut connection otherwise.
    Broken(&'static str),
}

/// Checks what a client sees of an upstream that follows `script`, first of a whole answer, then of a stream.
pub async fn check<F, R>(script: F, whole: Sees, stream: Sees)
where
    F: Fn(Exchange) -> R + Send + Sync + 'static,
    R: Future<Output = After> + Send + 'static,
{
    check_with("", script, whole, stream).await;
}

/// The same with further settings of the channel.
pub async fn check_with<F, R>(settings: &str, script: F, whole: Sees, stream: Sees)
where
    F: Fn(Exchange) -> R + Send + Sync + 'static,
    R: Future<Output = After> + Send + 'static,
{
    let bad = Upstream::start(script).await;
    check_address(&format!("http://{}", bad.address), settings, whole, stream).await;
}

/// The same for an upstream that is there already.
pub async fn check_address(address: &str, settings: &str, whole: Sees, stream: Sees) {
    let good = Upstream::start(|exchange| exchange.answer_well("good")).await;
    let bad = upstream::channel("bad", address, &format!("models = [\"m\", \"n\"]\n{settings}"));
    let below = good.channel("good", "models = [\"n\"]\npriority = -1\n");
    let app = TestApp::start(&format!("{bad}{below}"));
    check_app(&app, whole, stream).await;
}

/// The same for a gateway whose model `m` only the bad upstream serves, and `n` a good one too.
pub async fn check_app(app: &TestApp, whole: Sees, stream: Sees) {
    for (sees, body) in [(whole, chat as fn(&str) -> String), (stream, chat_stream)] {
        let streams = body("m").contains("stream");
        alone(&app.client().chat(&body("m")).await, sees, streams);
        let answer = app.client().chat(&body("n")).await;
        match sees {
            Sees::Refusal(..) => {
                assert_eq!(answer.status, 200, "a good channel hides the fault: {answer:?}");
                assert!(answer.complete && answer.body.contains("good"), "{answer:?}");
            }
            Sees::Well | Sees::Broken(_) => alone(&answer, sees, streams),
        }
    }
}

fn alone(answer: &Answer, sees: Sees, streams: bool) {
    assert!(!answer.head.contains("secret-bad") && !answer.body.contains("secret-bad"), "{answer:?}");
    match sees {
        Sees::Well => {
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.complete && answer.body.contains("hello"), "{answer:?}");
            assert_eq!(answer.body.ends_with("data: [DONE]\n\n"), streams, "{answer:?}");
        }
        Sees::Refusal(status, code) => {
            assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{answer:?}");
            assert_eq!(answer.json()["error"]["fault"], "upstream", "{answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert!(answer.complete, "{answer:?}");
        }
        Sees::Broken(code) if streams => {
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.complete && answer.body.contains("hello"), "{answer:?}");
            assert!(!answer.body.contains("[DONE]"), "a broken stream has no good end: {answer:?}");
            assert_eq!(answer.error_event()["code"], code, "{answer:?}");
        }
        Sees::Broken(_) => {
            assert_eq!(answer.status, 200);
            assert!(!answer.complete, "a broken answer must not look whole");
        }
    }
}

/// An answer's head with more header lines, which end with CRLF.
pub fn head(status: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{more}\r\n")
}

/// The head of a whole answer whose length is known.
pub fn json_head(len: usize) -> String {
    head("200 OK", &format!("content-type: application/json\r\ncontent-length: {len}\r\n"))
}

/// The head of a stream; `framing` is a header line or nothing.
pub fn stream_head(framing: &str) -> String {
    head("200 OK", &format!("content-type: text/event-stream\r\n{framing}"))
}

/// A chunk.
pub fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The header line of a chunked answer.
pub const CHUNKED: &str = "transfer-encoding: chunked\r\n";
