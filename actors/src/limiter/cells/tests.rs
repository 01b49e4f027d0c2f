//! Cells under claims, threads, eviction and the calendar.

use proptest::prelude::*;

use super::*;
use crate::{
    domain::KeyId,
    limiter::rules::{Kind, Scope},
};

const DAY_MS: i64 = 86_400_000;

fn id(key: i64, measure: Measure, span: Span) -> CellId {
    CellId { scope: Scope::Key(KeyId(key)), kind: Kind { measure, span } }
}

fn claim(key: i64, measure: Measure, span: Span, amount: u64, limit: u64) -> Claim {
    Claim { id: id(key, measure, span), limit, amount }
}

fn at(zone: &Zone, ms: u64) -> Now<'_> {
    Now { ms, wall_ms: ms as i64, zone }
}

#[test]
fn a_call_takes_of_every_cell_or_of_none() {
    let (cells, zone) = (Cells::default(), Zone::default());
    let now = at(&zone, 1_000);
    let claims = |tokens| {
        vec![
            claim(1, Measure::Tokens, Span::Minute, tokens, 100),
            claim(1, Measure::Requests, Span::Minute, 1, 10),
        ]
    };
    let held = cells.hold(claims(60), now).expect("room");
    let over = cells.hold(claims(60), now).expect_err("120 tokens");
    assert_eq!((over.id.to_string().as_str(), over.limit, over.used), ("key_tokens_per_minute", 100, 60));
    assert_eq!(over.retry_after, Some(Duration::from_secs(61)));
    assert_eq!(cells.used(&id(1, Measure::Requests, Span::Minute), now), 1, "rolled back");
    assert_eq!(over.rates.tokens.map(|r| (r.limit, r.remaining)), Some((100, 40)));
    held.settle(Amounts { requests: 1, tokens: 10, spend: 0 });
    assert_eq!(cells.used(&id(1, Measure::Tokens, Span::Minute), now), 10);
    assert!(cells.hold(claims(101), now).expect_err("too large").retry_after.is_none());
    drop(cells.hold(claims(90), now).expect("room"));
    assert_eq!(cells.used(&id(1, Measure::Tokens, Span::Minute), now), 10, "given back");
}

#[test]
fn it_is_told_when_the_last_of_several_would_fit() {
    let (cells, zone) = (Cells::default(), Zone::default());
    let now = at(&zone, 1_000);
    let wish = claim(1, Measure::Tokens, Span::Minute, 40, 100);
    let fits = |times| cells.fits_in(&wish, times, now).as_secs();
    assert_eq!((fits(1), fits(2)), (0, 0), "there is no cell yet");
    cells.hold(vec![wish.clone()], now).expect("room").settle(Amounts { tokens: 40, ..Amounts::default() });
    assert_eq!((fits(1), fits(2), fits(3), fits(4)), (0, 61, 60, 121));
    let large = Claim { amount: 101, ..wish };
    assert!(cells.fits_in(&large, 1, now) > Duration::from_secs(300 * 86_400), "never");
}

#[test]
fn the_limit_that_is_nearest_to_refuse_is_shown() {
    let (cells, zone) = (Cells::default(), Zone::default());
    let now = at(&zone, 5_000);
    let claims = vec![
        claim(1, Measure::Requests, Span::Minute, 1, 10),
        claim(1, Measure::Requests, Span::Day, 1, 2),
        claim(1, Measure::Spend, Span::Day, 1, 1),
    ];
    let rates = cells.hold(claims, now).expect("room").rates(now);
    let day = Rate { limit: 2, remaining: 1, reset: Duration::from_millis(DAY_MS as u64 - 5_000) };
    assert_eq!(rates, Rates { requests: Some(day), tokens: None });
}

