//! Paths and methods as clients write them, and what they are answered.

use super::support::{Client, Process, TestApp, Upstream, chat};

#[tokio::test]
async fn base_urls_in_every_form_reach_the_endpoint() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app = TestApp::start(&upstream.channel("a", ""));
    for path in [
        "/v1/chat/completions",
        "/chat/completions",
        "/v1/v1/chat/completions",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1//chat///completions//",
        "/v1/chat/completions?api-version=2024-02-01&x=%zz",
    ] {
        assert_eq!(app.client().post(path, chat("m").as_bytes()).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_here_says_so() {
    let app = TestApp::start("");
    for (method, path, status, code) in [
        ("GET", "/", 404, "unknown_url"),
        ("GET", "/v1", 404, "unknown_url"),
        ("POST", "/v1/chat", 404, "unknown_url"),
        ("POST", "/v2/chat/completions", 404, "unknown_url"),
        ("POST", "/v1/chat%2Fcompletions", 404, "unknown_url"),
        ("POST", "/v1/../v1/chat/completions", 404, "unknown_url"),
        ("POST", "/V1/CHAT/COMPLETIONS", 404, "unknown_url"),
        ("GET", "/%00", 404, "unknown_url"),
        ("GET", "/favicon.ico", 404, "unknown_url"),
        ("POST", "/v1/images/generations", 501, "api_not_implemented"),
        ("POST", "/v1/audio/speech", 501, "api_not_implemented"),
        ("POST", "/v1/realtime", 501, "api_not_implemented"),
        ("DELETE", "/v1/models/m", 501, "api_not_implemented"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("post", "/v1/chat/completions", 405, "method_not_allowed"),
        ("PUT", "/v1/embeddings", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("PROPFIND", "/metrics", 405, "method_not_allowed"),
    ] {
        let answer = app.client().send(&app.client().request(method, path, b"")).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{method} {path}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        match status {
            404 => assert!(answer.body.contains(&format!("Invalid URL ({method} {path}")), "{}", answer.body),
            405 if path.ends_with("embeddings") || path.contains("chat") => {
                assert_eq!(answer.header("allow"), Some("POST"));
            }
            405 => assert_eq!(answer.header("allow"), Some("GET, HEAD")),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_refusal_of_a_path_is_logged_once_with_its_id() {
    let process = Process::start("");
    let long = format!("/nowhere/{}", "x".repeat(300));
    let mut ids = Vec::new();
    for (path, status, code) in [
        ("/nowhere?key=sk-in-the-query", 404, "unknown_url"),
        (&*long, 404, "unknown_url"),
        ("/v1/images/generations", 501, "api_not_implemented"),
        ("/v1/models/none", 404, "model_not_found"),
    ] {
        let answer = process.client().get(path).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{path}");
        let id = answer.header("x-request-id").unwrap().to_owned();
        process.wait_until(path, |log| log.contains(&id));
        ids.push((id, path, status));
    }
    let log = process.log();
    for (id, path, status) in ids {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&id)).collect();
        let [line] = lines[..] else { panic!("{path}: {lines:?}") };
        let shown = &path.split('?').next().unwrap()[..path.find('?').unwrap_or(path.len()).min(200)];
        assert!(line.contains("INFO") && line.contains("request refused"), "{line}");
        assert!(line.contains(shown) && line.contains(&status.to_string()), "{line}");
        assert!(!line.contains(&"x".repeat(200)), "{line}");
    }
    assert!(!log.contains("sk-in-the-query"), "{log}");
}

#[tokio::test]
async fn head_is_answered_without_a_body() {
    let app = TestApp::start("");
    for (path, status) in
        [("/health", 200), ("/v1/models", 200), ("/v1/chat/completions", 405), ("/nowhere", 404)]
    {
        let bytes = app.client().request("HEAD", path, b"");
        let mut tcp = app.client().open(&bytes).await;
        let mut all = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut tcp, &mut all).await.unwrap();
        let text = String::from_utf8(all).unwrap();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")) && text.ends_with("\r\n\r\n"),
            "{path} {text}"
        );
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_call() {
    let app = TestApp::start("");
    let page = Client::without_key(app.address).with_header("origin: https://page.example");
    let asks = page
        .with_header("access-control-request-method: POST")
        .with_header("access-control-request-headers: authorization, x-custom");
    for path in ["/v1/chat/completions", "/anything", "*"] {
        let answer = asks.send(&asks.request("OPTIONS", path, b"")).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("authorization, x-custom"));
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    }
    let refused = page.chat(&chat("m")).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("*")));
    assert_eq!(refused.header("access-control-expose-headers"), Some("*"));
    assert_eq!(refused.header("access-control-allow-credentials"), None);
}
