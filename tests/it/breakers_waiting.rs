//! Channels that fail, are switched off or recover while calls wait; models that follow one another meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use penstock_actors::channel::{
    breaker::{BreakerState, PROBES},
    switch::Standing,
};
use tokio::sync::Semaphore;

use super::{
    breakers::{state, switchable, well},
    support::{
        Process, TestApp, Turnstile, Upstream, app::with_key, chat, eventually, read_answer, upstream::After,
    },
    waiting::{ask, queue_up},
};

/// An upstream that lets each call through when it is told to, with a status that can be changed.
struct Gated {
    upstream: Upstream,
    turns: Arc<Semaphore>,
    status: Arc<AtomicU16>,
}

/// Instead of a status: the connection is closed.
const CLOSES: u16 = 0;

impl Gated {
    async fn start(status: u16) -> Self {
        let (turns, status) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU16::new(status)));
        let (next, told) = (turns.clone(), status.clone());
        let upstream = Upstream::start(move |mut exchange| {
            let (turns, status) = (next.clone(), told.clone());
            async move {
                turns.acquire().await.unwrap().forget();
                match status.load(Ordering::SeqCst) {
                    200 => exchange.answer_well("hi").await,
                    CLOSES => After::Close,
                    status => {
                        exchange.answer(status, "application/json", r#"{"error":{"message":"no"}}"#).await;
                        After::Keep(exchange)
                    }
                }
            }
        })
        .await;
        Self { upstream, turns, status }
    }
}

const QUICK: &str = "[failover]\nbreaker_attempts = 5\nbreaker_open = \"1s\"\nbreaker_window = \"30s\"\n";

#[tokio::test]
async fn calls_that_wait_leave_a_channel_whose_breaker_opens() {
    let (bad, good) = (Gated::start(500).await, Turnstile::start().await);
    let settings = QUICK.replace("\"1s\"", "\"300s\"");
    let app = TestApp::start(&format!(
        "{}{}{settings}",
        bad.upstream.channel("bad", "priority = 1\nconcurrency = 1\n"),
        good.channel("good", "concurrency = 1\n"),
    ));
    // Four failures, which the other channel makes good.
    bad.turns.add_permits(4);
    good.turn(4);
    for _ in 0..4 {
        assert_eq!(app.client().chat(&chat("m")).await.header("x-penstock-attempts"), Some("2"));
    }
    let mut open = Vec::new();
    for _ in 0..6 {
        open.push(ask(&app.client(), &chat("m")).await);
    }
    eventually("four wait for both", || {
        app.cell("bad").gate.waiting() == 4 && app.cell("good").gate.waiting() == 4
    })
    .await;
    // The fifth failure; whoever had the next turn there is the last.
    bad.turns.add_permits(1);
    eventually("the breaker opens", || state(&app, "bad") == BreakerState::Open).await;
    eventually("nobody waits there any more", || app.cell("bad").gate.waiting() == 0).await;
    let waiting = app.cell("good").gate.waiting();
    assert!(waiting >= 4, "{waiting} wait for the other one");
    bad.turns.add_permits(1);
    good.turn(6);
    let mut tried = 0;
    for tcp in &mut open {
        let answer = read_answer(tcp).await;
        assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some("good")));
        tried += usize::from(answer.header("x-penstock-attempts") == Some("2"));
    }
    assert!(tried <= 2, "{tried} were there");
    assert_eq!(bad.upstream.count(), 4 + tried);
}

