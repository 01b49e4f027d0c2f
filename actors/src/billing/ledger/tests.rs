//! The ledger: cases, threads at the edge of a balance, conservation.

use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use super::*;

fn nanos(amount: i64) -> Money {
    Money::from_nanos(amount)
}

fn chain(balances: &[i64]) -> Chain {
    let cells = (1..).zip(balances).map(|(id, b)| AccountCell::new(AccountId(id), nanos(*b), Funds::Limited));
    Chain::new(cells)
}

fn left(chain: &Chain) -> Vec<i64> {
    chain.0.iter().map(|c| c.available().nanos()).collect()
}

#[test]
fn a_reservation_is_held_on_every_account_and_settled_once() {
    let chain = chain(&[100, 50]);
    let reservation = chain.reserve(nanos(30)).expect("covered");
    assert_eq!((left(&chain), reservation.held()), (vec![70, 20], nanos(30)));
    reservation.settle(nanos(12));
    assert_eq!(left(&chain), [88, 38]);
}

#[test]
fn a_reservation_that_is_dropped_gives_everything_back() {
    let chain = chain(&[100, 50]);
    let mut reservation = chain.reserve(nanos(30)).expect("covered");
    reservation.extend(nanos(5)).expect("covered");
    assert_eq!(left(&chain), [65, 15]);
    drop(reservation);
    assert_eq!(left(&chain), [100, 50]);
}

#[test]
fn a_refusal_names_the_account_and_what_it_lacks_and_holds_nothing() {
    let chain = chain(&[100, 40, 10]);
    let short = chain.reserve(nanos(41)).expect_err("the second account is short");
    assert_eq!(short, Short { account: AccountId(2), available: nanos(40), missing: nanos(1) });
    assert_eq!(short.to_string(), "account 2 has 0.000000040 USD and lacks 0.000000001 USD");
    assert_eq!(left(&chain), [100, 40, 10]);
}

#[test]
fn a_refused_extension_leaves_what_was_held() {
    let chain = chain(&[100, 40]);
    let mut reservation = chain.reserve(nanos(30)).expect("covered");
    assert_eq!(reservation.extend(nanos(11)).map_err(|s| s.account), Err(AccountId(2)));
    assert_eq!((left(&chain), reservation.held()), (vec![70, 10], nanos(30)));
    reservation.settle(nanos(30));
    assert_eq!(left(&chain), [70, 10]);
}

#[test]
fn a_charge_beyond_the_reservation_is_owed_and_then_nothing_more_is_granted() {
    let chain = chain(&[10]);
    chain.reserve(nanos(10)).expect("covered").settle(nanos(15));
    assert_eq!(left(&chain), [-5]);
    let short = chain.reserve(nanos(1)).expect_err("nothing is left");
    assert_eq!(short.missing, nanos(6));
    chain.reserve(Money::ZERO).expect("what costs nothing is granted").settle(Money::ZERO);
    chain.reserve(nanos(-7)).expect("holds nothing").settle(Money::ZERO);
    assert_eq!(left(&chain), [-5]);
}

#[test]
fn an_unlimited_account_never_refuses_but_keeps_count() {
    let cell = AccountCell::new(AccountId(1), Money::ZERO, Funds::Unlimited);
    let chain = Chain::new([Arc::clone(&cell)]);
    assert_eq!(chain.available(), Money::MAX);
    chain.reserve(nanos(500)).expect("never refuses").settle(nanos(300));
    assert_eq!(cell.available(), nanos(-300));
    cell.set_funds(Funds::Limited);
    assert!(chain.reserve(nanos(1)).is_err());
    assert_eq!(chain.available(), nanos(-300));
}

#[test]
fn only_what_others_wrote_is_taken_over_from_the_database() {
    let chain = chain(&[100]);
    let cell = &chain.0[0];
    chain.reserve(nanos(30)).expect("covered").settle(nanos(30));
    assert_eq!(cell.observe(nanos(100)), Money::ZERO, "our spend is not flushed yet");
    cell.flushed(nanos(-30));
    assert_eq!(cell.observe(nanos(70)), Money::ZERO, "it is now");
    assert_eq!(cell.observe(nanos(170)), nanos(100), "a top-up");
    chain.reserve(nanos(20)).expect("covered").settle(nanos(20));
    assert_eq!(cell.observe(nanos(165)), nanos(-5), "another node's spend");
    assert_eq!(cell.available(), nanos(145));
    cell.flushed(nanos(-20));
    assert_eq!((cell.observe(nanos(145)), cell.available()), (Money::ZERO, nanos(145)));
}

#[test]
fn an_account_that_stands_twice_in_a_chain_is_drawn_from_once() {
    let ledger = Ledger::new();
    let cell = ledger.open(AccountId(7), nanos(10), Funds::Limited);
    let chain = ledger.chain(&AccountChain(vec![AccountId(7), AccountId(7)])).expect("known");
    assert_eq!(chain.accounts(), AccountChain(vec![AccountId(7)]));
    chain.reserve(nanos(10)).expect("covered").settle(nanos(10));
    assert_eq!(cell.available(), Money::ZERO);
}

