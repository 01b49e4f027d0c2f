//! New settings while calls run: in force at once, no stream cut, a wrong file changes nothing.

use std::time::{Duration, Instant};

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::support::{Process, TestApp, Upstream, chat, chat_stream, eventually, read_answer};

/// What finds no room is refused, not kept waiting.
const AT_ONCE: &str = "[queue]\nmax_wait = 0\n";

async fn begin_stream(app: &TestApp, upstream: &Upstream) -> TcpStream {
    let before = upstream.count();
    let tcp = app
        .client()
        .open(&app.client().request("POST", "/v1/chat/completions", chat_stream("m").as_bytes()))
        .await;
    eventually("the stream is asked for", || upstream.count() == before + 1).await;
    tcp
}

async fn assert_ends_well(mut tcp: TcpStream) {
    let answer = read_answer(&mut tcp).await;
    assert!(answer.complete && answer.body.ends_with("data: [DONE]\n\n"), "{answer:?}");
}

#[tokio::test]
async fn limits_are_in_force_at_once_and_streams_go_on() {
    let (upstream, go) = Upstream::held().await;
    let limit = |n: u32| format!("{AT_ONCE}{}", upstream.channel("a", &format!("concurrency = {n}\n")));
    let app = TestApp::start(&limit(1));
    let stream = begin_stream(&app, &upstream).await;
    assert_eq!(app.client().chat(&chat("m")).await.status, 429);
    app.reload(&limit(2)).await.unwrap();
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    app.reload(&limit(1)).await.unwrap();
    assert_eq!(app.client().chat(&chat("m")).await.status, 429);
    go.notify_waiters();
    assert_ends_well(stream).await;
    eventually("the permit returns", || app.cell("a").gate.in_flight() == 0).await;
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
}

#[tokio::test]
async fn a_channel_can_be_switched_off_and_on() {
    let (upstream, go) = Upstream::held().await;
    let switched = |on: bool| upstream.channel("a", &format!("enabled = {on}\n"));
    let app = TestApp::start(&switched(true));
    let stream = begin_stream(&app, &upstream).await;
    app.reload(&switched(false)).await.unwrap();
    let refused = app.client().chat(&chat("m")).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "no_channel"));
    assert!(app.client().get("/v1/models").await.json()["data"].as_array().unwrap().is_empty());
    go.notify_waiters();
    assert_ends_well(stream).await;
    app.reload(&switched(true)).await.unwrap();
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
}

#[tokio::test]
async fn a_channel_that_is_removed_while_it_streams_keeps_its_count_when_it_returns() {
    let (upstream, go) = Upstream::held().await;
    let channel = format!("{AT_ONCE}{}", upstream.channel("a", "concurrency = 1\n"));
    let app = TestApp::start(&channel);
    let stream = begin_stream(&app, &upstream).await;
    app.reload("").await.unwrap();
    assert_eq!(app.client().chat(&chat("m")).await.status, 404);
    app.reload(&channel).await.unwrap();
    assert_eq!(app.cell("a").gate.in_flight(), 1);
    assert_eq!(app.client().chat(&chat("m")).await.status, 429);
    go.notify_waiters();
    assert_ends_well(stream).await;
    eventually("the permit returns", || app.cell("a").gate.in_flight() == 0).await;
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
}

#[tokio::test]
async fn a_channel_that_moves_sends_new_calls_to_its_new_place() {
    let (old, go) = Upstream::held().await;
    let new = Upstream::start(|exchange| exchange.answer_well("new")).await;
    let app = TestApp::start(&old.channel("a", ""));
    let stream = begin_stream(&app, &old).await;
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    let moved = new.channel("a", "").replace("secret-a", "changed");
    let differences = app.reload(&moved).await.unwrap();
    assert!(differences[0].contains("base_url") && !differences[0].contains("changed\""), "{differences:?}");
    for _ in 0..10 {
        assert!(app.client().chat(&chat("m")).await.body.contains("new"));
    }
    assert_eq!(new.seen()[0].header("authorization"), Some("Bearer changed"));
    assert_eq!(old.count(), 2);
    go.notify_waiters();
    assert_ends_well(stream).await;
    eventually("the old place has no connection left", || old.connections() == 0).await;
}

#[tokio::test]
async fn weights_move_calls() {
    let [a, b] = [
        Upstream::start(|exchange| exchange.answer_well("a")).await,
        Upstream::start(|exchange| exchange.answer_well("b")).await,
    ];
    let weights = |x: u32, y: u32| {
        [a.channel("a", &format!("weight = {x}\n")), b.channel("b", &format!("weight = {y}\n"))].concat()
    };
    let app = TestApp::start(&weights(1, 0));
    for _ in 0..20 {
        app.client().chat(&chat("m")).await;
    }
    assert_eq!((a.count(), b.count()), (20, 0));
    app.reload(&weights(0, 1)).await.unwrap();
    for _ in 0..20 {
        app.client().chat(&chat("m")).await;
    }
    assert_eq!((a.count(), b.count()), (20, 20));
}

