//! Tables and properties of the pacer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proptest::prelude::*;

use super::*;
use crate::domain::Told;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn told(limit: u64, remaining: u64, reset_ms: u64) -> Option<Told> {
    Some(Told { limit, remaining, reset: Some(ms(reset_ms)) })
}

fn first(generation: u64) -> Heard<'static> {
    Heard::Unpaced { generation, in_flight: 0, tokens: 0 }
}

/// A pacer that was told this at the clock's beginning.
fn told_of(requests: Option<Told>, tokens: Option<Told>) -> Arc<Pacer> {
    let pacer = Arc::<Pacer>::default();
    pacer.learn(&Hint { requests, tokens }, first(0), Duration::ZERO);
    pacer
}

/// Sends as many as go at once; they are answered.
fn send(pacer: &Arc<Pacer>, tokens: u64, most: usize, now: Duration) -> usize {
    let sent = std::iter::from_fn(|| pacer.take(tokens, now).ok()).take(most);
    sent.map(|mut paced| {
        paced.sent();
        paced.settle(tokens);
    })
    .count()
}

#[test]
fn nothing_is_paced_before_something_is_learned() {
    let pacer = Arc::<Pacer>::default();
    assert!(!pacer.is_on());
    assert_eq!(pacer.learned(secs(9)), Learned::default());
    assert_eq!(pacer.learn(&Hint::default(), first(0), secs(9)), None);
    assert!(!pacer.is_on(), "no word was said");
}

#[test]
fn a_word_is_kept_and_the_bucket_fills_at_its_rate() {
    let pacer = told_of(told(60, 2, 58_000), None);
    assert_eq!(pacer.learned(secs(0)).requests_per_minute, Some(60));
    assert_eq!(send(&pacer, 5, 9, secs(0)), 2);
    assert_eq!(pacer.take(5, secs(0)).err(), Some(secs(1)));
    assert_eq!(pacer.wait(5, secs(0)), secs(1));
    assert_eq!(send(&pacer, 5, 9, secs(1)), 1);
    assert_eq!(send(&pacer, 5, 900, secs(600)), 60, "no more than it holds");
}

#[test]
fn what_is_more_than_the_bucket_is_debt_and_is_put_right() {
    let pacer = told_of(None, Some(Told { limit: 600, remaining: 600, reset: None }));
    let mut large = pacer.take(900, secs(0)).expect("it was full");
    assert_eq!(pacer.wait(1, secs(0)), ms(30_100));
    large.sent();
    large.settle(100);
    assert_eq!(send(&pacer, 500, 9, secs(0)), 1);
}

#[test]
fn what_is_not_sent_goes_back_and_what_is_refused_keeps_its_request() {
    let pacer = told_of(told(10, 10, 0), told(100, 100, 0));
    drop(pacer.take(60, secs(0)).expect("room"));
    let mut refused = pacer.take(60, secs(0)).expect("it went back");
    refused.sent();
    drop(refused);
    assert_eq!(send(&pacer, 10, 99, secs(0)), 9);
}

#[test]
fn without_tokens_no_request_is_taken() {
    let pacer = told_of(told(10, 10, 0), told(100, 50, 30_000));
    assert!(pacer.take(80, secs(0)).is_err());
    assert_eq!(send(&pacer, 5, 99, secs(0)), 10);
}

#[test]
fn a_word_of_before_does_not_count_what_was_sent_after() {
    let pacer = told_of(told(600, 600, 0), None);
    let mut early = pacer.take(1, secs(0)).expect("room");
    early.sent();
    let later: Vec<_> = (0..99).map(|_| pacer.take(1, secs(0)).expect("room")).collect();
    // The provider saw one; a hundred were taken.
    pacer.learn(&Hint { requests: told(600, 599, 100), tokens: None }, Heard::Paced(&early), secs(0));
    drop(later);
    assert_eq!(send(&pacer, 1, 999, secs(0)), 599);
}

