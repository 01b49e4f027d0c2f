//! Starts the actors of the books, each consumer on an arbiter of its own, and ends them in order.

use std::sync::Arc;

use actix::{Addr, Arbiter, ArbiterHandle, Supervisor};

use crate::{
    billing::{Biller, Books, Ledger},
    limiter::{LimitHandle, Limiter},
    metrics::{Meter, actor::TrafficHandle},
    ports::{BooksStore, JournalSource, OwnStreams, RequestLogStore},
    usage_log::{
        Finish, Finished, Follower, Intake, LogWriter, Pace, Positions, Sink, UsageLog, UsageLogView,
        request_log::RequestLog,
    },
};

/// What the books are kept with.
#[derive(Clone)]
pub struct Keeping {
    /// Holds the facts.
    pub journal: Arc<dyn JournalSource>,
    /// Holds the books.
    pub books: Arc<dyn BooksStore>,
    /// Holds the request log.
    pub log: Arc<dyn RequestLogStore>,
    /// Whose settlements have drawn from the ledger already.
    pub own: OwnStreams,
    /// Streams of older starts that the ledger holds up to here, though the database may not.
    pub ahead: Positions,
    /// The Biller's pace.
    pub biller: Pace,
    /// The request log's pace.
    pub log_writer: Pace,
    /// Where limits keep count.
    pub limits: Arc<LimitHandle>,
}

/// The running actors of the books, and what the call path shares with them.
pub struct Accounting {
    /// The usage log: its ring is where settled calls are pushed.
    pub usage_log: UsageLogView,
    /// The balances.
    pub ledger: Arc<Ledger>,
    /// What the Meter publishes.
    pub traffic: TrafficHandle,
    /// The Biller.
    pub biller: Addr<Biller>,
    /// The writer of the request log.
    pub log_writer: Addr<LogWriter>,
    /// The Meter.
    pub meter: Addr<Meter>,
    /// The Limiter.
    pub limiter: Addr<Limiter>,
    /// The watcher of the consumers.
    pub watcher: Addr<UsageLog>,
    arbiters: Vec<Arbiter>,
}

impl Accounting {
    /// The consumers' names, in the order of their numbers in the ring.
    pub const CONSUMERS: [&str; 4] = ["biller", "request_log", "meter", "limiter"];
    /// Those whose rows the journal waits for.
    pub const DURABLE: [&str; 2] = ["biller", "request_log"];

    /// Starts the actors over a ring of so many slots of half a KiB. Must run inside an `actix::System`.
    pub fn start(slots: usize, ledger: Arc<Ledger>, keeping: Keeping) -> Self {
        let usage_log = UsageLogView::new(slots, &Self::CONSUMERS);
        let [books, log, control] = ["books", "request_log", "meter"].map(arbiter);
        let biller = {
            let (store, ledger) = (Arc::clone(&keeping.books), Arc::clone(&ledger));
            let (own, ahead) = (keeping.own, keeping.ahead.clone());
            let sink = move || Books::new(store, ledger, own, ahead);
            follow(&books.handle(), &usage_log, 0, &keeping.journal, keeping.biller, sink)
        };
        let log_writer = {
            let store = Arc::clone(&keeping.log);
            let sink = move || RequestLog(store);
            follow(&log.handle(), &usage_log, 1, &keeping.journal, keeping.log_writer, sink)
        };
        let traffic = TrafficHandle::default();
        let meter = Supervisor::start_in_arbiter(&control.handle(), {
            let (view, traffic) = (usage_log.clone(), Arc::clone(&traffic));
            let journal = Arc::clone(&keeping.journal);
            move |_| Meter::new(view.clone(), Arc::clone(&view.consumers()[2]), journal, traffic)
        });
        let limiter = Supervisor::start_in_arbiter(&control.handle(), {
            let (view, Keeping { journal, own, limits, .. }) = (usage_log.clone(), keeping);
            move |_| Limiter::new(view.clone(), Arc::clone(&view.consumers()[3]), journal, own, limits)
        });
        let watcher = Supervisor::start_in_arbiter(&control.handle(), {
            let view = usage_log.clone();
            move |_| UsageLog::new(view)
        });
        let arbiters = vec![books, log, control];
        Self { usage_log, ledger, traffic, biller, log_writer, meter, limiter, watcher, arbiters }
    }

    /// Has the consumers bring home what stands in the journal. Call it once nothing is settled any more;
    /// what it does not reach, the next start replays.
    pub async fn finish(&self) -> Finished {
        let (biller, log_writer) = (self.biller.send(Finish), self.log_writer.send(Finish));
        let ends = [biller.await, log_writer.await];
        let is_home = |end: &Result<Finished, _>| matches!(end, Ok(Finished::AtHead));
        if ends.iter().all(is_home) { Finished::AtHead } else { Finished::LeftToReplay }
    }