#[tokio::test]
async fn a_hangup_puts_the_file_in_force_and_a_wrong_file_changes_nothing() {
    const NEW: &str = "sk-new-0123456789abcdef";
    let (upstream, go) = Upstream::held().await;
    // Refused rather than kept waiting, where a limit is full.
    let channel = |more: &str| format!("queue.max_wait = 0\n{}", upstream.channel("a", more));
    let process = Process::start(&channel(""));
    let request = process.client().request("POST", "/v1/chat/completions", chat_stream("m").as_bytes());
    let mut stream = process.client().open(&request).await;
    eventually("the stream is asked for", || upstream.count() == 1).await;
    let newcomer = process.client().with_key(NEW);
    assert_eq!(newcomer.get("/v1/models").await.status, 401);
    let key = format!("[[key]]\nname = \"new\"\nsecret = \"{NEW}\"\n");
    process.reload(&format!("{}{key}", channel("concurrency = 1\n")), "settings changed");
    process.wait_until("what changed is said", |log| log.contains("channel \"a\": concurrency none -> 1"));
    assert_eq!(newcomer.get("/v1/models").await.status, 200);
    assert_eq!(newcomer.chat(&chat("m")).await.status, 429);
    for (wrong, words) in [
        (format!("{}concurency = 3\n", channel("")), "concurency"),
        (channel("weight = -1\n"), "penstock.toml:8: "),
        (channel("provider = \"twice\"\n"), "duplicate key"),
        (channel("priority = \"high\"\n"), "penstock.toml:8: "),
        (format!("{}{}", channel(""), upstream.channel("a", "")), "another channel has this name"),
        (channel("[channel.timeouts]\nidle = 0\n"), "timeouts.idle"),
        ("[[[".to_owned(), "penstock.toml:1: "),
    ] {
        process.reload(&wrong, "the old ones stay in force");
        let log = process.log();
        let said = &log[log.rfind("settings are invalid").unwrap()..];
        assert!(said.contains(words), "{words} is not in {said}");
        assert_eq!(newcomer.chat(&chat("m")).await.status, 429, "the limit stays");
    }
    std::fs::remove_file(process.dir().join("penstock.toml")).unwrap();
    process.hang_up("the old ones stay in force");
    assert_eq!(newcomer.get("/v1/models").await.status, 200);
    process.reload(&channel("concurrency = 1\n"), "key \"new\": removed");
    assert_eq!(newcomer.get("/v1/models").await.status, 401, "a key that is taken away opens nothing");
    go.notify_waiters();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert!(String::from_utf8_lossy(&all).contains("[DONE]"));
}

/// How soon a change of the file must be in force: a second, and what a busy machine takes on top.
const IN_FORCE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn an_edited_limit_is_soon_in_force_cuts_no_stream_and_grants_nothing_above_it() {
    let (upstream, go) = Upstream::held().await;
    let settings = |n: u32| upstream.channel("a", &format!("concurrency = {n}\n"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("penstock.toml");
    let write = |n: u32| std::fs::write(&file, super::support::app::with_key(&settings(n))).unwrap();
    write(16);
    let process = Process::start_in(dir, "exec \"$0\" serve --listen 127.0.0.1:0", &[]);
    let client = process.client().with_header("x-penstock-max-wait: 60000");
    let request = client.request("POST", "/v1/chat/completions", chat_stream("m").as_bytes());
    let mut streams = Vec::new();
    for _ in 0..80 {
        streams.push(client.open(&request).await);
    }
    let shown = async || {
        let channel = client.get("/api/runtime").await.json()["channels"][0].clone();
        ["limit", "in_flight", "waiting"].map(|name| channel[name].as_u64().unwrap_or_default())
    };
    // Until it stands like this; gives how long that took.
    let until = async |wanted: [u64; 3]| {
        let began = Instant::now();
        loop {
            let now = shown().await;
            if now == wanted {
                return began.elapsed();
            }
            assert!(began.elapsed() < super::support::SOON, "{now:?}, not {wanted:?}\n{}", process.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    until([16, 16, 64]).await;
    write(64);
    let raised = until([64, 64, 16]).await;
    write(4);
    let lowered = until([4, 64, 16]).await;
    assert!(raised < IN_FORCE && lowered < IN_FORCE, "raised after {raised:?}, lowered after {lowered:?}");
    // Streams end, one after another: nobody is let in while as many as the new limit go on.
    for left in (4..64).rev() {
        go.notify_one();
        until([4, left, 16]).await;
        assert_eq!(upstream.count(), 64, "{left} go on");
    }
    go.notify_one();
    until([4, 4, 15]).await;
    let began = Instant::now();
    while upstream.count() < 65 {
        assert!(began.elapsed() < super::support::SOON, "{} were sent", upstream.count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let release = tokio::spawn(async move {
        loop {
            go.notify_waiters();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    for stream in streams {
        assert_ends_well(stream).await;
    }
    release.abort();
    assert_eq!(upstream.count(), 80);
}

#[tokio::test]
async fn a_gateway_of_a_drill_reads_settings_again_on_command_too() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = |n: u32| {
        let watch = "[server]\nwatch = false\n";
        super::support::app::with_key(&format!(
            "{watch}{}",
            upstream.channel("a", &format!("weight = {n}\n"))
        ))
    };
    let file = dir.path().join("penstock.toml");
    std::fs::write(&file, settings(1)).unwrap();
    let address = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    let line = format!(
        "echo listens on http://{address}\nexec \"$0\" drill gateway --config penstock.toml --notes notes --listen {address}"
    );
    let process = Process::start_in(dir, &line, &[]);
    let give_up = Instant::now() + super::support::SOON;
    while TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < give_up, "{}", process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::write(&file, settings(7)).unwrap();
    let answer = process.client().post("/api/reload", b"").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["data"]["differences"][0], "channel \"a\": weight 1 -> 7");
}