#[test]
fn a_raised_limit_is_used_at_once_and_a_lowered_one_kept_at_once() {
    let pacer = told_of(told(600, 0, 60_000), None);
    for (limit, remaining, per_second) in [(1_200, 600, 20), (300, 0, 5)] {
        let mut paced = pacer.take(1, secs(1)).expect("it filled");
        paced.sent();
        let hint = Hint { requests: told(limit, remaining, 30_000), tokens: None };
        paced.heard();
        pacer.learn(&hint, Heard::Paced(&paced), secs(1));
        assert_eq!(send(&pacer, 1, 9_999, secs(1)), remaining as usize, "{limit}");
        assert_eq!(send(&pacer, 1, 9_999, secs(2)), per_second, "{limit}");
        assert_eq!(send(&pacer, 1, 9_999, secs(3)), per_second, "{limit}");
        paced.settle(1);
        pacer.learn(&Hint { requests: told(600, 1, 60_000), tokens: None }, first(0), secs(1));
    }
}

#[test]
fn a_limit_of_a_day_fills_as_slowly_as_its_reset_says() {
    // Groq: requests of a day, of which 30 are gone and will be back in three minutes.
    let pacer = told_of(told(14_400, 13_400, 6_000_000), None);
    assert_eq!(pacer.learned(secs(0)).requests_per_minute, Some(10));
    assert_eq!(send(&pacer, 1, 99_999, secs(0)), 13_400);
    assert_eq!(send(&pacer, 1, 99_999, secs(60)), 10);
}

#[test]
fn a_window_that_is_used_up_is_waited_for() {
    let pacer = Arc::<Pacer>::default();
    let hint = Hint { requests: told(600, 0, 12_000), tokens: None };
    assert_eq!(pacer.learn(&hint, first(0), secs(0)), Some(secs(12)));
    let leaky = Hint { requests: told(600, 0, 60_000), tokens: None };
    assert_eq!(pacer.learn(&leaky, first(0), secs(0)), None, "it fills bit by bit");
}

#[test]
fn a_pause_is_extended_never_shortened_and_nothing_goes_meanwhile() {
    let pacer = Arc::<Pacer>::default();
    pacer.pause(secs(60), secs(0));
    pacer.pause(ms(1), secs(1));
    assert_eq!(pacer.take(5, secs(1)).err(), Some(secs(59)));
    assert_eq!(pacer.learned(secs(1)).paused, Some(secs(59)));
    assert!(pacer.take(5, secs(60)).is_ok());
    assert_eq!(pacer.learned(secs(60)).paused, None);
}

#[test]
fn another_account_starts_afresh_and_late_words_of_the_old_one_are_not_believed() {
    let pacer = told_of(told(60, 1, 60_000), None);
    let mut late = pacer.take(5, secs(0)).expect("one is left");
    late.sent();
    pacer.pause(secs(60), secs(0));
    pacer.forget();
    assert!(!pacer.is_on());
    let hint = Hint { requests: told(60, 0, 60_000), tokens: None };
    pacer.learn(&hint, Heard::Paced(&late), secs(1));
    pacer.learn(&hint, first(0), secs(1));
    late.settle(1_000_000);
    assert!(!pacer.is_on());
    pacer.learn(&Hint { requests: told(60, 60, 0), tokens: None }, first(1), secs(1));
    assert_eq!(send(&pacer, 1, 99, secs(1)), 60);
}

#[test]
fn what_refusals_show_is_believed_while_the_provider_is_silent() {
    let pacer = Arc::<Pacer>::default();
    pacer.infer(Some(10.0), secs(0));
    assert_eq!(pacer.learned(secs(0)).requests_per_minute, Some(600));
    assert_eq!(send(&pacer, 1, 99, secs(0)), 1);
    assert_eq!(send(&pacer, 1, 99, ms(100)), 1);
    assert_eq!(send(&pacer, 1, 99, secs(9)), 3, "a little at once");
    pacer.learn(&Hint { requests: told(60, 60, 0), tokens: None }, first(0), secs(9));
    pacer.infer(Some(99.0), secs(60));
    assert_eq!(pacer.learned(secs(60)).requests_per_minute, Some(60), "it speaks for itself");
    pacer.infer(Some(99.0), secs(200));
    assert_eq!(pacer.learned(secs(200)).requests_per_minute, Some(5_940));
    pacer.infer(None, secs(200));
    assert_eq!(pacer.learned(secs(200)).requests_per_minute, None);
}

#[test]
fn a_rate_that_is_set_again_and_again_lets_no_more_through() {
    let pacer = Arc::<Pacer>::default();
    let mut sent = 0;
    for step in 0..1_000 {
        pacer.infer(Some(2.0), ms(step * 10));
        sent += send(&pacer, 1, 9, ms(step * 10));
    }
    assert!((19..=21).contains(&sent), "{sent} in ten seconds");
}

