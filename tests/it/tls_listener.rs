//! The listener under TLS: the same answers, certificates replaced while calls run, odd clients.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::support::{
    TestApp, Upstream, chat, chat_stream,
    upstream::{After, STREAM_END, event},
};

/// Certificates in a folder of their own, and a gateway that uses them.
struct Served {
    app: TestApp,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

/// Puts a new certificate for `localhost` there, and gives it.
fn issue(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    // Written beside and renamed, as the usual tools do.
    for (name, pem) in [("key.pem", made.signing_key.serialize_pem()), ("cert.pem", made.cert.pem())] {
        std::fs::write(folder.join("new"), pem).unwrap();
        std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
    }
    made.cert.der().clone()
}

async fn serve(settings: &str) -> (Served, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let certificate = issue(folder.path());
    let shown = folder.path().display();
    let tls = format!(
        "[tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{shown}/cert.pem\"\nkey = \"{shown}/key.pem\"\n"
    );
    let app = TestApp::start(&(tls + settings));
    let address = app.run(|gateway| Box::pin(async { gateway.tls_address() })).await.expect("listens");
    (Served { app, address, folder }, certificate)
}

async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// Reads until `end` has come.
async fn read_until(tls: &mut TlsStream<TcpStream>, end: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains(end) {
        let n = tls.read(&mut buffer).await.unwrap();
        assert!(n > 0, "ended before {end:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    text
}

#[tokio::test]
async fn whole_and_streamed_answers_come_through_on_one_connection() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    let (served, certificate) = serve(&upstream.channel("up", "")).await;
    let mut tls = connect(served.address, &certificate).await.unwrap();
    for body in [chat("m"), chat_stream("m"), chat("m")] {
        let request = served.app.client().request("POST", "/v1/chat/completions", body.as_bytes());
        let request = String::from_utf8(request).unwrap().replace("connection: close\r\n", "");
        tls.write_all(request.as_bytes()).await.unwrap();
        let end = if body == chat("m") { "\"total_tokens\"" } else { "[DONE]\n\n\r\n0\r\n\r\n" };
        let answer = read_until(&mut tls, end).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("hello"), "{answer}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_and_cuts_no_stream() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let upstream = Upstream::start(move |mut exchange| {
        let mut wait = wait.clone();
        async move {
            exchange.begin_stream().await;
            exchange.chunk(&event("first")).await;
            let _ = wait.wait_for(|go| *go).await;
            exchange.chunk(&(event("last") + STREAM_END)).await;
            exchange.end_stream().await;
            After::Keep(exchange)
        }
    })
    .await;
    let (served, old) = serve(&upstream.channel("up", "")).await;
    let mut stream = connect(served.address, &old).await.unwrap();
    let body = chat_stream("m");
    stream
        .write_all(&served.app.client().request("POST", "/v1/chat/completions", body.as_bytes()))
        .await
        .unwrap();
    read_until(&mut stream, "first").await;

    // Files that cannot be used change nothing.
    std::fs::write(served.folder.path().join("cert.pem"), "nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(connect(served.address, &old).await.is_ok());

    let new = issue(served.folder.path());
    let address = served.address;
    while connect(address, &new).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(connect(address, &old).await.is_err(), "the old certificate is shown no more");

    go.send(true).unwrap();
    assert!(read_until(&mut stream, "[DONE]").await.contains("last"));
}

#[tokio::test]
async fn who_never_shakes_hands_or_speaks_in_the_clear_disturbs_nobody() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    let (served, certificate) = serve(&upstream.channel("up", "")).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    let mut clear = TcpStream::connect(served.address).await.unwrap();
    clear.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut got = Vec::new();
    let _ = clear.read_to_end(&mut got).await;
    assert!(!got.starts_with(b"HTTP/"), "no answer in the clear");
    let mut tls = connect(served.address, &certificate).await.unwrap();
    tls.write_all(&served.app.client().request("GET", "/health", b"")).await.unwrap();
    read_until(&mut tls, "healthy").await;
}
