//! Fetches from scripted places: redirects, names that lie, answers that are too long or broken.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::transport::TlsRoots;

/// A place that answers by the path it is asked for; gives its port, and what it was asked.
async fn place(script: fn(&str, u16) -> String) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    actix_rt::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = tcp.read_u8().await else { break };
                head.push(byte);
            }
            let head = String::from_utf8(head).expect("text");
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            told.lock().expect("whole").push(head);
            let _ = tcp.write_all(script(&path, port).as_bytes()).await;
        }
    });
    (port, seen)
}

fn script(path: &str, port: u16) -> String {
    let to = |location: &str| {
        format!("HTTP/1.1 302 X\r\nlocation: {location}\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n")
    };
    match path {
        "/a" => "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
        "/chunked" => {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n".to_owned()
        }
        "/until-close" => "HTTP/1.1 200 OK\r\n\r\nhello".to_owned(),
        "/long" => "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n".to_owned(),
        "/long-chunked" => {
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1000\r\n{}\r\n", "x".repeat(4096))
        }
        "/cut" => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel".to_owned(),
        "/gzip" => "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx".to_owned(),
        "/missing" => "HTTP/1.1 404 No\r\ncontent-length: 6\r\n\r\nsecret".to_owned(),
        "/partial" => "HTTP/1.1 206 OK\r\ncontent-length: 1\r\n\r\nx".to_owned(),
        "/garbage" => "SSH-2.0-x\r\n\r\n".to_owned(),
        "/once" => to("/a"),
        "/relative/x" => to("../a"),
        "/named" => to(&format!("http://files.test:{port}/a")),
        "/loop" => to("/loop"),
        "/nowhere" => "HTTP/1.1 302 X\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/to-loopback" => to(&format!("http://127.0.0.2:{port}/a")),
        "/to-odd" => to(&format!("http://2130706433:{port}/a")),
        "/to-name" => to(&format!("http://private.test:{port}/a")),
        "/to-metadata" => to("http://169.254.169.254/latest/meta-data/"),
        "/to-file" => to("file:///etc/passwd"),
        "/../a" => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nup".to_owned(),
        "/relative/../a" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
        other => format!("HTTP/1.1 500 {other}\r\ncontent-length: 0\r\n\r\n"),
    }
}

/// Addresses of the tests' names.
fn told(name: &str) -> Vec<IpAddr> {
    let ip = |text: &str| text.parse().expect("an address");
    match name {
        "files.test" => vec![ip("127.0.0.1")],
        "private.test" => vec![ip("127.0.0.1")],
        "mixed.test" => vec![ip("8.8.8.8"), ip("127.0.0.1")],
        "mapped.test" => vec![ip("::ffff:127.0.0.1")],
        _ => Vec::new(),
    }
}

fn fetcher() -> MediaFetcher {
    let shared = SharedTransport::new(TlsRoots::default()).expect("TLS");
    MediaFetcher { lookup: Lookup::Told(told), ..MediaFetcher::new(shared) }
}

fn limits() -> FetchLimits {
    FetchLimits {
        max_bytes: 1000,
        max_redirects: 2,
        allowed: Allowed { names: vec!["files.test".to_owned()], ranges: Vec::new() },
    }
}

async fn fetch(path: &str) -> Result<FetchedMedium, FetchError> {
    let (port, _) = place(script).await;
    fetcher().fetch(&format!("http://files.test:{port}{path}"), &limits(), |_| true).await
}

#[actix_web::test]
async fn media_of_every_framing_are_fetched_also_behind_redirects() {
    for path in ["/a", "/chunked", "/until-close", "/once", "/named", "/relative/x"] {
        let medium = fetch(path).await.expect(path);
        assert_eq!(&medium.bytes[..], b"hello", "{path}");
    }
    assert_eq!(fetch("/a").await.expect("fetched").content_type, "image/png");
}

