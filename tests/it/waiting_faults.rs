//! What goes wrong while calls wait: clients leave, channels change or go, actors panic, the gateway ends.

use std::time::{Duration, Instant};

use penstock_actors::{channel::roster::SupervisorOf, domain::ChannelName, testing::PanicDrill};
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;

use super::{
    support::{Process, TestApp, Turnstile, Upstream, chat, chat_stream, eventually, read_answer},
    waiting::{ask, queue_up},
};

#[tokio::test]
async fn clients_that_leave_give_their_places_up_at_once() {
    let turnstile = Turnstile::start().await;
    let app = TestApp::start(&turnstile.channel("a", "concurrency = 1\n"));
    let mut held = ask(&app.client(), &chat("m")).await;
    eventually("the slot is taken", || turnstile.count() == 1).await;
    for how in ["close", "half-close", "reset"] {
        for body in [chat("m"), chat_stream("m")] {
            let mut tcp = queue_up(&app, &app.client(), &body).await;
            match how {
                "half-close" => tcp.shutdown().await.unwrap(),
                "reset" => {
                    SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
                    drop(tcp);
                }
                _ => drop(tcp),
            }
            eventually(how, || app.shared().relay.room.calls() == 0 && app.cell("a").gate.waiting() == 0)
                .await;
        }
    }
    let abandoned = "penstock_calls_total{endpoint=\"chat_completions\",outcome=\"abandoned\"}";
    eventually("each is counted as abandoned", || app.metric(abandoned) == 6.0).await;
    turnstile.turn(1);
    assert_eq!(read_answer(&mut held).await.status, 200);
    assert_eq!(turnstile.count(), 1);
}

#[tokio::test]
async fn hundreds_that_leave_while_slots_turn_over_take_nothing_with_them() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app = TestApp::start(&upstream.channel("a", "concurrency = 2\n"));
    for round in 0..4 {
        let mut open = Vec::new();
        for _ in 0..150 {
            open.push(ask(&app.client(), &chat("m")).await);
        }
        if round % 2 == 0 {
            drop(open);
        } else {
            for tcp in open.iter_mut().step_by(2) {
                assert_eq!(read_answer(tcp).await.status, 200);
            }
        }
        eventually("everything is given back", || {
            let cell = app.cell("a");
            app.shared().relay.room.calls() == 0 && cell.gate.in_flight() == 0 && cell.gate.waiting() == 0
        })
        .await;
    }
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
}

#[tokio::test]
async fn limits_change_while_calls_wait() {
    let turnstile = Turnstile::start().await;
    let limit = |n: u32| turnstile.channel("a", &format!("concurrency = {n}\n"));
    let app = TestApp::start(&limit(2));
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(ask(&app.client(), &chat_stream("m")).await);
    }
    eventually("two run", || turnstile.count() == 2 && app.cell("a").gate.waiting() == 18).await;
    app.reload(&limit(8)).await.unwrap();
    eventually("eight run", || turnstile.count() == 8).await;
    app.reload(&limit(3)).await.unwrap();
    turnstile.turn(5);
    eventually("five are done", || app.cell("a").gate.in_flight() == 3).await;
    assert_eq!(turnstile.count(), 8, "none is granted while three or more run");
    turnstile.turn(1);
    eventually("the next one runs", || turnstile.count() == 9).await;
    app.reload(&limit(0)).await.unwrap();
    turnstile.turn(3);
    eventually("all slots are given back", || app.cell("a").gate.in_flight() == 0).await;
    assert_eq!(turnstile.count(), 9);
    app.reload(
        &limit(1_000_000_000).replace("[[channel]]", "[[channel]]\npool = { max_connections = 1000000000 }"),
    )
    .await
    .unwrap();
    eventually("all others run", || turnstile.count() == 20).await;
    turnstile.turn(11);
    for tcp in &mut open {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    assert_eq!(turnstile.most(), 11);
}

