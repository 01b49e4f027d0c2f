//! Where calls wait: what a call does to wait, and what the router and the supervisors share. Its bounds.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Addr, dev::SendError};
use arc_swap::ArcSwap;
use crossbeam::queue::SegQueue;
use tokio::sync::Notify;

use super::{
    actor::{Arrived, Router},
    estimate::Calibration,
    fairness::{Ask, Fairness},
    ticket::{Ejected, Ticket, Verdict, Want},
};
use crate::{
    channel::{
        Gate,
        gate::{Bell, Place},
    },
    domain::KeyId,
    limiter::LimitHandle,
};

/// How many may wait, and for how long before the lowest band gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Calls that wait.
    pub calls: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Calls of one key.
    pub calls_of_key: u64,
    /// Standing delay above which calls of the lowest band give way.
    pub shed_above: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { calls: 10_000, bytes: 512 << 20, calls_of_key: 7_500, shed_above: Duration::from_secs(10) }
    }
}

/// Why a call cannot even begin to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// As many calls wait as may.
    Calls,
    /// The bodies of those that wait are as large as they may be.
    Bytes,
    /// The router has more to do than it can take in.
    Mailbox,
}

/// See the module's sentence.
#[derive(Debug)]
pub struct WaitingRoom {
    epoch: Instant,
    router: OnceLock<Addr<Router>>,
    bounds: ArcSwap<Bounds>,
    /// Every ticket whose call waits: what the router starts from after a panic.
    live: Mutex<HashMap<u64, Arc<Ticket>>>,
    calls: AtomicU64,
    bytes: AtomicU64,
    next: AtomicU64,
    /// Waits that ended, for the router.
    ended: SegQueue<Ended>,
    /// What calls used, for the counters.
    used: SegQueue<Used>,
    fairness: Mutex<Fairness>,
    /// Whether breakers or switches moved since the router looked.
    has_moved: AtomicBool,
    /// How the router corrects what it expects.
    calibration: ArcSwap<Calibration>,
    /// Rings when a permit of a caller's own gate returns.
    of_callers: Arc<NotifyBell>,
    /// The limits of channels, for which calls wait, too.
    limits: OnceLock<Arc<LimitHandle>>,
}

/// A wait that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) id: u64,
    pub(super) waited: Duration,
    /// Whether the wait tells how long waits are: not where the client left.
    pub(super) is_telling: bool,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    key: KeyId,
    charged: u64,
    used: u64,
}

/// A bell that tasks can wait for.
#[derive(Debug, Default)]
pub struct NotifyBell(pub Notify);

impl Bell for NotifyBell {
    fn ring(&self) {
        self.0.notify_one();
    }
}

