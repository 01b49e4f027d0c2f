//! The Biller between a journal and a database that fail in every way they can.

use std::{future::Future, time::Duration};

use actix::{Addr, Supervisor};

use super::*;
use crate::{
    billing::ledger::{AccountCell, Funds},
    domain::AccountChain,
    ports::JournalSource as _,
    testing::{
        PanicDrill,
        fakes::{Copy, FakeBooks, FakeJournal, Fault, stream},
    },
    usage_log::{Finish, Finished, Intake, Pace, UsageLogView},
};

const ACCOUNTS: [i64; 3] = [1, 2, 3];
const OPENING: i64 = 1_000_000;

/// A Biller between a journal and a database in memory, on a clock that jumps.
struct World {
    journal: Arc<FakeJournal>,
    books: Arc<FakeBooks>,
    ledger: Arc<Ledger>,
    biller: Addr<Biller>,
    gauges: Arc<crate::usage_log::ConsumerGauges>,
}

impl World {
    fn new() -> Self {
        Self::with(Positions::new(), Pace::default())
    }

    /// A start that went by a snapshot, and holds more than the database may.
    fn ahead(ahead: Positions) -> Self {
        Self::with(ahead, Pace::default())
    }

    fn with(ahead: Positions, pace: Pace) -> Self {
        let journal = FakeJournal::new(64, 1);
        let books = Arc::new(FakeBooks::default());
        let ledger = Ledger::new();
        for id in ACCOUNTS {
            books.rows().balances.insert(AccountId(id), Money::from_nanos(OPENING));
            ledger.open(AccountId(id), Money::from_nanos(OPENING), Funds::Limited);
        }
        let gauges = Arc::clone(&UsageLogView::new(2, &["biller"]).consumers()[0]);
        let sink = Books::new(
            Arc::clone(&books) as _,
            Arc::clone(&ledger),
            OwnStreams { node: stream(0).node, boot: stream(0).boot },
            ahead,
        );
        let intake = Intake::new(journal.ring.reader(0), Arc::clone(&journal) as _, Arc::clone(&gauges));
        let biller = Supervisor::start({
            let gauges = Arc::clone(&gauges);
            move |_| Biller::new(sink, intake, pace, gauges)
        });
        Self { journal, books, ledger, biller, gauges }
    }

    /// A call of account 1 or 2, each with 3 as its parent: held, drawn, journalled, pushed.
    fn call(&self, n: usize, copy: Copy) {
        let accounts = [ACCOUNTS[n % 2], ACCOUNTS[2]];
        let charge = 10 + n as i64 % 5;
        let chain = AccountChain(accounts.map(AccountId).into());
        let held = self.ledger.chain(&chain).expect("known").reserve(Money::from_nanos(20)).expect("covered");
        held.settle(Money::from_nanos(charge));
        self.journal.settle(stream(n as u16 % 3), &accounts, charge, copy);
    }

    fn calls(&self, n: usize) {
        (0..n).for_each(|n| self.call(n, Copy::Pushed));
    }

    fn cell(&self, id: i64) -> Arc<AccountCell> {
        self.ledger.cell(AccountId(id)).expect("known")
    }

    /// Database and ledger agree, with each other and with the calls that were settled.
    async fn balances_agree(&self) {
        assert_eq!(self.biller.send(Finish).await.expect("runs"), Finished::AtHead);
        self.biller.send(Refresh(ACCOUNTS.map(AccountId).into())).await.expect("runs");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let rows = self.books.rows();
        for id in ACCOUNTS {
            let spent: Money = rows.spends.iter().filter(|s| s.account.0 == id).map(|s| s.amount).sum();
            let balance = rows.balances[&AccountId(id)];
            assert_eq!(balance, Money::from_nanos(OPENING) - spent, "the entries of {id} are its balance");
            assert_eq!(balance, self.cell(id).available(), "the ledger's {id} is the database's");
        }
        let calls: u32 = rows.spends.iter().filter(|s| s.account.0 == ACCOUNTS[2]).map(|s| s.calls).sum();
        assert_eq!(calls as usize, self.journal.calls().values().map(Vec::len).sum::<usize>());
    }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Arc<World>) -> F) {
    actix::System::new().block_on(async {
        tokio::time::pause();
        test(Arc::new(World::new())).await;
    });
}

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[test]
fn settlements_reach_the_books_within_a_second_in_few_transactions() {
    run(|world| async move {
        pass(100).await;
        world.calls(30);
        pass(1_000).await;
        assert_eq!(world.books.rows().positions, *world.gauges.durable());
        assert_eq!((world.gauges.applied.total(), world.gauges.commits.total()), (30, 1));
        assert_eq!(world.books.rows().spends.len(), 9, "an entry an account and stream, not a call");
        world.balances_agree().await;
    });
}