#[tokio::test]
async fn of_the_calls_that_wait_few_probe_a_channel_that_may_have_recovered() {
    let (bad, full) = (Gated::start(500).await, Turnstile::start().await);
    let app = TestApp::start(&format!(
        "{}{}{QUICK}",
        bad.upstream.channel("bad", "priority = 1\nconcurrency = 8\n"),
        full.channel("full", "concurrency = 1\n"),
    ));
    bad.turns.add_permits(5);
    full.turn(5);
    for _ in 0..5 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
    eventually("the breaker opens", || state(&app, "bad") == BreakerState::Open).await;
    bad.status.store(200, Ordering::SeqCst);
    let mut open = Vec::new();
    for _ in 0..12 {
        open.push(ask(&app.client(), &chat("m")).await);
    }
    eventually("probes are on their way", || bad.upstream.count() == 5 + PROBES as usize).await;
    eventually("the others wait", || {
        app.shared().relay.room.calls() == 11 - u64::from(PROBES)
            && app.cell("bad").gate.in_flight() == PROBES
    })
    .await;
    assert_eq!(bad.upstream.count(), 5 + PROBES as usize);
    bad.turns.add_permits(11);
    eventually("it closes", || state(&app, "bad") == BreakerState::Closed).await;
    eventually("nobody waits", || app.shared().relay.room.calls() == 0).await;
    full.turn(1);
    for tcp in &mut open {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    assert_eq!((bad.upstream.count(), full.count()), (5 + 11, 5 + 1));
}

#[tokio::test]
async fn calls_that_wait_for_a_channel_that_is_switched_off_are_told_so() {
    let bad = Gated::start(401).await;
    let app = TestApp::start(&bad.upstream.channel("bad", "concurrency = 1\n"));
    let mut open = vec![ask(&app.client(), &chat("m")).await];
    eventually("the slot is taken", || bad.upstream.count() == 1).await;
    for _ in 0..5 {
        open.push(queue_up(&app, &app.client(), &chat("m")).await);
    }
    bad.turns.add_permits(3);
    eventually("it is off", || app.cell("bad").lines.standing() != Standing::On).await;
    // One may have got the slot before.
    eventually("nobody waits", || app.shared().relay.room.calls() == 0).await;
    bad.turns.add_permits(3);
    let mut codes = Vec::new();
    for tcp in &mut open {
        codes.push(read_answer(tcp).await.error_code());
    }
    assert_eq!(codes[..3], ["upstream_credential_refused"; 3]);
    assert_eq!(codes[4..], ["no_channel"; 2], "{codes:?}");
    assert!(bad.upstream.count() <= 4);
}

#[tokio::test]
async fn a_new_credential_in_its_file_puts_a_channel_back() {
    let upstream = Upstream::start(|mut exchange| async move {
        if exchange.header("authorization") == Some("Bearer good") {
            return exchange.answer_well("hi").await;
        }
        exchange.answer(401, "application/json", r#"{"error":{"message":"no"}}"#).await;
        After::Keep(exchange)
    })
    .await;
    let channel = upstream.channel("a", "").replace("\"secret-a\"", "\"file:credential\"");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("credential"), "bad\n").unwrap();
    std::fs::write(dir.path().join("penstock.toml"), with_key(&channel)).unwrap();
    let process = Process::start_in(dir, "exec \"$0\" serve --listen 127.0.0.1:0", &[]);
    for _ in 0..3 {
        assert_eq!(process.client().chat(&chat("m")).await.error_code(), "upstream_credential_refused");
    }
    process.wait_until("it is switched off", |log| log.contains("channel was switched off"));
    assert_eq!(process.client().chat(&chat("m")).await.error_code(), "no_channel");
    let text = process.client().with_header("accept: text/plain").get("/api/runtime").await;
    assert!(text.body.contains("a (bad credential)"), "{}", text.body);
    assert_eq!(upstream.count(), 3);
    std::fs::write(process.dir().join("credential"), "good\n").unwrap();
    process.wait_until("it is used again", |log| log.contains("channel is used again"));
    assert_eq!(process.client().chat(&chat("m")).await.status, 200);
}

#[tokio::test]
async fn a_call_that_waits_in_vain_goes_on_with_its_next_model() {
    let (full, good) = (Turnstile::start().await, well().await);
    let first = full.channel("full", "models = [\"x\"]\nconcurrency = 1\n");
    let second = good.channel("good", "models = [\"y\"]\n");
    let app = TestApp::start(&format!("{first}{second}"));
    let mut held = ask(&app.client(), &chat("x")).await;
    eventually("the slot is taken", || full.count() == 1).await;
    // Its channel goes.
    let mut waits = queue_up(&app, &app.client(), &chat("x,y")).await;
    app.reload(&second).await.unwrap();
    let answer = read_answer(&mut waits).await;
    assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some("good")), "{}", answer.body);
    assert_eq!(answer.json()["model"], "y");
    assert!(answer.header("x-penstock-queue-ms").is_some());
    // It has waited for as long as it may.
    app.reload(&format!("{first}{second}[queue]\nmax_wait = \"300ms\"\n")).await.unwrap();
    let answer = app.client().chat(&chat("x,y")).await;
    assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some("good")), "{}", answer.body);
    let alone = app.client().chat(&chat("x")).await;
    assert_eq!((alone.status, alone.error_code().as_str()), (429, "channels_saturated"));
    full.turn(1);
    assert_eq!(read_answer(&mut held).await.status, 200);
}

