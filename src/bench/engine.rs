//! One thread of the generator: begins calls at their time, or one after the other, and follows each to its end.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::task::{LocalSet, spawn_local};

use super::{
    arrivals::{Arrivals, Spacing},
    call::{self, Sent},
    connection::{Connection, Target},
    pacer::{Pacer, nanoseconds, thread_time},
    request::Requests,
    tally::{Failure, Tally, Waited},
};

/// Calls that may wait for a connection before the generator gives up.
const MOST_WAITING: usize = 1 << 20;

/// What every thread does its part of.
pub struct Job {
    /// Where calls go.
    pub target: Target,
    /// What they are.
    pub requests: Requests,
    /// When they begin.
    pub pattern: Pattern,
    /// Before what is measured.
    pub warm_up: Duration,
    /// What is measured.
    pub duration: Duration,
    /// For one call; a call that waits for a connection so long after the window is not begun.
    pub timeout: Duration,
    /// Expected time between two words of a stream.
    pub pace: Option<Duration>,
    /// Decides the draws.
    pub seed: u64,
}

/// When calls begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// At their times, so many a second.
    Open { rate: f64, spacing: Spacing },
    /// When the one before has ended.
    Closed,
}

/// One thread's part of a job.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The how-manieth thread, of how many.
    pub index: usize,
    pub of: usize,
    /// Its connections.
    pub connections: usize,
    /// When all begin.
    pub start: Instant,
}

/// A call that is due.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    /// When the generator got to it.
    seen: Instant,
}

struct Thread {
    job: Arc<Job>,
    part: Part,
    tally: RefCell<Tally>,
    rng: RefCell<StdRng>,
    idle: RefCell<Vec<Connection>>,
    /// Connections in use or idle.
    open: Cell<usize>,
    waiting: RefCell<VecDeque<Due>>,
}

/// Does one thread's part, from its start to the end of its last call.
///
/// # Errors
/// A sentence, where the system refuses a runtime or a timer.
pub fn run(job: Arc<Job>, part: Part) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let rng = StdRng::seed_from_u64(job.seed.wrapping_mul(1000).wrapping_add(part.index as u64));
    let thread = Rc::new(Thread {
        job,
        part,
        tally: RefCell::default(),
        rng: RefCell::new(rng),
        idle: RefCell::default(),
        open: Cell::new(0),
        waiting: RefCell::default(),
    });
    let local = LocalSet::new();
    let driven = runtime.block_on(local.run_until(Rc::clone(&thread).drive()));
    driven.map_err(|error| format!("no timer: {error}"))?;
    Ok(thread.tally.take())
}

fn unbegun() -> Failure {
    Failure { kind: "no connection in time".into(), example: None, waited: Waited::ToTheEnd }
}

impl Thread {
    fn window(&self) -> (Instant, Instant) {
        let from = self.part.start + self.job.warm_up;
        (from, from + self.job.duration)
    }

    fn is_measured(&self, at: Instant) -> bool {
        let (from, to) = self.window();
        (from..to).contains(&at)
    }

    fn fail(&self, due: Instant, now: Instant, failure: Failure) {
        if self.is_measured(due) {
            self.tally.borrow_mut().failed(failure, nanoseconds(due, now));
        }
    }

