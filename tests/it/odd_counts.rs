//! Providers that count tokens oddly: the answer is still the client's, and costs no more than its due.

use std::net::SocketAddr;

use penstock::mock::MockSettings;
use serde_json::json;

use super::{
    calls::settled,
    support::{Answer, Client, TestApp, Upstream, upstream::After},
    upstreams::{CASES, deltas, mocked, setting},
};

/// Writes `count` for every count of tokens in a body.
fn recounted(body: &str, count: &str) -> String {
    let mut out = String::new();
    let mut key = "";
    for (n, piece) in body.split('"').enumerate() {
        if n > 0 {
            out.push('"');
        }
        let counts = ["token", "count"].iter().any(|word| key.to_ascii_lowercase().contains(word));
        let number = piece.strip_prefix(':').map(str::trim_start).unwrap_or_default();
        let rest = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if n % 2 == 0 && counts && rest.len() < number.len() {
            out.push(':');
            out.push_str(count);
            out.push_str(rest);
        } else {
            out.push_str(piece);
        }
        key = piece;
    }
    out
}

/// A provider in front of another, whose counts are all `count`.
async fn miscounting(provider: SocketAddr, count: &'static str) -> Upstream {
    Upstream::start(move |mut exchange| async move {
        let head = exchange.head.trim_end();
        let mut asked = format!("{head}\r\nconnection: close\r\n\r\n").into_bytes();
        asked.extend(&exchange.body);
        let answer = Client::without_key(provider).send(&asked).await;
        let content_type = answer.header("content-type").unwrap_or("application/json").to_owned();
        exchange.answer(answer.status, &content_type, &recounted(&answer.body, count)).await;
        After::Keep(exchange)
    })
    .await
}

/// What stands where a provider tells how many tokens there were.
const COUNTS: [&str; 9] = ["-5", "7.0", "18446744073709551615", "1e300", "null", "\"9\"", "{}", "[]", "true"];

fn question(stream: bool) -> String {
    json!({"model": "m", "max_tokens": 50, "stream": stream, "stream_options": stream.then(|| json!({"include_usage": true})),
        "messages": [{"role": "user", "content": "one two three"}]})
    .to_string()
}

fn said(answer: &Answer, stream: bool) -> String {
    match stream {
        false => answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned(),
        true => deltas(&answer.body)
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect(),
    }
}

#[tokio::test]
async fn an_answer_is_not_lost_for_odd_counts() {
    let provider = mocked(MockSettings::default());
    // Spark's come over a websocket; its frames are read by the same rule.
    for case in CASES.iter().filter(|case| case.name != "spark-websocket") {
        let mut answered = Vec::new();
        for count in COUNTS {
            let upstream = miscounting(provider.address, count).await;
            let app = TestApp::start(&setting(case, upstream.address));
            let mut calls = Vec::new();
            // Bedrock's streams are no text.
            let forms: &[bool] = if case.name.starts_with("bedrock") { &[false] } else { &[false, true] };
            for stream in forms {
                let place = format!("{} with {count}, stream {stream}", case.name);
                let answer = app.client().chat(&question(*stream)).await;
                assert!(answer.status == 200 && answer.complete, "{place}: {answer:?}");
                assert_eq!(said(&answer, *stream), "echo: one two three", "{place}");
                calls.push((place, answer));
            }
            answered.push((count, app, calls));
        }
        // All of them are settled meanwhile.
        for (count, app, calls) in answered {
            for (place, answer) in calls {
                let call = settled(&app.client(), answer.header("x-request-id").unwrap()).await;
                assert_eq!(call["outcome"], "completed", "{place}: {call}");
                let output = call["usage"]["output"].as_u64().unwrap();
                match count {
                    "7.0" if case.counts => assert_eq!(output, 7, "{place}: {call}"),
                    "18446744073709551615" | "1e300" => assert!(output <= 1 << 40, "{place}: {call}"),
                    _ => assert!(output < 100, "{place}: {call}"),
                }
            }
        }
    }
}
