//! Limits that an operator sets on a channel: calls wait for them as for a slot, as long as they may.

use std::time::{Duration, Instant};

use super::{
    support::{TestApp, Turnstile, Upstream, chat, eventually, read_answer},
    waiting::{ask, queue_up},
};

async fn well() -> Upstream {
    Upstream::start(|exchange| exchange.answer_well("hi")).await
}

/// A call whose answer may be so long.
fn up_to(tokens: u32) -> String {
    chat("m").replace("\"messages\"", &format!("\"max_tokens\":{tokens},\"messages\""))
}

#[tokio::test]
async fn a_call_waits_for_tokens_that_another_holds_and_does_not_use() {
    let turnstile = Turnstile::start().await;
    let app = TestApp::start(&turnstile.channel("a", "limits = [\"1000 tokens per minute\"]\n"));
    // By the window alone it would be a minute.
    let patient = app.client().with_header("x-penstock-max-wait: 90000");
    let mut first = ask(&patient, &up_to(600)).await;
    eventually("it is served", || turnstile.count() == 1).await;
    let mut second = queue_up(&app, &patient, &up_to(600)).await;
    let mut third = queue_up(&app, &patient, &up_to(300)).await;
    assert_eq!((turnstile.count(), app.cell("a").gate.waiting()), (1, 2), "nobody goes before who waits");
    turnstile.turn(1);
    assert_eq!(read_answer(&mut first).await.status, 200);
    eventually("the other two fit together", || turnstile.count() == 3).await;
    turnstile.turn(2);
    for tcp in [&mut second, &mut third] {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
}

#[tokio::test]
async fn a_call_waits_until_the_window_lets_it_through() {
    let upstream = well().await;
    let app = TestApp::start(&upstream.channel("a", "limits = [\"2 requests per minute\"]\n"));
    let began = Instant::now();
    for _ in 0..2 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
    let patient = app.client().with_header("x-penstock-max-wait: 90000");
    let mut call = queue_up(&app, &patient, &chat("m")).await;
    tokio::time::timeout(Duration::from_secs(80), call.readable()).await.expect("in time").unwrap();
    let answer = read_answer(&mut call).await;
    let waited = began.elapsed().as_secs();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!((57..=64).contains(&waited), "after {waited} s");
}

#[tokio::test]
async fn a_call_that_waits_goes_on_once_the_limit_is_raised() {
    let upstream = well().await;
    let settings = |n: u32| upstream.channel("a", &format!("limits = [\"{n} requests per hour\"]\n"));
    let app = TestApp::start(&settings(1));
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    let hour = app.client().with_header("x-penstock-max-wait: 600000");
    let refused = hour.chat(&chat("m")).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "channels_saturated"));
    let after: u64 = refused.header("retry-after").expect("a hint").parse().expect("seconds");
    assert!((3_400..=3_800).contains(&after), "the truth, however long: {after}");
    app.reload(&format!("[queue]\nlongest_wait = \"2h\"\n{}", settings(1))).await.unwrap();
    let hours = app.client().with_header("x-penstock-max-wait: 7200000");
    let mut waiting = queue_up(&app, &hours, &chat("m")).await;
    let raised = Instant::now();
    app.reload(&settings(2)).await.unwrap();
    assert_eq!(read_answer(&mut waiting).await.status, 200);
    assert!(raised.elapsed() < Duration::from_secs(2), "in force at once: {:?}", raised.elapsed());
}

#[tokio::test]
async fn what_a_limit_never_lets_through_goes_elsewhere_or_is_refused_for_good() {
    let (small, large) = (well().await, well().await);
    let limited = small.channel("a", "priority = 1\nlimits = [\"100 tokens per minute\"]\n");
    let app = TestApp::start(&format!("{limited}{}", large.channel("b", "")));
    let answer = app.client().chat(&up_to(500)).await;
    assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some("b")));
    app.reload(&limited).await.unwrap();
    let refused = app.client().chat(&up_to(500)).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "channel_tokens_per_minute_exceeded"));
    assert_eq!(refused.header("retry-after"), None);
    assert_eq!(app.client().chat(&up_to(50)).await.status, 200);
    let nothing = small.channel("a", "limits = [\"0 requests per day\"]\n");
    app.reload(&nothing).await.unwrap();
    assert_eq!(app.client().chat(&chat("m")).await.error_code(), "channel_requests_per_day_exceeded");
}

#[tokio::test]
async fn money_is_not_waited_for() {
    let (dear, other) = (well().await, well().await);
    let price = "[[price]]\nmodel = \"m\"\ninput = 100000.00\noutput = 0\n";
    let limited =
        dear.channel("a", "priority = 1\nlimits = [\"0.05 USD per day\", \"9 requests per day\"]\n");
    let app = TestApp::start(&format!("{price}{limited}{}", other.channel("b", "")));
    assert_eq!(app.client().chat(&chat("m")).await.header("x-penstock-channel"), Some("a"));
    assert_eq!(app.client().chat(&chat("m")).await.header("x-penstock-channel"), Some("b"));
    app.reload(&format!("{price}{limited}")).await.unwrap();
    let refused = app.client().chat(&chat("m")).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "channel_spend_per_day_exceeded"));
}