#[test]
fn what_comes_one_by_one_is_gathered_into_few_transactions_and_a_full_batch_waits_for_nothing() {
    actix::System::new().block_on(async {
        tokio::time::pause();
        let pace = Pace { batch: 20, gather: Duration::from_millis(600), ..Pace::default() };
        let world = World::with(Positions::new(), pace);
        pass(100).await;
        for n in 0..65 {
            world.call(n, Copy::Pushed);
            pass(100).await;
        }
        let commits = world.gauges.commits.total();
        assert!((9..=11).contains(&commits), "{commits} commits in 6.5 seconds");
        pass(2_000).await;
        world.calls(20);
        pass(60).await;
        assert_eq!(world.gauges.applied.total(), 85, "a full batch");
        world.calls(1);
        pass(60).await;
        assert_eq!(world.gauges.applied.total(), 85, "one that waits for others");
        assert_eq!(world.biller.send(Finish).await.expect("runs"), Finished::AtHead);
        assert_eq!(world.gauges.applied.total(), 86, "but not at an end");
        world.balances_agree().await;
    });
}

#[test]
fn while_the_database_is_down_nothing_is_kept_and_afterwards_everything_is_there() {
    run(|world| async move {
        pass(100).await;
        world.calls(10);
        world.books.fault(Fault::Down);
        for _ in 0..60 {
            world.calls(10);
            pass(5_000).await;
        }
        assert!(world.books.rows().spends.is_empty());
        assert_eq!(world.biller.send(Finish).await.expect("runs"), Finished::LeftToReplay);
        world.books.fault(Fault::None);
        pass(6_000).await;
        assert_eq!(world.gauges.durable().len(), 3, "it comes back by itself");
        world.balances_agree().await;
    });
}

#[test]
fn a_commit_whose_answer_is_lost_counts_once() {
    run(|world| async move {
        pass(100).await;
        world.calls(10);
        world.books.fault(Fault::AnswerLost);
        pass(60).await;
        world.books.fault(Fault::None);
        world.calls(10);
        pass(2_000).await;
        assert_eq!((world.gauges.failures.total(), world.books.rows().refused), (1, 0));
        world.balances_agree().await;
    });
}

#[test]
fn a_commit_that_takes_place_after_it_was_given_up_counts_once() {
    run(|world| async move {
        pass(100).await;
        world.calls(10);
        world.books.fault(Fault::Late);
        pass(60).await;
        world.calls(10);
        pass(1_000).await;
        assert!(world.books.rows().late.len() > 1, "it tried again, with more");
        world.books.rows().do_late();
        world.books.fault(Fault::None);
        pass(6_000).await;
        world.balances_agree().await;
    });
}

#[test]
fn a_biller_that_panics_while_a_commit_is_on_its_way_counts_it_once() {
    run(|world| async move {
        pass(100).await;
        world.calls(10);
        world.books.fault(Fault::Silent);
        pass(60).await;
        assert!(!world.books.rows().spends.is_empty(), "it is done, but unanswered");
        world.books.fault(Fault::None);
        world.biller.send(PanicDrill).await.expect("answered");
        world.calls(10);
        pass(1_000).await;
        assert_eq!(world.gauges.restarts.total(), 1);
        world.balances_agree().await;
    });
}

#[test]
fn a_store_that_panics_costs_a_retry_and_no_money() {
    run(|world| async move {
        pass(100).await;
        world.books.fault(Fault::Panic);
        world.calls(10);
        pass(60).await;
        world.books.fault(Fault::None);
        pass(1_000).await;
        assert_eq!((world.gauges.failures.total(), world.gauges.restarts.total()), (1, 0));
        world.balances_agree().await;
    });
}

#[test]
fn gaps_and_duplicates_in_the_ring_are_no_gaps_and_duplicates_in_the_books() {
    run(|world| async move {
        pass(100).await;
        for n in 0..200 {
            let copies = [Copy::Pushed, Copy::Dropped, Copy::Pushed, Copy::Twice, Copy::WithoutPayload];
            world.call(n, copies[n % copies.len()]);
            if n % 20 == 19 {
                pass(60).await;
            }
        }
        pass(3_000).await;
        assert!(world.gauges.gaps.total() > 0 && world.gauges.duplicates.total() > 0);
        world.balances_agree().await;
    });
}

#[test]
fn a_biller_that_was_frozen_catches_up() {
    run(|world| async move {
        pass(100).await;
        world.books.fault(Fault::Silent);
        world.calls(1);
        pass(100).await;
        world.books.fault(Fault::None);
        for n in 0..500 {
            world.call(n, Copy::Pushed);
        }
        pass(30_000).await;
        assert!(world.journal.ring.lag(0) >= 500, "it waits for an answer that never comes");
        world.biller.send(PanicDrill).await.expect("answered");
        pass(1_000).await;
        assert_eq!(world.journal.ring.lag(0), 0);
        world.balances_agree().await;
    });
}

