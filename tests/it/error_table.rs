//! What clients of each dialect see of what providers of each dialect refuse: `docs/errors.md`, found out by having a
//! gateway serve such calls.

mod samples;

use std::fmt::Write as _;

use actix_http::ws::Message;
use serde_json::Value;

use self::samples::{CLASSES, Class, Sample, samples};
use super::support::{Answer, TestApp, Upstream, upstream::After, websocket};

const HEAD: &str = "\
# Errors

Each cell is what a client of the column's dialect gets where the only channel for a model refuses as the row says:
the status, and the words of that dialect's own errors. `docs/errors.md` is held to the program by a test, which
writes it anew with `UPDATE_DOCS=1`.

- Where another channel serves the model, it is tried first, unless the class says that the request itself is at
  fault: *bad request*, *content policy*, *too long*. Those are told at once.
- A provider that throttles and says for how long has its word passed on (`retry-after`), after the gateway itself
  has waited as far as the call may wait.
- What a provider never says has no row. Spark opens a websocket (101) and says in it what is wrong.
- A refused credential is never told in the provider's words, which may quote it.
- Every error carries the call's id and whose fault it was.
";

/// A client's dialect: its name, and how it asks.
const FACES: [&str; 4] = ["openai", "anthropic", "gemini", "openai-responses"];

/// Calls a model in a dialect.
async fn call(app: &TestApp, face: &str, model: &str) -> Answer {
    let client = app.client();
    match face {
        "openai" => {
            let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
            client.post("/v1/chat/completions", body.as_bytes()).await
        }
        "anthropic" => {
            let body = format!(
                r#"{{"model":"{model}","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}]}}"#
            );
            client.post("/v1/messages", body.as_bytes()).await
        }
        "gemini" => {
            let path = format!("/v1beta/models/{model}:generateContent");
            client.post(&path, br#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#).await
        }
        _ => {
            let body = format!(r#"{{"model":"{model}","input":"hi"}}"#);
            client.post("/v1/responses", body.as_bytes()).await
        }
    }
}

/// An answer in the words of its dialect.
fn told(face: &str, answer: &Answer) -> String {
    let error = answer.json()["error"].clone();
    let word = |name: &str| error[name].as_str().map(str::to_owned);
    let words = match face {
        "anthropic" => [word("type"), None],
        "gemini" => [word("status"), None],
        _ => [word("type"), word("code")],
    };
    let words: Vec<_> = words.into_iter().flatten().map(|word| format!("`{word}`")).collect();
    let hint = answer.header("retry-after").map_or_else(String::new, |after| format!(", after {after} s"));
    format!("{} {}{hint}", answer.status, words.join(" "))
}

/// A gateway whose models are the classes, for one face each: what is refused too often is switched off.
fn settings(sample: &Sample, address: &str) -> String {
    let channel = |class: Class, face: &str| {
        format!(
            "[[channel]]\nname = \"{class}-{face}\"\nprovider = \"{}\"\nbase_url = \"{address}{}\"\n{}\
             models = [\"{class}-{face}\"]\nmapping = {{ \"{class}-{face}\" = \"{}\" }}\npacing = false\n\
             headers = {{ \"x-class\" = \"{}\" }}\n{}\n",
            sample.provider,
            sample.path,
            sample.credential(address),
            sample.model,
            // No longer: a header's value is a secret, and hidden in what clients are told.
            class as usize,
            sample.more,
        )
    };
    CLASSES.iter().flat_map(|class| FACES.map(|face| channel(*class, face))).collect()
}

/// A provider that refuses as it is told by a header, and gives tokens to who wants one.
async fn provider(sample: &'static Sample) -> Upstream {
    Upstream::start(move |mut exchange| async move {
        if exchange.head.contains("/token") {
            let token = r#"{"access_token":"a-token","expires_in":3600,"token_type":"Bearer"}"#;
            exchange.answer(200, "application/json", token).await;
            return After::Keep(exchange);
        }
        let class = exchange.header("x-class").and_then(Class::of).unwrap();
        let (status, body) = sample.refusal(class);
        if status == 101 {
            websocket::switch(&mut exchange).await;
            exchange.write(websocket::bytes([Message::Text(body.into())])).await;
            return After::Close;
        }
        let retry = if class == Class::Throttled { "retry-after: 7\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{retry}content-length: {}\r\n\r\n",
            body.len()
        );
        exchange.write(head + body).await;
        After::Keep(exchange)
    })
    .await
}

/// What must hold of a class whatever the dialects, beyond what the page says.
fn check(class: Class, sample: &Sample, answer: &Answer) {
    let place = format!("{} {class}: {answer:?}", sample.dialect);
    match class {
        Class::Throttled => {
            // Inside a good status, a header says nothing of the error.
            let hint = (sample.refusal(class).0 == 429).then_some("7");
            assert_eq!((answer.status, answer.header("retry-after")), (429, hint), "{place}");
        }
        Class::Overloaded => assert!(matches!(answer.status, 503 | 529), "{place}"),
        Class::BadKey => assert_eq!(answer.status, 401, "{place}"),
        // Anthropic's own word for it is 400.
        Class::OutOfCredit => assert!(matches!(answer.status, 400 | 402 | 429), "{place}"),
        Class::NotFound => assert_eq!(answer.status, 404, "{place}"),
        Class::InsideSuccess => assert!(answer.status >= 500, "{place}"),
        Class::BadRequest | Class::ContentPolicy | Class::TooLong => {
            assert!(matches!(answer.status, 400 | 413 | 422), "{place}");
        }
    }
    let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(!message.is_empty() && !message.contains("secret"), "{place}");
}

#[tokio::test]
async fn the_page_of_errors_is_what_a_gateway_answers() {
    let mut page = HEAD.to_owned();
    for sample in samples() {
        let upstream = provider(sample).await;
        let app = TestApp::start(&settings(sample, &format!("http://{}", upstream.address)));
        write!(
            page,
            "\n## {}\n\n| provider | {} |\n|{}\n",
            sample.dialect,
            FACES.join(" | "),
            "---|".repeat(5)
        )
        .unwrap();
        for class in CLASSES {
            let (status, body) = sample.refusal(class);
            if sample.refusal(class) == samples::NONE {
                continue;
            }
            write!(page, "| {class}: {status} {} |", samples::code(body)).unwrap();
            for face in FACES {
                let answer = call(&app, face, &format!("{class}-{face}")).await;
                check(class, sample, &answer);
                write!(page, " {} |", told(face, &answer)).unwrap();
            }
            page.push('\n');
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let held = std::fs::read_to_string(path).unwrap_or_default();
    let wrong = held.lines().zip(page.lines()).find(|(held, page)| held != page);
    assert!(held == page, "write it anew: UPDATE_DOCS=1 cargo test the_page_of_errors; {wrong:?}");
}

#[test]
fn every_dialect_has_its_samples() {
    let missing: Vec<_> = penstock::dialect::Dialect::ALL
        .into_iter()
        .map(penstock::dialect::Dialect::name)
        .filter(|name| !samples().any(|sample| sample.dialect == *name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for sample in samples() {
        for class in CLASSES {
            let (_, body) = sample.refusal(class);
            assert!(serde_json::from_str::<Value>(body).is_ok(), "{} {class}", sample.dialect);
        }
    }
}