#[test]
fn idle_cells_are_evicted_and_come_back_empty() {
    let (cells, zone) = (Cells::default(), Zone::default());
    let take = |ms| {
        let claims = vec![
            claim(1, Measure::Requests, Span::Minute, 1, 1),
            claim(1, Measure::Requests, Span::Day, 1, 2),
        ];
        cells
            .hold(claims, at(&zone, ms))
            .map(|held| held.settle(Amounts { requests: 1, ..Amounts::default() }))
    };
    take(0).expect("room");
    assert_eq!((cells.evict(at(&zone, 30_000)), cells.len()), (0, 2));
    assert_eq!((cells.evict(at(&zone, 70_000)), cells.len()), (1, 1), "the minute is over, the day is not");
    take(80_000).expect("room");
    assert!(take(200_000).is_err(), "the day is full");
    assert_eq!((cells.evict(at(&zone, DAY_MS as u64)), cells.len()), (2, 0));
    take(DAY_MS as u64 + 1).expect("a new day");
}

#[test]
fn what_was_taken_before_the_start_counts_in_its_own_time() {
    let (cells, zone) = (Cells::default(), Zone::default());
    let now = Now { ms: 3 * 3_600_000, wall_ms: 10 * DAY_MS + 3_600_000, zone: &zone };
    let (hour, day) = (id(1, Measure::Tokens, Span::Hour), id(1, Measure::Tokens, Span::Day));
    for (minutes, hour_holds, day_holds) in [(10, 7, 7), (50, 14, 14), (90, 14, 14)] {
        cells.add(&hour, 7, Duration::from_secs(minutes * 60), now);
        cells.add(&day, 7, Duration::from_secs(minutes * 60), now);
        assert_eq!((cells.used(&hour, now), cells.used(&day, now)), (hour_holds, day_holds), "{minutes}");
    }
    cells.add(&hour, 7, Duration::from_secs(1 << 40), now);
    assert_eq!(cells.used(&hour, now), 14);
}

#[test]
fn threads_never_take_more_than_the_limit_while_cells_are_evicted() {
    let (cells, zone) = (Cells::default(), Zone::default());
    let outstanding = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|s| {
        for thread in 0..3 {
            let (cells, zone, outstanding) = (&cells, &zone, &outstanding);
            s.spawn(move || {
                for n in 0..3_000u64 {
                    if thread == 0 {
                        cells.evict(at(zone, 1));
                    }
                    let claims = vec![claim(1, Measure::Requests, Span::Minute, 1, 2)];
                    if let Ok(held) = cells.hold(claims, at(zone, 1)) {
                        let now = outstanding.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                        assert!(now <= 2, "{now} at {n}");
                        outstanding.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(held);
                    }
                }
            });
        }
    });
    assert_eq!(cells.used(&id(1, Measure::Requests, Span::Minute), at(&zone, 1)), 0);
}

proptest! {
    #[test]
    fn refused_calls_leave_nothing_taken(
        calls in proptest::collection::vec((0i64..3, 0u64..50, 0u64..20, any::<bool>()), 1..80)
    ) {
        let (cells, zone) = (Cells::default(), Zone::default());
        let now = at(&zone, 1_000);
        let mut taken = [(0, 0); 3];
        for (key, tokens, spend, keep) in calls {
            let claims = vec![
                claim(key, Measure::Spend, Span::Month, spend, 60),
                claim(key, Measure::Tokens, Span::Minute, tokens, 100),
            ];
            if let (Ok(held), true) = (cells.hold(claims, now), keep) {
                held.settle(Amounts { requests: 1, tokens, spend });
                taken[key as usize].0 += tokens;
                taken[key as usize].1 += spend;
            }
        }
        for (key, (tokens, spend)) in taken.into_iter().enumerate() {
            prop_assert!(tokens <= 100 && spend <= 60);
            prop_assert_eq!(cells.used(&id(key as i64, Measure::Tokens, Span::Minute), now), tokens);
            prop_assert_eq!(cells.used(&id(key as i64, Measure::Spend, Span::Month), now), spend);
        }
    }
}
