//! Channels behind proxies: led through, and every way in which a proxy leads nowhere.

use penstock::{app::Options, transport::TlsRoots};
use rustls::pki_types::CertificateDer;

use super::support::{
    ScriptedProxy, TestApp, Upstream, Way, chat, chat_stream, eventually,
    fault::{Sees, check_address},
};

const SECRET: &str = "zebra%40secret";

/// A gateway whose one channel leads through a proxy.
fn app(channel: &str, trusted: Vec<CertificateDer<'static>>) -> TestApp {
    TestApp::start_with(&format!("[server]\nworkers = 1\n{channel}"), || Options {
        roots: TlsRoots { extra: trusted },
        ..Options::default()
    })
}

async fn check_led(app: &TestApp) {
    for body in [chat("m"), chat_stream("m"), chat("m")] {
        let answer = app.client().chat(&body).await;
        assert!(answer.status == 200 && answer.complete && answer.body.contains("hello"), "{answer:?}");
    }
    assert_eq!(app.cell("up").connections.opened(), 1);
}

#[tokio::test]
async fn an_http_proxy_leads_on_and_alone_is_shown_the_login() {
    for transport in ["http1", "awc"] {
        let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
        let proxy = ScriptedProxy::http(Way::Lead).await;
        let more =
            format!("proxy = \"http://user:{SECRET}@{}\"\ntransport = \"{transport}\"\n", proxy.address);
        check_led(&app(&upstream.channel("up", &more), Vec::new())).await;
        let to = upstream.address;
        let shown = "Proxy-Authorization: Basic dXNlcjp6ZWJyYUBzZWNyZXQ=";
        let asked = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{shown}\r\n\r\n");
        assert_eq!(proxy.seen(), [asked], "one tunnel for three calls");
        for seen in upstream.seen() {
            assert!(seen.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", seen.head);
            assert!(seen.header("proxy-authorization").is_none() && !seen.head.contains("zebra"));
        }
    }
}

#[tokio::test]
async fn tls_goes_through_every_kind_of_proxy() {
    let (upstream, certificate) = Upstream::start_tls(|exchange| exchange.answer_well("hello")).await;
    let http = ScriptedProxy::http(Way::Lead).await;
    let (https, of_proxy) = ScriptedProxy::https(Way::Lead).await;
    let socks = ScriptedProxy::socks(None, Way::Lead).await;
    for address in [
        format!("http://{}", http.address),
        format!("https://localhost:{}", https.address.port()),
        format!("socks5h://{}", socks.address),
    ] {
        for transport in ["http1", "awc"] {
            let more = format!("proxy = \"{address}\"\ntransport = \"{transport}\"\n");
            check_led(&app(&upstream.tls_channel("up", &more), vec![certificate.clone(), of_proxy.clone()]))
                .await;
        }
    }
    let target = format!("localhost:{}", upstream.address.port());
    assert!(http.seen()[0].starts_with(&format!("CONNECT {target} ")));
    assert!(https.seen()[0].starts_with(&format!("CONNECT {target} ")));
    assert_eq!(socks.seen(), [target.clone(), target], "the name is the proxy's to resolve");
}

#[tokio::test]
async fn socks5_resolves_here_and_logs_in() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    let proxy = ScriptedProxy::socks(Some(("user", "zebra@secret")), Way::Lead).await;
    let base = format!("http://localhost:{}", upstream.address.port());
    let more = format!("proxy = \"socks5://user:{SECRET}@{}\"\n", proxy.address);
    let app = TestApp::start(&super::support::upstream::channel("up", &base, &more));
    let answer = app.client().chat(&chat("m")).await;
    // What localhost is first, the machine says; the scripted proxy knows IPv4 alone.
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(proxy.seen(), [upstream.address.to_string()]);
}

