//! An upstream whose answers are HTTP but not what was asked for.

use super::support::{
    Exchange, TestApp, Upstream, chat, chat_stream,
    fault::{CHUNKED, Sees, check, chunk, json_head, stream_head},
    upstream::{After, STREAM_END, completion, event},
};

const BAD: Sees = Sees::Refusal(502, "upstream_bad_answer");
const ODD: Sees = Sees::Refusal(502, "unexpected_response_format");

/// Answers each request with the same body, whatever it asked for.
async fn always(mut exchange: Exchange, status: u16, content_type: &str, body: &str) -> After {
    exchange.answer(status, content_type, body).await;
    After::Keep(exchange)
}

#[tokio::test]
async fn html_is_no_answer() {
    check(|e| always(e, 200, "text/html", "<html>hello</html>"), BAD, ODD).await;
    let sees = Sees::Refusal(502, "bad_response_status_code");
    check(|e| always(e, 502, "text/html", "<html>secret-bad</html>"), sees, sees).await;
}

#[tokio::test]
async fn broken_json_is_no_answer() {
    check(|e| always(e, 200, "application/json", "{\"id\":tru"), BAD, BAD).await;
    check(|e| always(e, 200, "application/json", "{\"id\":\"x\""), BAD, BAD).await;
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    for garbage in ["SSH-2.0-OpenSSH_9.6\r\n", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "HTTP/9.9 xyz\r\n\r\n"]
    {
        let script = move |mut exchange: Exchange| async move {
            exchange.write(garbage).await;
            exchange.stall().await
        };
        check(script, BAD, BAD).await;
    }
}

#[tokio::test]
async fn json_instead_of_a_stream_and_the_reverse_is_given_as_it_was_asked_for() {
    let script = |mut exchange: Exchange| async move {
        if exchange.wants_stream() {
            exchange.answer(200, "application/json", &completion("hello", "m")).await;
        } else {
            exchange
                .write(stream_head(CHUNKED) + &chunk(&event("hello")) + &chunk(STREAM_END) + "0\r\n\r\n")
                .await;
        }
        After::Keep(exchange)
    };
    check(script, Sees::Well, Sees::Well).await;
}

const ERROR: &str = r#"{"error":{"message":"out of hamsters","type":"server_error","code":"no_hamsters"}}"#;

#[tokio::test]
async fn an_error_inside_a_good_answer_is_an_error() {
    let script = |mut exchange: Exchange| async move {
        let stream = stream_head(CHUNKED) + &chunk(&format!("data: {ERROR}\n\n")) + "0\r\n\r\n";
        let whole = json_head(ERROR.len()) + ERROR;
        exchange.write(if exchange.wants_stream() { stream } else { whole }).await;
        After::Keep(exchange)
    };
    let sees = Sees::Refusal(502, "no_hamsters");
    check(script, sees, sees).await;
}

#[tokio::test]
async fn an_error_inside_good_json_where_a_stream_was_asked_for_is_told() {
    let sees = Sees::Refusal(502, "no_hamsters");
    check(|e| always(e, 200, "application/json", ERROR), sees, sees).await;
}

#[tokio::test]
async fn an_error_as_a_later_event_breaks_the_stream() {
    let script = |mut exchange: Exchange| async move {
        let stream = stream_head(CHUNKED) + &chunk(&event("hello")) + &chunk(&format!("data: {ERROR}\n\n"));
        let whole = json_head(ERROR.len()) + ERROR;
        exchange.write(if exchange.wants_stream() { stream } else { whole }).await;
        exchange.until_left().await
    };
    let upstream = Upstream::start(script).await;
    let app = TestApp::start(&upstream.channel("up", ""));
    let answer = app.client().chat(&chat_stream("m")).await;
    let error = answer.error_event();
    assert_eq!((&error["code"], &error["type"]), (&"no_hamsters".into(), &"server_error".into()));
    assert!(error["message"].as_str().unwrap().starts_with("out of hamsters"), "{error}");
    assert!(answer.body.contains("hello") && !answer.body.contains("[DONE]"));
    super::support::eventually("the upstream is left", || upstream.left() == 1).await;
}