#[tokio::test]
async fn channels_are_removed_disabled_readded_and_change_while_calls_wait() {
    let (turnstile, other) = (Turnstile::start().await, Turnstile::start().await);
    let full = turnstile.channel("a", "concurrency = 1\n");
    let app = TestApp::start(&full);
    let mut held = ask(&app.client(), &chat("m")).await;
    eventually("the slot is taken", || turnstile.count() == 1).await;
    // Gone: nobody serves the model any more.
    let mut waits = queue_up(&app, &app.client(), &chat("m")).await;
    app.reload("").await.unwrap();
    assert_eq!(read_answer(&mut waits).await.status, 404);
    app.reload(&full).await.unwrap();
    let mut waits = queue_up(&app, &app.client(), &chat("m")).await;
    app.reload(&turnstile.channel("a", "concurrency = 1\nenabled = false\n")).await.unwrap();
    assert_eq!(read_answer(&mut waits).await.error_code(), "no_channel");
    // Replaced by another one, which has room.
    app.reload(&full).await.unwrap();
    let mut waits = queue_up(&app, &app.client(), &chat("m")).await;
    app.reload(&other.channel("b", "concurrency = 1\n")).await.unwrap();
    other.turn(1);
    assert_eq!(read_answer(&mut waits).await.header("x-penstock-channel"), Some("b"));
    // Its credential changed.
    app.reload(&full).await.unwrap();
    let mut waits = queue_up(&app, &app.client(), &chat("m")).await;
    app.reload(&full.replace("secret-a", "changed")).await.unwrap();
    turnstile.turn(2);
    for tcp in [&mut held, &mut waits] {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    let shown = turnstile.upstream.seen();
    assert_eq!(shown.last().unwrap().header("authorization"), Some("Bearer changed"));
}

#[tokio::test]
async fn actors_that_panic_lose_no_call_that_waits() {
    let turnstile = Turnstile::start().await;
    let app = TestApp::start(&turnstile.channel("a", "concurrency = 4\n"));
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(ask(&app.client(), &chat("m")).await);
    }
    eventually("they wait", || app.cell("a").gate.waiting() == 196).await;
    let mut served = 4;
    for _ in 0..5 {
        app.run(|gateway| {
            Box::pin(async move {
                let actors = gateway.actors();
                let name = SupervisorOf(ChannelName("a".into()));
                let supervisor = actors.roster.send(name).await.unwrap().expect("runs");
                supervisor.send(PanicDrill).await.unwrap();
                actors.router.send(PanicDrill).await.unwrap();
            })
        })
        .await;
        turnstile.turn(10);
        served += 10;
        eventually("slots are granted on", || turnstile.count() == served).await;
    }
    assert!(app.cell("a").restarts() >= 5);
    turnstile.turn(150);
    for tcp in &mut open {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    assert_eq!(turnstile.most(), 4);
}

#[tokio::test]
async fn a_signal_to_stop_refuses_who_waits_and_lets_who_runs_finish() {
    let turnstile = Turnstile::start().await;
    let settings = format!("[server]\ndrain = \"8s\"\n{}", turnstile.channel("a", "concurrency = 1\n"));
    let mut process = Process::start(&settings);
    let mut running = ask(&process.client(), &chat_stream("m")).await;
    eventually("the slot is taken", || turnstile.count() == 1).await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(ask(&process.client(), &chat("m")).await);
    }
    let metrics = process.client();
    let began = Instant::now();
    while !metrics.get("/metrics").await.body.contains("penstock_waiting_calls 5") {
        assert!(began.elapsed() < Duration::from_secs(10), "five wait");
    }
    process.signal("TERM");
    for tcp in &mut waiting {
        let refused = read_answer(tcp).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (503, "gateway_shutting_down"));
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    turnstile.turn(1);
    let stream = read_answer(&mut running).await;
    assert!(stream.complete && stream.body.ends_with("data: [DONE]\n\n"), "{stream:?}");
    assert_eq!(process.ended().await, Some(0));
}