#[actix_web::test]
async fn nothing_is_shown_but_what_a_fetch_needs() {
    let (port, seen) = place(script).await;
    let url = format!("http://files.test:{port}/once");
    fetcher().fetch(&url, &limits(), |_| true).await.expect("fetched");
    let seen = seen.lock().expect("whole").clone();
    assert_eq!(seen.len(), 2);
    for head in seen {
        let head = head.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\nhost: files.test:{port}\r\n")), "{head}");
        let names: Vec<_> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':').map(|(name, _)| name.to_owned()))
            .collect();
        assert!(
            names.iter().all(|name| [
                "host",
                "accept",
                "accept-encoding",
                "user-agent",
                "content-length",
                "date"
            ]
            .contains(&name.as_str())),
            "{names:?}"
        );
    }
}

#[actix_web::test]
async fn redirects_lead_nowhere_that_a_url_may_not() {
    for path in ["/to-loopback", "/to-odd", "/to-name", "/to-metadata", "/to-file", "/nowhere"] {
        let refused = fetch(path).await;
        assert!(matches!(refused, Err(FetchError::Forbidden(_))), "{path}: {refused:?}");
    }
    assert!(matches!(fetch("/loop").await, Err(FetchError::Redirects)));
}

#[actix_web::test]
async fn names_that_lead_to_private_addresses_are_not_asked() {
    let (port, seen) = place(script).await;
    for host in ["private.test", "mixed.test", "mapped.test", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
        let refused = fetcher().fetch(&format!("http://{host}:{port}/a"), &limits(), |_| true).await;
        assert!(matches!(refused, Err(FetchError::Forbidden(Forbidden::Private))), "{host}: {refused:?}");
    }
    let unknown = fetcher().fetch(&format!("http://unknown.test:{port}/a"), &limits(), |_| true).await;
    assert!(matches!(unknown, Err(FetchError::Unknown)), "{unknown:?}");
    assert!(seen.lock().expect("whole").is_empty(), "nobody was asked");
}

#[actix_web::test]
async fn the_address_that_was_checked_is_the_one_that_is_asked() {
    // A name that is public when it is checked and private when it is used: there is no second look.
    static ASKED: AtomicU32 = AtomicU32::new(0);
    fn rebinding(_: &str) -> Vec<IpAddr> {
        match ASKED.fetch_add(1, Ordering::SeqCst) {
            0 => vec!["127.0.0.1".parse().expect("an address")],
            _ => vec!["127.0.0.2".parse().expect("an address")],
        }
    }
    let (port, seen) = place(script).await;
    let fetcher = MediaFetcher { lookup: Lookup::Told(rebinding), ..fetcher() };
    let limits = FetchLimits {
        allowed: Allowed { names: Vec::new(), ranges: vec![("127.0.0.1".parse().expect("an address"), 32)] },
        ..limits()
    };
    fetcher.fetch(&format!("http://rebinding.test:{port}/a"), &limits, |_| true).await.expect("fetched");
    assert_eq!((ASKED.load(Ordering::SeqCst), seen.lock().expect("whole").len()), (1, 1));
    let again = fetcher.fetch(&format!("http://rebinding.test:{port}/a"), &limits, |_| true).await;
    assert!(matches!(again, Err(FetchError::Forbidden(Forbidden::Private))), "{again:?}");
}

#[actix_web::test]
async fn what_is_too_long_broken_or_not_there_is_told() {
    assert!(matches!(fetch("/long").await, Err(FetchError::TooLong(1000))));
    assert!(matches!(fetch("/long-chunked").await, Err(FetchError::TooLong(1000))));
    for (path, words) in
        [("/cut", "broke off"), ("/gzip", "compressed"), ("/garbage", "could not be fetched")]
    {
        let failed = fetch(path).await.expect_err(path).to_string();
        assert!(failed.contains(words), "{path}: {failed}");
    }
    assert!(matches!(fetch("/missing").await, Err(FetchError::Status(404))));
    assert!(matches!(fetch("/partial").await, Err(FetchError::Status(206))));
    let (port, _) = place(script).await;
    let full = fetcher().fetch(&format!("http://files.test:{port}/a"), &limits(), |_| false).await;
    assert!(matches!(full, Err(FetchError::NoRoom)), "{full:?}");
}
