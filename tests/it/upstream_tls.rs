//! The same cuts under TLS, where an end without `close_notify` is an attack or an accident, never an end.

use penstock::{app::Options, transport::TlsRoots};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;

use super::support::{
    Exchange, TestApp, Upstream, chat, chat_stream, eventually,
    fault::{CHUNKED, Sees, check_app, chunk, json_head, stream_head},
    upstream::{self, After, STREAM_END, completion, event},
};

const CUT: Sees = Sees::Refusal(502, "upstream_cut_off");
const CUT_INSIDE: Sees = Sees::Broken("upstream_cut_off");

/// A gateway that trusts a certificate.
fn trusting(settings: &str, certificate: CertificateDer<'static>) -> TestApp {
    let options = || Options { roots: TlsRoots { extra: vec![certificate] }, ..Options::default() };
    TestApp::start_with(settings, options)
}

/// As `fault::check`, under TLS.
async fn check<F, R>(script: F, whole: Sees, stream: Sees)
where
    F: Fn(Exchange) -> R + Send + Sync + 'static,
    R: Future<Output = After> + Send + 'static,
{
    let (bad, certificate) = Upstream::start_tls(script).await;
    let good = Upstream::start(|exchange| exchange.answer_well("good")).await;
    let bad = bad.tls_channel("bad", "models = [\"m\", \"n\"]\n");
    let app = trusting(&(bad + &good.channel("good", "models = [\"n\"]\npriority = -1\n")), certificate);
    check_app(&app, whole, stream).await;
}

async fn write(mut exchange: Exchange, whole: String, stream: String) -> Exchange {
    exchange.write(if exchange.wants_stream() { stream } else { whole }).await;
    exchange
}

#[tokio::test]
async fn good_answers_come_through_and_connections_are_kept() {
    let (upstream, certificate) = Upstream::start_tls(|exchange| exchange.answer_well("hello")).await;
    let app = trusting(&format!("[server]\nworkers = 1\n{}", upstream.tls_channel("up", "")), certificate);
    for body in [chat("m"), chat_stream("m"), chat("m")] {
        let answer = app.client().chat(&body).await;
        assert!(answer.complete && answer.body.contains("hello"), "{answer:?}");
    }
    assert_eq!(app.cell("up").connections.opened(), 1);
    let host = format!("localhost:{}", upstream.address.port());
    assert_eq!(upstream.seen()[0].header("host"), Some(host.as_str()));
}

#[tokio::test]
async fn a_cut_inside_a_body_is_an_error_with_and_without_close_notify() {
    for notify in [false, true] {
        let script = move |exchange| async move {
            let stream = stream_head(CHUNKED) + &chunk(&event("hello"));
            let exchange = write(exchange, json_head(100) + "{\"model\":\"m\"", stream).await;
            if notify { exchange.finish().await } else { After::Close }
        };
        check(script, CUT, CUT_INSIDE).await;
    }
}

#[tokio::test]
async fn a_reset_inside_a_body_is_an_error() {
    let script = |exchange| async move {
        let stream = stream_head(CHUNKED) + &chunk(&event("hello"));
        write(exchange, json_head(100) + "{\"model\":\"m\"", stream).await.reset().await
    };
    check(script, CUT, CUT_INSIDE).await;
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_needs_close_notify() {
    for notify in [false, true] {
        let script = move |exchange| async move {
            let whole = json_head(0).replace("content-length: 0\r\n", "") + &completion("hello", "m");
            let stream = stream_head("") + &event("hello") + STREAM_END.trim_end_matches("data: [DONE]\n\n");
            let exchange = write(exchange, whole, stream).await;
            if notify { exchange.finish().await } else { After::Close }
        };
        let (whole, stream) = if notify { (Sees::Well, Sees::Well) } else { (CUT, CUT_INSIDE) };
        check(script, whole, stream).await;
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_an_error_without_details() {
    let (upstream, _) = Upstream::start_tls(|exchange| exchange.answer_well("hello")).await;
    let (_, other) = Upstream::start_tls(|exchange| exchange.answer_well("hello")).await;
    let app = trusting(&upstream.tls_channel("up", ""), other);
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (502, "upstream_tls_failed"));
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("The provider's TLS handshake failed. (request id"), "{message}");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_an_error() {
    let (upstream, certificate) = Upstream::start_tls(|exchange| exchange.answer_well("hello")).await;
    let by_address = upstream::channel("up", &format!("https://{}", upstream.address), "");
    let app = trusting(&by_address, certificate);
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (502, "upstream_tls_failed"));
}

#[tokio::test]
async fn an_upstream_without_tls_is_an_error() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = mute.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = mute.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut tcp, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let app = TestApp::start(&upstream::channel("up", &format!("https://{address}"), ""));
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (502, "upstream_tls_failed"));
    drop(upstream);
}

/// A listener that takes connections and never says a word on them; counts those that end.
async fn mute() -> (std::net::SocketAddr, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    tokio::spawn({
        let ended = std::sync::Arc::clone(&ended);
        async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let ended = ended.clone();
                tokio::spawn(async move {
                    let mut space = [0; 1024];
                    while tokio::io::AsyncReadExt::read(&mut tcp, &mut space).await.is_ok_and(|n| n > 0) {}
                    ended.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                });
            }
        }
    });
    (address, ended)
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_at_the_connect_timeout() {
    let (address, _) = mute().await;
    let settings = "[channel.timeouts]\nconnect = \"100ms\"\n";
    let app = TestApp::start(&upstream::channel("up", &format!("https://{address}"), settings));
    for body in [chat("m"), chat_stream("m")] {
        let answer = app.client().chat(&body).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (504, "upstream_connect_timeout"));
    }
    eventually("no place is held", || app.cell("up").connections.count() == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_connecting_ends_the_handshake() {
    let (address, ended) = mute().await;
    let app = TestApp::start(&upstream::channel("up", &format!("https://{address}"), ""));
    let client = app.client();
    for (n, body) in [chat("m"), chat_stream("m")].into_iter().enumerate() {
        let tcp = client.open(&client.request("POST", "/v1/chat/completions", body.as_bytes())).await;
        eventually("a place is taken", || app.cell("up").connections.count() == 1).await;
        drop(tcp);
        eventually("the handshake ends", || ended.load(std::sync::atomic::Ordering::SeqCst) == n + 1).await;
        eventually("the permit returns", || app.cell("up").gate.in_flight() == 0).await;
        eventually("the place returns", || app.cell("up").connections.count() == 0).await;
    }
}