#[test]
fn what_the_journal_lost_is_entered_as_a_gap() {
    run(|world| async move {
        world.calls(9);
        world.journal.lose(stream(1), 1);
        pass(1_000).await;
        let rows = world.books.rows();
        assert_eq!(rows.lost.iter().map(|r| r.stream).collect::<Vec<_>>(), [stream(1)]);
        assert_eq!(rows.positions.len(), 3);
    });
}

#[test]
fn what_others_wrote_reaches_the_ledger_and_what_we_wrote_does_not_reach_it_twice() {
    run(|world| async move {
        pass(100).await;
        world.calls(10);
        *world.books.rows().balances.entry(AccountId(1)).or_default() += Money::from_nanos(500);
        let before = world.cell(1).available();
        world.biller.send(Refresh(vec![AccountId(1), AccountId(99)])).await.expect("runs");
        pass(500).await;
        assert_eq!(world.cell(1).available(), before + Money::from_nanos(500));
        world.biller.send(Refresh(ACCOUNTS.map(AccountId).into())).await.expect("runs");
        pass(500).await;
        assert_eq!(world.cell(1).available(), before + Money::from_nanos(500));
    });
}

#[test]
fn what_an_older_start_or_the_recovery_settled_is_drawn_from_the_ledger_once_it_is_in_the_books() {
    run(|world| async move {
        pass(100).await;
        let recovery = StreamId { worker: StreamId::RECOVERY, ..stream(0) };
        let older = StreamId { boot: 1, ..stream(0) };
        world.journal.settle(recovery, &[1, 3], 7, Copy::Pushed);
        world.journal.settle(older, &[2, 3], 5, Copy::Dropped);
        pass(3_000).await;
        assert_eq!(ACCOUNTS.map(|id| OPENING - world.cell(id).available().nanos()), [7, 5, 12]);
        world.balances_agree().await;
    });
}

#[test]
fn nothing_is_committed_before_the_journal_has_made_it_durable() {
    run(|world| async move {
        pass(100).await;
        world.journal.sync(false);
        world.calls(9);
        pass(60_000).await;
        assert_eq!((world.books.rows().positions.len(), world.gauges.durable().len()), (0, 0));
        world.journal.sync(true);
        pass(1_000).await;
        assert_eq!(world.books.rows().positions.len(), 3);
        world.balances_agree().await;
    });
}

#[test]
fn a_biller_that_panics_while_the_disk_syncs_commits_nothing_twice() {
    run(|world| async move {
        pass(100).await;
        world.journal.sync(false);
        world.calls(9);
        pass(1_000).await;
        world.biller.send(PanicDrill).await.expect("answered");
        pass(1_000).await;
        world.journal.sync(true);
        pass(1_000).await;
        world.balances_agree().await;
    });
}

/// A start without the database: the ledger has what the journal settled since the snapshot, the database
/// has a part of it, and others have written too.
#[test]
fn what_a_start_without_the_database_took_from_the_journal_is_not_drawn_again() {
    let older = StreamId { boot: 1, ..stream(0) };
    let settled = [7, 5, 11];
    actix::System::new().block_on(async {
        tokio::time::pause();
        let journal_end = settled.len() as u64 * 10 + 1 + 2 + 3;
        let world = World::ahead([(older, journal_end)].into());
        world.books.fault(Fault::Down);
        settled.iter().for_each(|charge| world.journal.settle(older, &[1, 3], *charge, Copy::Dropped));
        assert_eq!(world.journal.heads()[&older], journal_end);
        // The database had entered the first of them before it went away.
        let first = Range { stream: older, from: 0, to: 11 };
        let spend = |account| Spend {
            account: AccountId(account),
            part: first,
            calls: 1,
            amount: Money::from_nanos(7),
        };
        world.books.rows().positions.insert(older, first.to);
        world.books.rows().spends.extend([spend(1), spend(3)]);
        for account in [1, 3] {
            *world.books.rows().balances.entry(AccountId(account)).or_default() -= Money::from_nanos(7);
            settled.iter().for_each(|c| world.cell(account).settled_before(Money::from_nanos(*c)));
        }
        let topped_up = Money::from_nanos(100);
        *world.books.rows().balances.entry(AccountId(1)).or_default() += topped_up;
        world.biller.send(Refresh(vec![AccountId(1)])).await.expect("runs");
        world.calls(10);
        let drawn = |world: &World| OPENING - world.cell(1).available().nanos();
        let before = drawn(&world);
        pass(20_000).await;
        assert_eq!(drawn(&world), before, "nothing moves while the database is away");
        world.books.fault(Fault::None);
        pass(10_000).await;
        assert_eq!(drawn(&world), before - topped_up.nanos());
        *world.books.rows().balances.entry(AccountId(1)).or_default() -= topped_up;
        world.balances_agree().await;
    });
}