#[test]
fn absurd_words_break_nothing() {
    for (limit, remaining, reset) in [
        (0, 0, 0),
        (u64::MAX, u64::MAX, 0),
        (u64::MAX, 0, u64::MAX / 2),
        (1, 0, 1),
        (1, 9, 9),
        (5, 5, u64::MAX / 2),
    ] {
        let pacer = told_of(told(limit, remaining, reset), told(limit, remaining, reset));
        let _ = (pacer.take(1, secs(0)), pacer.take(u64::MAX, secs(1 << 40)), pacer.learned(secs(2)));
        pacer.infer(Some(f64::INFINITY), secs(1 << 33));
        pacer.infer(Some(-1.0), secs(1 << 34));
        assert!(pacer.wait(1, secs(1 << 35)).is_zero() || limit > 0);
    }
}

#[test]
fn a_clock_that_stands_or_goes_back_lets_no_burst_through() {
    let pacer = told_of(told(60, 3, 57_000), None);
    assert_eq!(send(&pacer, 1, 99, secs(0)), 3);
    assert_eq!(send(&pacer, 1, 99, secs(0)), 0);
    let pacer = Arc::<Pacer>::default();
    pacer.learn(&Hint { requests: told(60, 0, 60_000), tokens: None }, first(0), secs(100));
    assert_eq!(send(&pacer, 1, 99, secs(50)), 0);
    assert_eq!(send(&pacer, 1, 99, secs(101)), 1);
}

#[test]
fn threads_take_no_more_than_there_is() {
    let pacer = told_of(told(1_000, 1_000, 0), None);
    let taken: usize = std::thread::scope(|s| {
        let threads: Vec<_> = (0..4).map(|_| s.spawn(|| send(&pacer, 7, 400, secs(0)))).collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).sum()
    });
    assert_eq!(taken, 1_000);
}

proptest! {
    #[test]
    fn no_time_lets_more_through_than_what_was_there_and_what_came(
        waits in proptest::collection::vec((0u64..400, 0u64..3), 1..300), limit in 1u64..200
    ) {
        let pacer = told_of(told(limit, limit, 0), None);
        let (mut now, mut passed) = (0, 0);
        for (wait, calls) in waits {
            now += wait;
            passed += send(&pacer, 1, calls as usize, ms(now)) as u64;
            prop_assert!(passed <= limit + now * limit / 60_000 + 1);
        }
    }

    #[test]
    fn what_was_held_and_not_sent_leaves_no_trace(
        steps in proptest::collection::vec((1u64..300, any::<bool>()), 1..60)
    ) {
        let pacer = told_of(told(1_000, 1_000, 0), told(10_000, 10_000, 0));
        let mut held = Vec::new();
        for (tokens, keep) in steps {
            let paced = pacer.take(tokens, secs(0));
            if keep {
                held.extend(paced.ok());
            }
        }
        drop(held);
        prop_assert_eq!(pacer.buckets().requests.unheard(), 0);
        prop_assert_eq!(pacer.buckets().tokens.unheard(), 0);
        prop_assert!(pacer.wait(10_000, secs(0)).is_zero());
    }
}

#[test]
fn threads_that_take_and_hear_at_once_let_nothing_through_beyond_what_is_left() {
    const LIMIT: u64 = 12;
    for round in 0..2_000 {
        // A window that says how long it lasts, not how long until it is whole: the rate seems another each time.
        let (pacer, left) = (told_of(told(LIMIT, LIMIT, 60_000), None), AtomicU64::new(LIMIT));
        let refused = AtomicU64::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    while let Ok(mut paced) = pacer.take(1, secs(0)) {
                        paced.sent();
                        let before = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
                        let remaining = before.map_or(0, |before| before - 1);
                        refused.fetch_add(u64::from(before.is_err()), Relaxed);
                        paced.heard();
                        let hint = Hint { requests: told(LIMIT, remaining, 60_000), tokens: None };
                        pacer.learn(&hint, Heard::Paced(&paced), secs(0));
                        paced.settle(1);
                    }
                });
            }
        });
        assert_eq!(refused.into_inner(), 0, "round {round}");
    }
}