    async fn drive(self: Rc<Self>) -> io::Result<()> {
        let meter = spawn_local(Rc::clone(&self).meter());
        match self.job.pattern {
            Pattern::Open { rate, spacing } => self.open_loop(rate, spacing).await?,
            Pattern::Closed => {
                tokio::time::sleep_until(self.part.start.into()).await;
                for _ in 0..self.part.connections {
                    self.open.set(self.open.get() + 1);
                    let now = Instant::now();
                    spawn_local(Rc::clone(&self).serve(Due { at: now, seen: now }));
                }
            }
        }
        let (_, end) = self.window();
        let deadline = end + self.job.timeout;
        let _ = meter.await;
        // Whoever serves a call is counted as open and not idle. A call that was begun has its own timeout,
        // however late that was.
        while self.open.get() > self.idle.borrow().len() {
            if Instant::now() >= deadline {
                self.forget_waiting();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Fails the calls that still wait for a connection.
    fn forget_waiting(&self) {
        let now = Instant::now();
        for due in self.waiting.take() {
            self.fail(due.at, now, unbegun());
        }
    }

    /// Reads the thread's processor time at both ends of the window.
    async fn meter(self: Rc<Self>) {
        let (from, to) = self.window();
        tokio::time::sleep_until(from.into()).await;
        let before = thread_time();
        tokio::time::sleep_until(to.into()).await;
        let spent = thread_time().zip(before).map(|(after, before)| after.saturating_sub(before));
        self.tally.borrow_mut().processor = spent.map(Duration::from_nanos);
    }

    async fn open_loop(self: &Rc<Self>, rate: f64, spacing: Spacing) -> io::Result<()> {
        let Part { index, of, start, .. } = self.part;
        let rng = StdRng::seed_from_u64(self.job.seed.wrapping_mul(1000).wrapping_add(500 + index as u64));
        let phase = index as f64 / of as f64;
        let (_, end) = self.window();
        let pacer = Pacer::new()?;
        for offset in Arrivals::new(spacing, rate / of as f64, phase, rng) {
            let at = start + offset;
            if at >= end {
                break;
            }
            pacer.until(at).await?;
            let due = Due { at, seen: Instant::now() };
            if self.is_measured(at) {
                let mut tally = self.tally.borrow_mut();
                tally.intended += 1;
                tally.late.add(nanoseconds(at, due.seen));
            }
            if !self.idle.borrow().is_empty() || self.open.get() < self.part.connections {
                if self.idle.borrow().is_empty() {
                    self.open.set(self.open.get() + 1);
                }
                let kept = self.idle.borrow_mut().pop();
                spawn_local(Rc::clone(self).serve_with(kept, due));
            } else if self.waiting.borrow().len() < MOST_WAITING {
                self.waiting.borrow_mut().push_back(due);
            } else {
                self.tally.borrow_mut().gave_up = true;
                break;
            }
        }
        Ok(())
    }

    async fn serve(self: Rc<Self>, due: Due) {
        self.serve_with(None, due).await;
    }

    /// Makes the call that is due, and on the same connection whatever is due then.
    async fn serve_with(self: Rc<Self>, mut kept: Option<Connection>, mut due: Due) {
        loop {
            let sent = Sent { due: due.at, at: Instant::now() };
            if self.is_measured(due.at) {
                let mut tally = self.tally.borrow_mut();
                tally.waited.add(nanoseconds(due.seen, sent.at));
                tally.intended += u64::from(self.job.pattern == Pattern::Closed);
            }
            let outcome = self.call(kept.take(), sent).await;
            let now = Instant::now();
            match outcome {
                Ok((connection, timing)) => {
                    kept = connection;
                    let mut tally = self.tally.borrow_mut();
                    tally.ended += u64::from(self.is_measured(now));
                    if self.is_measured(due.at) {
                        tally.good(timing);
                    }
                }
                Err(failure) => self.fail(due.at, now, failure),
            }
            let next = match self.job.pattern {
                Pattern::Closed if now < self.window().1 => Some(Due { at: now, seen: now }),
                Pattern::Closed => None,
                Pattern::Open { .. } => self.waiting.borrow_mut().pop_front(),
            };
            match next {
                Some(next) => due = next,
                None => break,
            }
        }
        match kept {
            Some(connection) => self.idle.borrow_mut().push(connection),
            None => self.open.set(self.open.get() - 1),
        }
    }

    /// One call, with a fresh connection where the kept one turns out to be closed.
    async fn call(
        &self,
        kept: Option<Connection>,
        sent: Sent,
    ) -> Result<(Option<Connection>, super::tally::Timing), Failure> {
        let mut head = Vec::with_capacity(512);
        let (body, kind) = self.job.requests.draw(&mut *self.rng.borrow_mut(), &mut head);
        let is_measured = self.is_measured(sent.due);
        let tally = is_measured.then_some(&self.tally);
        let call = call::Call { job: &self.job, head: &head, body: &body, kind, sent, tally };
        let limit = tokio::time::Instant::from_std(sent.at) + self.job.timeout;
        let whole = async {
            if let Some(connection) = kept {
                match call.on(connection).await {
                    Err(call::Broken::Stale) => {
                        self.tally.borrow_mut().stale += u64::from(is_measured);
                    }
                    outcome => return outcome,
                }
            }
            let connection = Connection::open(&self.job.target).await.map_err(call::Broken::connect)?;
            call.on(connection).await
        };
        match tokio::time::timeout_at(limit, whole).await {
            Ok(outcome) => outcome.map_err(call::Broken::into_failure),
            Err(_) => Err(Failure { kind: "timeout".into(), example: None, waited: Waited::ToTheEnd }),
        }
    }
}