impl WaitingRoom {
    /// An empty room.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            router: OnceLock::new(),
            bounds: ArcSwap::from_pointee(Bounds::default()),
            live: Mutex::default(),
            calls: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            next: AtomicU64::new(0),
            ended: SegQueue::new(),
            used: SegQueue::new(),
            fairness: Mutex::default(),
            has_moved: AtomicBool::new(false),
            calibration: ArcSwap::default(),
            of_callers: Arc::default(),
            limits: OnceLock::new(),
        })
    }

    /// Says who takes tickets. Once, when the router was started.
    pub fn open(&self, router: Addr<Router>) {
        let _ = self.router.set(router);
    }

    /// Says what the limits of channels are. Once, before anybody waits.
    pub fn set_limits(&self, limits: Arc<LimitHandle>) {
        let _ = self.limits.set(limits);
    }

    /// The limits of channels.
    pub(crate) fn limits(&self) -> Option<&LimitHandle> {
        self.limits.get().map(|limits| &**limits)
    }

    /// The room's clock.
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// A moment on the room's clock.
    pub fn at(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.epoch)
    }

    /// Puts bounds in force for those who come.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.bounds.store(Arc::new(bounds));
    }

    /// The bounds in force.
    pub fn bounds(&self) -> Bounds {
        **self.bounds.load()
    }

    /// Calls that wait now.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Bytes of their bodies.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Makes a gate for a key or a group, at which calls wait with the others.
    pub fn gate_of_caller(&self, limit: u32) -> Arc<Gate> {
        Gate::with_bell(limit, Arc::clone(&self.of_callers) as Arc<dyn Bell>)
    }

    /// Begins to wait.
    ///
    /// # Errors
    /// [`NoRoom`] where a bound is reached.
    pub fn wait(
        self: &Arc<Self>,
        ask: Ask,
        want: Want,
        of_caller: Vec<Arc<Gate>>,
        place: (u32, Place),
        bytes: u64,
    ) -> Result<Waiting, NoRoom> {
        let bounds = self.bounds();
        let held = Held { room: Arc::clone(self), bytes };
        let (calls, all) =
            (self.calls.fetch_add(1, Ordering::AcqRel), self.bytes.fetch_add(bytes, Ordering::AcqRel));
        if calls >= bounds.calls {
            return Err(NoRoom::Calls);
        }
        if all.saturating_add(bytes) > bounds.bytes && calls > 0 {
            return Err(NoRoom::Bytes);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket::new(id, ask, want, of_caller, place);
        self.live().insert(id, Arc::clone(&ticket));
        let waiting = Waiting { ticket, held, is_telling: false };
        let sent = self.router.get().map(|router| router.try_send(Arrived(Arc::clone(&waiting.ticket))));
        match sent {
            Some(Ok(())) => Ok(waiting),
            // A router that is being started again finds it among the living.
            Some(Err(SendError::Closed(_))) => Ok(waiting),
            Some(Err(SendError::Full(_))) | None => Err(NoRoom::Mailbox),
        }
    }

    pub(super) fn live(&self) -> MutexGuard<'_, HashMap<u64, Arc<Ticket>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the router look anew at which channels may serve the calls that wait: a breaker or a switch moved, or its
    /// probes are out.
    pub fn plan_anew(&self) {
        self.has_moved.store(true, Ordering::Release);
    }

    pub(super) fn take_moved(&self) -> bool {
        self.has_moved.swap(false, Ordering::AcqRel)
    }

    pub(super) fn take_ended(&self) -> Option<Ended> {
        self.ended.pop()
    }

    pub(super) async fn caller_gate_freed(&self) {
        self.of_callers.0.notified().await;
    }

    /// How what is expected is corrected, as the router published it last.
    pub fn calibration(&self) -> Arc<Calibration> {
        self.calibration.load_full()
    }

    pub(super) fn publish_calibration(&self, calibration: &Calibration) {
        self.calibration.store(Arc::new(calibration.clone()));
    }

    /// The counters, with what was settled taken in.
    pub fn fairness(&self) -> MutexGuard<'_, Fairness> {
        let mut fairness = self.fairness.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Used { key, charged, used }) = self.used.pop() {
            fairness.correct(key, charged, used);
        }
        fairness
    }
}

/// Room that is taken. Dropping it gives it back.
#[derive(Debug)]
struct Held {
    room: Arc<WaitingRoom>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.calls.fetch_sub(1, Ordering::AcqRel);
        self.room.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A call that waits. Dropping it leaves every queue at once.
#[derive(Debug)]
pub struct Waiting {
    ticket: Arc<Ticket>,
    held: Held,
    is_telling: bool,
}

impl Waiting {
    /// Waits until it is decided.
    pub async fn verdict(&mut self) -> Verdict {
        let verdict = poll_fn(|cx| self.ticket.poll(cx)).await;
        self.is_telling = matches!(verdict, Verdict::Granted(_) | Verdict::Ejected(Ejected::Expired));
        verdict
    }

    /// The ticket.
    pub fn ticket(&self) -> &Arc<Ticket> {
        &self.ticket
    }

    /// Notes that it waited to its deadline.
    pub fn expired(&mut self) {
        self.is_telling = true;
    }

    /// What the key was charged when the slot was claimed.
    pub fn charge(&self) -> Charge {
        let Ask { key, cost, .. } = self.ticket.ask;
        Charge { room: Arc::clone(&self.held.room), key, charged: cost, used: 0 }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let is_wasted = self.ticket.leave();
        let room = &self.held.room;
        if is_wasted {
            drop(self.charge());
        }
        room.live().remove(&self.ticket.id);
        let waited = room.now().saturating_sub(self.ticket.ask.arrived);
        room.ended.push(Ended { id: self.ticket.id, waited, is_telling: self.is_telling });
    }
}

/// What a key was charged for a call that waited; corrected, when it is dropped, to what was used.
#[derive(Debug)]
pub struct Charge {
    room: Arc<WaitingRoom>,
    key: KeyId,
    charged: u64,
    used: u64,
}

impl Charge {
    /// Notes what the call used, in tokens.
    pub fn used(&mut self, tokens: u64) {
        self.used = tokens;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.room.used.push(Used { key: self.key, charged: self.charged, used: self.used });
    }
}