#[tokio::test]
async fn a_providers_hint_when_to_come_back_reaches_the_client_in_both_forms() {
    let soon = httpdate::fmt_http_date(std::time::SystemTime::now() + std::time::Duration::from_secs(100));
    for (line, seconds, millis) in [
        ("retry-after: 7".to_owned(), 7..=7, 7000..=7000),
        ("retry-after-ms: 1500\r\nretry-after: 9".to_owned(), 2..=2, 1500..=1500),
        ("retry-after: 0.25".to_owned(), 1..=1, 250..=250),
        (format!("retry-after: {soon}"), 60..=100, 60_000..=100_000),
    ] {
        let upstream = Upstream::start(move |mut exchange: Exchange| {
            let head = format!(
                "HTTP/1.1 429 Too Many Requests\r\n{line}\r\ncontent-length: {}\r\n\r\n",
                ERROR.len()
            );
            async move {
                exchange.write(head + ERROR).await;
                After::Keep(exchange)
            }
        })
        .await;
        let app = TestApp::start(&upstream.channel("up", "pacing = false\n"));
        for body in [chat("m"), chat_stream("m")] {
            let answer = app.client().chat(&body).await;
            assert_eq!((answer.status, answer.error_code().as_str()), (429, "no_hamsters"));
            let number = |name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
            assert!(seconds.contains(&number("retry-after")), "{answer:?}");
            assert!(millis.contains(&number("retry-after-ms")), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_credential_that_an_error_echoes_is_hidden_wherever_it_stands() {
    let echo = r#"{"error":{"message":"bad key secret-bad","type":"type secret-bad","param":"secret-bad","code":"code secret-bad"}}"#;
    for status in [401, 500] {
        let upstream = Upstream::start(move |e| always(e, status, "application/json", echo)).await;
        let app = TestApp::start(&upstream.channel("bad", ""));
        for body in [chat("m"), chat_stream("m")] {
            let answer = app.client().chat(&body).await;
            assert_eq!(answer.status, status);
            assert!(!answer.body.contains("secret-bad"), "{}", answer.body);
            // Of a refused credential providers show parts, so that sentence is ours.
            let sentence = if status == 401 { "refused the channel's credential" } else { "bad key ***" };
            assert!(answer.body.contains(sentence), "{}", answer.body);
        }
    }
    for begun in ["", "hello"] {
        let upstream = Upstream::start(move |mut exchange: Exchange| async move {
            let first = if begun.is_empty() { String::new() } else { chunk(&event(begun)) };
            exchange.write(stream_head(CHUNKED) + &first + &chunk(&format!("data: {echo}\n\n"))).await;
            exchange.until_left().await
        })
        .await;
        let app = TestApp::start(&upstream.channel("bad", ""));
        let answer = app.client().chat(&chat_stream("m")).await;
        assert!(!answer.body.contains("secret-bad"), "{}", answer.body);
        assert!(answer.body.contains("bad key ***"), "{}", answer.body);
    }
}

/// What a client is told where the provider wants another credential: nothing that sounds like its own key.
async fn refused_credential(channel: &str, message: &str) {
    let app = TestApp::start(channel);
    for body in [chat("m"), chat_stream("m")] {
        let answer = app.client().chat(&body).await;
        assert_eq!(answer.status, 401);
        let error = &answer.json()["error"];
        assert_eq!(error["type"], "upstream_error");
        assert_eq!(error["code"], "upstream_credential_refused");
        assert_eq!(error["fault"], "upstream");
        assert!(error["param"].is_null());
        assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
        assert_eq!(answer.header("www-authenticate"), None);
        assert_eq!(answer.header("x-should-retry"), None);
        assert_eq!(answer.header("x-penstock-fault"), Some("upstream"));
        assert_eq!(answer.header("x-penstock-channel"), Some("bad"));
        assert_eq!(answer.header("x-penstock-attempts"), Some("1"));
    }
}

#[tokio::test]
async fn a_refused_credential_of_a_channel_does_not_look_like_the_clients_own() {
    let refused = "The provider refused the channel's credential.";
    let missing = "The provider wants a credential, and the channel has none.";
    let body =
        r#"{"error":{"message":"no","type":"invalid_request_error","param":"key","code":"invalid_api_key"}}"#;
    for (status, body) in [(401, body), (200, r#"{"error":{"message":"no key","code":401}}"#)] {
        let upstream = Upstream::start(move |e| always(e, status, "application/json", body)).await;
        let channel = upstream.channel("bad", "");
        let bare = channel.replace("credential = \"secret-bad\"\n", "");
        assert_ne!(bare, channel);
        refused_credential(&channel, refused).await;
        refused_credential(&bare, missing).await;
        let by_hand = format!("{bare}[channel.headers]\nAuthorization = \"Bearer by-hand\"\n");
        refused_credential(&by_hand, refused).await;
    }
}

#[tokio::test]
async fn who_may_not_see_routing_is_not_told_it_by_a_refusal() {
    let upstream = Upstream::start(|e| always(e, 500, "application/json", "{}")).await;
    const OTHER: &str = "sk-other-0123456789abcdef";
    let key = format!("[[key]]\nname = \"other\"\nsecret = \"{OTHER}\"\n");
    let app = TestApp::start(&format!("{}{key}", upstream.channel("bad", "")));
    for (client, channel) in [(app.client(), Some("bad")), (app.client().with_key(OTHER), None)] {
        let answer = client.chat(&chat("m")).await;
        assert_eq!((answer.status, answer.header("x-penstock-channel")), (500, channel));
        assert_eq!(answer.header("x-penstock-attempts"), channel.map(|_| "1"));
        let unknown = client.chat(&chat("unknown")).await;
        assert_eq!((unknown.status, unknown.header("x-penstock-attempts")), (404, None));
    }
}

#[tokio::test]
async fn a_credential_at_the_place_where_a_long_message_is_cut_is_hidden() {
    for before in 2030..2050 {
        let body = format!(r#"{{"error":{{"message":"{}secret-bad"}}}}"#, "x".repeat(before));
        let upstream = Upstream::start(move |mut exchange: Exchange| {
            let body = body.clone();
            async move {
                exchange.answer(500, "application/json", &body).await;
                After::Keep(exchange)
            }
        })
        .await;
        let app = TestApp::start(&upstream.channel("bad", ""));
        let answer = app.client().chat(&chat("m")).await;
        assert!(!answer.body.contains("xs"), "{before}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_huge_error_is_cut_short() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        let huge = "x".repeat(10 << 20);
        let body = format!(r#"{{"error":{{"message":"{huge}","code":"{huge}"}}}}"#);
        exchange.answer(500, "application/json", &body).await;
        exchange.until_left().await
    })
    .await;
    let app = TestApp::start(&upstream.channel("up", ""));
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.len() < 5000, "{}", answer.body.len());
}

#[tokio::test]
async fn a_word_that_serves_as_credential_stays_in_what_is_told() {
    let body = r#"{"error":{"message":"ollama is out of memory","code":"ollama_oom"}}"#;
    let upstream = Upstream::start(|e| always(e, 500, "application/json", body)).await;
    let channel = upstream.channel("up", "").replace("secret-up", "ollama");
    let app = TestApp::start(&channel);
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!(answer.error_code(), "ollama_oom");
    assert!(answer.body.contains("ollama is out of memory"), "{}", answer.body);
}

#[tokio::test]
async fn no_part_of_an_error_is_passed_on_at_any_length() {
    let long = "x".repeat(60_000);
    let body = format!(r#"{{"error":{{"message":"m","type":"{long}"}}}}"#);
    let body = body.leak();
    let upstream = Upstream::start(|e| always(e, 500, "application/json", body)).await;
    let app = TestApp::start(&upstream.channel("up", ""));
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.len() < 5000, "{}", answer.body.len());
}

#[tokio::test]
async fn an_event_passes_intact_up_to_the_cap_and_breaks_the_stream_above_it() {
    for (len, fits) in [((16 << 20) - event("").len(), true), (17 << 20, false)] {
        let upstream = Upstream::start(move |mut exchange: Exchange| async move {
            exchange.write(stream_head(CHUNKED) + &chunk(&event("hello"))).await;
            exchange.write(chunk(&event(&"x".repeat(len)))).await;
            exchange.write(chunk(STREAM_END) + "0\r\n\r\n").await;
            if fits { After::Keep(exchange) } else { exchange.until_left().await }
        })
        .await;
        let app = TestApp::start(&upstream.channel("up", ""));
        let answer = app.client().chat(&chat_stream("m")).await;
        assert!(answer.complete);
        if fits {
            let whole = event("hello") + &event(&"x".repeat(len)) + STREAM_END;
            assert!(answer.body == whole, "{} of {} bytes came", answer.body.len(), whole.len());
        } else {
            assert_eq!(answer.error_event()["code"], "upstream_bad_answer");
            assert!(answer.body.len() < 1000 && !answer.body.contains("[DONE]"));
        }
    }
}