/// What a client sees of a channel whose proxy is at this address.
async fn check(proxy: &str, status: u16, code: &'static str) {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    for transport in ["http1", "awc"] {
        let more = format!(
            "proxy = \"{proxy}\"\ntransport = \"{transport}\"\ntimeouts = {{ connect = \"300ms\" }}\n"
        );
        let sees = Sees::Refusal(status, code);
        check_address(&format!("http://{}", upstream.address), &more, sees, sees).await;
        let app = TestApp::start(&upstream.channel("up", &more));
        let answer = app.client().chat(&chat("m")).await;
        assert_eq!(answer.error_code(), code);
        let host = proxy.rsplit_once('@').map_or(proxy, |(_, host)| host);
        for secret in ["zebra", "user", host] {
            assert!(!answer.body.contains(secret), "{answer:?}");
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_dead_proxy_is_told_apart_from_a_dead_provider() {
    let address = ScriptedProxy::http(Way::Close).await.address;
    eventually("the port is free", || std::net::TcpStream::connect(address).is_err()).await;
    for scheme in ["http", "socks5", "socks5h", "https"] {
        check(&format!("{scheme}://user:{SECRET}@{address}"), 502, "proxy_unreachable").await;
    }
}

#[tokio::test]
async fn what_an_http_proxy_says_instead_of_leading_on_is_told_apart() {
    const LONG: &[u8] = &[b'x'; 20 << 10];
    for (way, status, code) in [
        (Way::Say(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\n\r\nzebra"), 502, "proxy_refused"),
        (Way::Say(b"HTTP/1.1 302 Found\r\nlocation: http://zebra/\r\n\r\n"), 502, "proxy_refused"),
        (Way::Say(b"HTTP/1.1 407 No\r\nproxy-authenticate: Basic\r\n\r\n"), 502, "proxy_login_refused"),
        (Way::Say(b"zebra\r\n\r\n"), 502, "proxy_bad_answer"),
        (Way::Say(LONG), 502, "proxy_bad_answer"),
        (Way::Say(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), 502, "proxy_bad_answer"),
        (Way::Say(b"HTTP/1.1 100 Continue\r\n\r\n"), 504, "upstream_connect_timeout"),
        (Way::Say(b"HTTP/1.1 200"), 504, "upstream_connect_timeout"),
        (Way::Stall, 504, "upstream_connect_timeout"),
        (Way::Close, 502, "proxy_unreachable"),
    ] {
        let proxy = ScriptedProxy::http(way).await;
        check(&format!("http://user:{SECRET}@{}", proxy.address), status, code).await;
    }
}

#[tokio::test]
async fn what_a_socks_proxy_says_instead_of_leading_on_is_told_apart() {
    for (way, status, code) in [
        (Way::Say(b"\x05\x02\0\x01\0\0\0\0\0\0"), 502, "proxy_refused"),
        (Way::Say(b"\x05\x05\0\x01"), 502, "proxy_refused"),
        (Way::Say(b"\x04\0\0\x01\0\0\0\0\0\0"), 502, "proxy_bad_answer"),
        (Way::Say(b"\x05\0\0\x07"), 502, "proxy_bad_answer"),
        (Way::Say(b"\x05\0\0"), 504, "upstream_connect_timeout"),
        (Way::Stall, 504, "upstream_connect_timeout"),
        (Way::Close, 502, "proxy_unreachable"),
    ] {
        let proxy = ScriptedProxy::socks(None, way).await;
        check(&format!("socks5h://{}", proxy.address), status, code).await;
    }
    let locked = ScriptedProxy::socks(Some(("user", "right")), Way::Lead).await;
    check(&format!("socks5://user:{SECRET}@{}", locked.address), 502, "proxy_login_refused").await;
    check(&format!("socks5://{}", locked.address), 502, "proxy_login_refused").await;
    let no_socks = ScriptedProxy::http(Way::Close).await;
    check(&format!("http://{}", no_socks.address), 502, "proxy_unreachable").await;
}

#[tokio::test]
async fn another_proxy_is_in_force_at_once_and_the_old_tunnels_are_closed() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    let (old, new) = (ScriptedProxy::http(Way::Lead).await, ScriptedProxy::http(Way::Lead).await);
    let channel = |proxy: &ScriptedProxy| {
        upstream.channel("up", &format!("proxy = \"http://user:{SECRET}@{}\"\n", proxy.address))
    };
    let app = TestApp::start(&channel(&old));
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    assert_eq!(app.reload(&channel(&new)).await.unwrap(), ["channel \"up\": proxy changed"]);
    eventually("the old tunnel is closed", || upstream.connections() == 0).await;
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    assert_eq!((old.seen().len(), new.seen().len()), (1, 1));
    app.reload(&upstream.channel("up", "proxy = \"none\"\n")).await.unwrap();
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    assert_eq!(new.seen().len(), 1, "no proxy any more");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_wait_for_a_proxy() {
    let proxy = ScriptedProxy::http(Way::Stall).await;
    let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    let app = TestApp::start(&upstream.channel("up", &format!("proxy = \"http://{}\"\n", proxy.address)));
    let client = app.client();
    let call = client.open(&client.request("POST", "/v1/chat/completions", chat("m").as_bytes())).await;
    eventually("the proxy was asked", || proxy.seen().len() == 1).await;
    drop(call);
    eventually("the place is free", || app.cell("up").connections.count() == 0).await;
}