    /// Stops the arbiters.
    pub fn stop(self) {
        for arbiter in self.arbiters {
            arbiter.stop();
            if arbiter.join().is_err() {
                tracing::error!("an arbiter of the books ended by a panic");
            }
        }
    }
}

/// An arbiter whose thread bears a name.
fn arbiter(name: &'static str) -> Arbiter {
    let arbiter = Arbiter::new();
    // The name that `top` and `perf` show; where it cannot be given, the old one stays.
    arbiter.spawn_fn(move || drop(std::fs::write("/proc/thread-self/comm", name)));
    arbiter
}

fn follow<S: Sink>(
    arbiter: &ArbiterHandle,
    log: &UsageLogView,
    consumer: usize,
    journal: &Arc<dyn JournalSource>,
    pace: Pace,
    sink: impl FnOnce() -> S + Send + 'static,
) -> Addr<Follower<S>> {
    let gauges = Arc::clone(&log.consumers()[consumer]);
    let (reader, journal) = (log.ring().reader(consumer), Arc::clone(journal));
    Supervisor::start_in_arbiter(arbiter, move |_| {
        let intake = Intake::new(reader, journal, Arc::clone(&gauges));
        Follower::new(sink(), intake, pace, gauges)
    })
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::{
        billing::ledger::Funds,
        domain::{AccountChain, AccountId, Money},
        limiter::Rules,
        testing::{
            PanicDrill,
            fakes::{Copy, FakeBooks, FakeJournal, FakeLog, Fault, stream},
        },
    };

    /// Workers settle on threads of their own while every actor panics and the database comes and goes.
    #[test]
    fn the_books_balance_after_workers_panics_and_a_database_that_comes_and_goes() {
        const CALLS: u64 = 3_000;
        actix::System::new().block_on(async {
            let (books, log) = (Arc::new(FakeBooks::default()), Arc::new(FakeLog::default()));
            let ledger = Ledger::new();
            let opening = Money::from_nanos(CALLS as i64 * 3 * 7);
            books.rows().balances.insert(AccountId(1), opening);
            ledger.open(AccountId(1), opening, Funds::Limited);
            let journal = FakeJournal::new(2, 1);
            let pace = Pace { batch: 64, ..Pace::default() };
            let keeping = Keeping {
                journal: Arc::clone(&journal) as _,
                books: Arc::clone(&books) as _,
                log: Arc::clone(&log) as _,
                own: OwnStreams { node: stream(0).node, boot: stream(0).boot },
                ahead: Positions::new(),
                biller: pace,
                log_writer: pace,
                limits: LimitHandle::new(Rules::default()),
            };
            let actors = Accounting::start(256, ledger, keeping);
            let workers: Vec<_> = (0..3)
                .map(|worker| {
                    let (journal, ring) = (Arc::clone(&journal), Arc::clone(actors.usage_log.ring()));
                    let chain = actors.ledger.chain(&AccountChain(vec![AccountId(1)])).expect("known");
                    std::thread::spawn(move || {
                        for n in 0..CALLS {
                            chain
                                .reserve(Money::from_nanos(7))
                                .expect("covered")
                                .settle(Money::from_nanos(7));
                            journal.settle_into(&ring, stream(worker), &[1], 7, Copy::Pushed);
                            if n % 50 == 0 {
                                std::thread::sleep(std::time::Duration::from_millis(2));
                            }
                        }
                    })
                })
                .collect();
            let mut rounds = 0;
            while workers.iter().any(|w| !w.is_finished()) || rounds < 4 {
                books.fault([Fault::None, Fault::Down, Fault::AnswerLost, Fault::None][rounds % 4]);
                rounds += 1;
                actors.biller.send(PanicDrill).await.expect("answered");
                actors.log_writer.send(PanicDrill).await.expect("answered");
                actors.meter.send(PanicDrill).await.expect("answered");
                actors.limiter.send(PanicDrill).await.expect("answered");
                actors.watcher.send(PanicDrill).await.expect("answered");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            for worker in workers {
                worker.join().expect("every call was covered");
            }
            books.fault(Fault::None);
            while actors.finish().await != Finished::AtHead {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            assert_eq!(books.rows().balances[&AccountId(1)], Money::ZERO);
            assert_eq!(actors.ledger.cell(AccountId(1)).map(|c| c.available()), Some(Money::ZERO));
            assert_eq!(books.rows().spends.iter().map(|s| u64::from(s.calls)).sum::<u64>(), 3 * CALLS);
            assert_eq!(log.calls(), journal.calls());
            assert!(actors.usage_log.consumers().iter().all(|c| c.restarts.total() >= 4));
            actors.stop();
        });
    }
}