#[tokio::test]
async fn a_backup_serves_where_a_granted_channel_fails() {
    let (bad, good) = (Gated::start(500).await, well().await);
    let app = TestApp::start(&format!(
        "{}{}[backup_models]\nx = [\"y\"]\n",
        bad.upstream.channel("bad", "models = [\"x\"]\nconcurrency = 1\n"),
        good.channel("good", "models = [\"y\"]\n"),
    ));
    let mut first = ask(&app.client(), &chat("x")).await;
    eventually("the slot is taken", || bad.upstream.count() == 1).await;
    let mut second = queue_up(&app, &app.client(), &chat("x")).await;
    bad.turns.add_permits(2);
    for tcp in [&mut first, &mut second] {
        let answer = read_answer(tcp).await;
        assert_eq!((answer.status, &answer.json()["model"]), (200, &"y".into()), "{}", answer.body);
        assert_eq!(answer.header("x-penstock-attempts"), Some("2"));
    }
}

#[tokio::test]
async fn what_is_explained_is_what_the_call_then_does() {
    let ((bad, status), good) = (switchable(500).await, well().await);
    let settings = QUICK.replace("\"1s\"", "\"300s\"");
    let channels = |credential: &str| {
        let bad = bad.channel("bad", "priority = 1\n").replace("secret-bad", credential);
        format!("{bad}{}{settings}", good.channel("good", ""))
    };
    let app = TestApp::start(&channels("one"));
    let explained = async || {
        let answer = app.client().post("/api/explain", chat("m").as_bytes()).await;
        let candidates = answer.json()["data"]["models"][0]["candidates"].as_array().unwrap().clone();
        let verdict = |at: usize| candidates[at]["verdict"].as_str().unwrap().to_owned();
        assert_eq!((&candidates[0]["channel"], &candidates[1]["channel"]), (&"bad".into(), &"good".into()));
        (verdict(0), verdict(1))
    };
    let says = |first: &str, second: &str| (first.to_owned(), second.to_owned());
    assert_eq!(explained().await, says("may_be_tried", "may_be_tried"));
    for _ in 0..5 {
        assert_eq!(app.client().chat(&chat("m")).await.header("x-penstock-attempts"), Some("2"));
    }
    eventually("the breaker opens", || state(&app, "bad") == BreakerState::Open).await;
    assert_eq!(explained().await, says("breaker_open", "may_be_tried"));
    let told = app.client().with_header("x-penstock-explain: 1").chat(&chat("m")).await;
    assert_eq!(told.header("x-penstock-explain"), Some("bad=breaker_open, good=may_be_tried"));
    assert_eq!((bad.count(), told.header("x-penstock-attempts")), (5, Some("1")));
    // With the other one gone there is nothing else.
    app.reload(&channels("one").replace("name = \"good\"", "name = \"good\"\nenabled = false"))
        .await
        .unwrap();
    assert_eq!(explained().await, says("nothing_else", "disabled"));
    status.store(401, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(app.client().chat(&chat("m")).await.error_code(), "upstream_credential_refused");
    }
    eventually("it is off", || app.cell("bad").lines.standing() != Standing::On).await;
    app.reload(&channels("one")).await.unwrap();
    assert_eq!(explained().await, says("bad_credential", "may_be_tried"));
    assert_eq!(app.client().chat(&chat("m")).await.header("x-penstock-channel"), Some("good"));
    assert_eq!(bad.count(), 8);
}