#[test]
fn an_account_keeps_its_cell_when_it_is_opened_again() {
    let ledger = Ledger::new();
    let cell = ledger.open(AccountId(1), nanos(10), Funds::Limited);
    let held = ledger.chain(&AccountChain(vec![AccountId(1)])).expect("known").reserve(nanos(4));
    let again = ledger.open(AccountId(1), nanos(99), Funds::Unlimited);
    assert!(Arc::ptr_eq(&cell, &again));
    assert_eq!((again.available(), again.funds()), (nanos(6), Funds::Unlimited));
    drop(held);
    assert_eq!(cell.available(), nanos(10));
    ledger.close(AccountId(1));
    assert!(ledger.is_empty());
    let unknown = ledger.chain(&AccountChain(vec![AccountId(1)])).expect_err("closed");
    assert_eq!(unknown, UnknownAccount(AccountId(1)));
}

#[test]
fn accounts_opened_by_many_threads_are_all_there_once() {
    let ledger = Ledger::new();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..500).for_each(|id| drop(ledger.open(AccountId(id), nanos(id), Funds::Limited))));
        }
    });
    assert_eq!(ledger.len(), 500);
    assert!((0..500).all(|id| ledger.cell(AccountId(id)).is_some_and(|c| c.available() == nanos(id))));
}

/// Many threads on an amount that is enough for exactly 1,000 calls.
fn at_the_edge(chains: &[Chain]) {
    const CALLS: u32 = 1_000;
    let granted = AtomicU32::new(0);
    let below = AtomicBool::new(false);
    std::thread::scope(|s| {
        for worker in 0..64usize {
            let (chain, granted, below) = (&chains[worker % chains.len()], &granted, &below);
            s.spawn(move || {
                for _ in 0..50 {
                    if let Ok(reservation) = chain.reserve(nanos(7)) {
                        granted.fetch_add(1, Ordering::Relaxed);
                        reservation.settle(nanos(7));
                    }
                    below.fetch_or(left(chain).iter().any(|b| *b < 0), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(granted.load(Ordering::Relaxed), CALLS);
    assert!(!below.load(Ordering::Relaxed), "a balance fell below zero");
}

#[test]
fn sixty_four_threads_are_granted_exactly_what_an_account_covers() {
    let chain = chain(&[7_000]);
    at_the_edge(std::slice::from_ref(&chain));
    assert_eq!(left(&chain), [0]);
}

#[test]
fn sixty_four_threads_on_four_children_are_granted_exactly_what_the_parent_covers() {
    let parent = AccountCell::new(AccountId(100), nanos(7_000), Funds::Limited);
    let children: Vec<_> = (0..4)
        .map(|id| {
            let child = AccountCell::new(AccountId(id), nanos(7_000), Funds::Limited);
            Chain::new([child, Arc::clone(&parent)])
        })
        .collect();
    at_the_edge(&children);
    assert_eq!(parent.available(), Money::ZERO);
    let drawn: i64 = children.iter().map(|c| 7_000 - left(c)[0]).sum();
    assert_eq!(drawn, 7_000, "the refused gave back what they had taken from their own");
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(i64),
    Extend(usize, i64),
    Settle(usize, i64),
    Drop(usize),
    TopUp(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (-5i64..60).prop_map(Step::Reserve),
        1 => (0usize..8, 0i64..60).prop_map(|(i, more)| Step::Extend(i, more)),
        2 => (0usize..8, 0i64..90).prop_map(|(i, charge)| Step::Settle(i, charge)),
        1 => (0usize..8).prop_map(Step::Drop),
        1 => (-20i64..50).prop_map(Step::TopUp),
    ]
}

proptest! {
    #[test]
    fn money_is_conserved(
        balances in proptest::collection::vec(0i64..200, 1..4),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let chain = chain(&balances);
        let (mut held, mut charged, mut topped) = (Vec::new(), 0, 0);
        for step in steps {
            let before = left(&chain);
            match step {
                Step::Reserve(amount) => {
                    let covered = amount <= 0 || before.iter().all(|b| *b >= amount);
                    let reserved = chain.reserve(nanos(amount));
                    prop_assert_eq!(reserved.is_ok(), covered);
                    held.extend(reserved);
                }
                Step::Extend(i, more) => if let Some(reservation) = held.get_mut(i) {
                    let covered = more == 0 || before.iter().all(|b| *b >= more);
                    prop_assert_eq!(reservation.extend(nanos(more)).is_ok(), covered);
                },
                Step::Settle(i, charge) => if i < held.len() {
                    held.swap_remove(i).settle(nanos(charge));
                    charged += charge;
                },
                Step::Drop(i) => if i < held.len() { drop(held.swap_remove(i)) },
                Step::TopUp(delta) => {
                    chain.0.iter().for_each(|c| c.apply(nanos(delta)));
                    topped += delta;
                }
            }
            let reserved: i64 = held.iter().map(|r: &Reservation| r.held().nanos()).sum();
            for (now, start) in left(&chain).into_iter().zip(&balances) {
                prop_assert_eq!(now + reserved + charged, start + topped);
            }
        }
    }
}