/// Forty calls at once on three channels that take one each, of which the first is bad: none is lost.
async fn check_none_is_lost(bad: Upstream, more: &str, spoil: impl FnOnce(Upstream) -> Option<Upstream>) {
    let (b, c) = (well().await, well().await);
    let app = TestApp::start(&format!(
        "{}{}{}",
        bad.channel("a", &format!("concurrency = 1\n{more}")),
        b.channel("b", "concurrency = 1\n"),
        c.channel("c", "concurrency = 1\n"),
    ));
    let mut open = Vec::new();
    for _ in 0..40 {
        open.push(ask(&app.client(), &chat("m")).await);
    }
    let _bad = spoil(bad);
    for tcp in &mut open {
        let answer = read_answer(tcp).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let attempts: u32 = answer.header("x-penstock-attempts").unwrap().parse().unwrap();
        assert!(attempts <= 2, "each tried channel is left out: {attempts}");
    }
    assert_eq!(app.shared().relay.room.calls(), 0);
    let refused = ["b", "c"].map(|name| app.cell(name).lines.refused_retries());
    assert_eq!(refused, [0, 0]);
}

#[tokio::test]
async fn no_call_is_lost_where_one_of_three_channels_answers_500_now_and_then() {
    let nth = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let bad = Upstream::start(move |mut exchange| {
        let nth = nth.fetch_add(1, Ordering::SeqCst);
        async move {
            if nth % 10 >= 3 {
                return exchange.answer_well("hi").await;
            }
            exchange.answer(500, "application/json", r#"{"error":{"message":"no"}}"#).await;
            After::Keep(exchange)
        }
    })
    .await;
    check_none_is_lost(bad, "", Some).await;
}

#[tokio::test]
async fn no_call_is_lost_where_one_of_three_channels_stalls() {
    let bad = Upstream::start(|exchange| exchange.until_left()).await;
    check_none_is_lost(bad, "timeouts = { first_byte = \"200ms\" }\n", Some).await;
}

#[tokio::test]
async fn no_call_is_lost_where_one_of_three_channels_dies() {
    let Gated { upstream, turns, .. } = Gated::start(CLOSES).await;
    check_none_is_lost(upstream, "", move |dies| {
        drop(dies);
        turns.add_permits(100);
        None
    })
    .await;
}

#[tokio::test]
async fn what_calls_under_way_tell_of_an_old_credential_or_place_is_not_held_against_the_new_one() {
    for (status, changed) in [(401, "credential"), (402, "credential"), (500, "place"), (CLOSES, "place")] {
        let (old, good) = (Gated::start(status).await, well().await);
        let settings =
            format!("{}{}", old.upstream.channel("a", "weight = 1\n"), QUICK.replace("\"1s\"", "\"300s\""));
        let app = TestApp::start(&settings);
        let mut under_way = Vec::new();
        for _ in 0..8 {
            under_way.push(ask(&app.client(), &chat("m")).await);
        }
        eventually("they are there", || old.upstream.count() == 8).await;
        let settings = match changed {
            "credential" => settings.replace("secret-a", "mended"),
            _ => settings.replace(&old.upstream.address.to_string(), &good.address.to_string()),
        };
        app.reload(&settings).await.unwrap();
        old.turns.add_permits(8);
        for tcp in &mut under_way {
            assert!(read_answer(tcp).await.status >= 400, "{status}");
        }
        old.status.store(200, Ordering::SeqCst);
        old.turns.add_permits(1);
        // Has the supervisor look at what was counted.
        app.reload(&settings.replace("weight = 1", "weight = 2")).await.unwrap();
        let looked = (app.cell("a").lines.standing(), state(&app, "a"));
        assert_eq!(looked, (Standing::On, BreakerState::Closed), "{status}");
        assert_eq!(app.client().chat(&chat("m")).await.status, 200, "{status}");
    }
}
