//! A call's ticket and the protocol by which it is claimed. Shared by the call, the router and the supervisors.
//!
//! Whoever moves its state out of `WAITING` by compare-and-swap decides how the wait ends: a supervisor that
//! holds a slot, the router that ejects it, or the call that leaves. Places at gates are given up in that
//! moment, so that nobody is held up by a call that no longer waits.

use std::{
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

#[cfg(not(feature = "loom"))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

#[cfg(feature = "loom")]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use super::{estimate::Estimate, fairness::Ask, plan::Pinned};
use crate::{
    channel::{
        Gate,
        gate::{Permit, Place},
    },
    domain::ModelName,
};

const WAITING: u8 = 0;
const DECIDED: u8 = 1;
const LEFT: u8 = 2;

/// How a wait ended.
#[derive(Debug)]
pub enum Verdict {
    /// A channel has room.
    Granted(Grant),
    /// It ends without one.
    Ejected(Ejected),
}

/// A permit that was waited for.
#[derive(Debug)]
pub struct Grant {
    /// The channel's slot.
    pub slot: u32,
    /// The channel's permit.
    pub permit: Permit,
    /// Those of the caller's own gates.
    pub of_caller: Vec<Permit>,
    /// How long the ticket had waited.
    pub waited: Duration,
}

/// Why a ticket did not take a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotGranted {
    /// It does not wait for it any more.
    Gone,
    /// A gate of its caller's is full.
    Held,
}

/// Why a wait ended without a permit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ejected {
    /// It would have outlasted its deadline, as things stood on arrival.
    TooLong(Option<Estimate>),
    /// Its deadline passed.
    Expired,
    /// The caller's key has its share of the room already.
    Crowded,
    /// No channel is left that could serve it.
    NoCandidate,
    /// Calls have waited for too long for a while, and its band gives way first.
    Shed(Option<Estimate>),
}

/// Which channels may serve a call.
#[derive(Clone, Debug)]
pub struct Want {
    /// The model, aliases resolved.
    pub model: ModelName,
    /// The caller's group.
    pub group: Arc<str>,
    /// A channel that the caller insists on.
    pub pin: Option<Pinned>,
    /// Slots of channels that were tried, or cannot serve it.
    pub excluded: Vec<u32>,
    /// How long a tier is waited for before the next one is, too.
    pub overflow_after: Duration,
}

/// A call's place in the queue.
#[derive(Debug)]
pub struct Ticket {
    /// Its number, never used twice in a process.
    pub id: u64,
    /// What it asks for.
    pub ask: Ask,
    /// Which channels may serve it.
    pub want: Want,
    /// Gates of the caller, its key's and its group's, that it must pass too.
    of_caller: Vec<Arc<Gate>>,
    state: AtomicU8,
    /// Expected wait, position; see [`Ticket::estimate`].
    told: Told,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    places: Vec<(u32, Place)>,
    verdict: Option<Verdict>,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Told {
    position: AtomicU64,
    p50_ms: AtomicU64,
    p90_ms: AtomicU64,
    /// Whether someone reads news of it.
    is_asked_after: AtomicU8,
}

const UNTOLD: u64 = u64::MAX;
/// Stands for a slot where the place is at one of the caller's own gates.
pub const OF_CALLER: u32 = u32::MAX;

impl Ticket {
    /// Makes a ticket; `place` is the one that it has already, at a channel's gate or at one of its caller's.
    pub fn new(id: u64, ask: Ask, want: Want, of_caller: Vec<Arc<Gate>>, place: (u32, Place)) -> Arc<Self> {
        let mut places = vec![place];
        for gate in &of_caller {
            if !places[0].1.is_at(gate) {
                places.push((OF_CALLER, gate.wait()));
            }
        }
        let inner = Inner { places, ..Inner::default() };
        let told = Told { position: AtomicU64::new(UNTOLD), ..Told::default() };
        let state = AtomicU8::new(WAITING);
        Arc::new(Self { id, ask, want, of_caller, state, told, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it still waits.
    pub fn is_waiting(&self) -> bool {
        self.state.load(Ordering::Acquire) == WAITING
    }

    /// Has it wait at a gate too; false where it no longer waits.
    pub fn offer(&self, slot: u32, gate: &Arc<Gate>) -> bool {
        let mut inner = self.lock();
        if !self.is_waiting() {
            return false;
        }
        if !inner.places.iter().any(|(known, _)| *known == slot) {
            inner.places.push((slot, gate.wait()));
        }
        true
    }

    /// Takes it away from a gate.
    pub fn withdraw(&self, slot: u32) {
        self.lock().places.retain(|(known, _)| *known != slot);
    }

    /// Whether it waits at this channel's gate.
    pub fn is_offered(&self, slot: u32) -> bool {
        self.is_waiting() && self.lock().places.iter().any(|(known, _)| *known == slot)
    }

    /// Claims it; only one of all who try succeeds. The claimer delivers a verdict next.
    fn claim(&self) -> bool {
        self.state.compare_exchange(WAITING, DECIDED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Grants it a channel's permit, together with those of its caller's own gates.
    ///
    /// # Errors
    /// The permit, where it does not wait at this channel any more, or where its caller's gates are full.
    pub fn grant(&self, slot: u32, permit: Permit, now: Duration) -> Result<(), (Permit, NotGranted)> {
        if !self.is_offered(slot) {
            return Err((permit, NotGranted::Gone));
        }
        let mut of_caller = Vec::with_capacity(self.of_caller.len());
        for gate in &self.of_caller {
            match gate.claim() {
                Some(permit) => of_caller.push(permit),
                None => return Err((permit, NotGranted::Held)),
            }
        }
        if !self.claim() {
            return Err((permit, NotGranted::Gone));
        }
        let waited = now.saturating_sub(self.ask.arrived);
        match self.deliver(Verdict::Granted(Grant { slot, permit, of_caller, waited })) {
            Some(Verdict::Granted(unwanted)) => Err((unwanted.permit, NotGranted::Gone)),
            _ => Ok(()),
        }
    }

    /// Ends its wait without a permit; false where it ended already.
    pub fn eject(&self, why: Ejected) -> bool {
        let claimed = self.claim();
        if claimed {
            self.deliver(Verdict::Ejected(why));
        }
        claimed
    }

    /// Hands a verdict over; gives it back where the call has left.
    fn deliver(&self, verdict: Verdict) -> Option<Verdict> {
        let mut inner = self.lock();
        let places = std::mem::take(&mut inner.places);
        // The call may have left between the claim and this moment: then nobody takes what is put here.
        let unwanted = match self.state.load(Ordering::Acquire) {
            LEFT => Some(verdict),
            _ => inner.verdict.replace(verdict),
        };
        let waker = inner.waker.take();
        drop(inner);
        drop(places);
        if let Some(waker) = waker {
            waker.wake();
        }
        unwanted
    }

    /// How the wait ended, once it has.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Verdict> {
        let mut inner = self.lock();
        match inner.verdict.take() {
            Some(verdict) => Poll::Ready(verdict),
            None => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Gives the wait up; what was delivered meanwhile goes back. For the call alone. Says whether that was a
    /// permit.
    pub fn leave(&self) -> bool {
        self.state.swap(LEFT, Ordering::AcqRel);
        let mut inner = self.lock();
        let (places, verdict) = (std::mem::take(&mut inner.places), inner.verdict.take());
        inner.waker = None;
        drop(inner);
        drop(places);
        matches!(verdict, Some(Verdict::Granted(_)))
    }

    /// Publishes its expected wait.
    pub fn tell(&self, estimate: Estimate) {
        let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.told.p50_ms.store(ms(estimate.p50), Ordering::Relaxed);
        self.told.p90_ms.store(ms(estimate.p90), Ordering::Relaxed);
        self.told.position.store(estimate.position, Ordering::Release);
    }

    /// Asks for news of its expected wait.
    pub fn ask_after(&self) {
        self.told.is_asked_after.store(1, Ordering::Relaxed);
    }

    /// Whether someone asked for news.
    pub fn is_asked_after(&self) -> bool {
        self.told.is_asked_after.load(Ordering::Relaxed) == 1
    }

    /// Its expected wait, as it was published last; `None` while nothing is known.
    pub fn estimate(&self) -> Option<Estimate> {
        let position = self.told.position.load(Ordering::Acquire);
        (position != UNTOLD).then(|| Estimate {
            position,
            p50: Duration::from_millis(self.told.p50_ms.load(Ordering::Relaxed)),
            p90: Duration::from_millis(self.told.p90_ms.load(Ordering::Relaxed)),
        })
    }
}

/// A wish for any channel, for tests.
#[cfg(test)]
pub(crate) fn anything() -> Want {
    Want {
        model: "m".into(),
        group: "default".into(),
        pin: None,
        excluded: Vec::new(),
        overflow_after: Duration::ZERO,
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::router::fairness::tests::ask;

    fn waiting(gate: &Arc<Gate>) -> Arc<Ticket> {
        Ticket::new(1, ask(1, 10), anything(), Vec::new(), (7, gate.wait()))
    }

    fn poll(ticket: &Ticket) -> Option<Verdict> {
        match ticket.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(verdict) => Some(verdict),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_grant_takes_it_off_every_gate_and_only_one_succeeds() {
        let (a, b) = (Gate::new(1), Gate::new(1));
        let ticket = waiting(&a);
        assert!(ticket.offer(8, &b) && ticket.offer(8, &b));
        assert_eq!((a.waiting(), b.waiting()), (1, 1), "once at each gate");
        let [mine, other] = [&a, &b].map(|gate| gate.claim().expect("room"));
        assert!(ticket.grant(8, other, Duration::from_secs(3)).is_ok());
        assert!(ticket.grant(7, mine, Duration::ZERO).is_err());
        assert_eq!((a.waiting(), b.waiting()), (0, 0));
        let Some(Verdict::Granted(grant)) = poll(&ticket) else { panic!("granted") };
        assert_eq!((grant.slot, grant.waited), (8, Duration::from_secs(3)));
        assert_eq!((a.in_flight(), b.in_flight()), (0, 1));
    }

    #[test]
    fn what_is_delivered_to_who_left_goes_back() {
        let gate = Gate::new(1);
        let ticket = waiting(&gate);
        assert!(ticket.grant(7, gate.claim().expect("room"), Duration::ZERO).is_ok());
        ticket.leave();
        assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
        assert!(!ticket.eject(Ejected::Expired) && !ticket.offer(8, &gate));
    }

    #[test]
    fn a_channel_it_was_withdrawn_from_cannot_grant_it() {
        let gate = Gate::new(1);
        let ticket = waiting(&gate);
        ticket.withdraw(7);
        assert!(ticket.grant(7, gate.claim().expect("room"), Duration::ZERO).is_err());
        assert!(ticket.is_waiting() && gate.in_flight() == 0);
        assert!(ticket.eject(Ejected::NoCandidate));
        assert!(matches!(poll(&ticket), Some(Verdict::Ejected(Ejected::NoCandidate))));
    }

    #[test]
    fn a_full_gate_of_the_callers_holds_it_back_and_costs_no_slot() {
        let (gate, own) = (Gate::new(1), Gate::new(1));
        let busy = own.try_enter().expect("room");
        let ticket = Ticket::new(1, ask(1, 10), anything(), vec![Arc::clone(&own)], (7, gate.wait()));
        assert_eq!((gate.waiting(), own.waiting()), (1, 1));
        let held = ticket.grant(7, gate.claim().expect("room"), Duration::ZERO).map_err(|(_, why)| why);
        assert_eq!((held, gate.in_flight()), (Err(NotGranted::Held), 0));
        drop(busy);
        assert!(ticket.grant(7, gate.claim().expect("room"), Duration::ZERO).is_ok());
        assert_eq!((own.in_flight(), own.waiting()), (1, 0));
        ticket.leave();
        assert_eq!((own.in_flight(), gate.in_flight()), (0, 0));
    }

    #[test]
    fn an_estimate_is_told_once_it_is_known() {
        let ticket = waiting(&Gate::new(1));
        assert_eq!(ticket.estimate(), None);
        let told = Estimate { position: 3, p50: Duration::from_secs(2), p90: Duration::from_secs(4) };
        ticket.tell(told);
        assert_eq!(ticket.estimate(), Some(told));
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use super::*;
    use crate::router::fairness::{Ask, Band};

    fn ask() -> Ask {
        Ask {
            key: crate::domain::KeyId(1),
            band: Band::Normal,
            cost: 1,
            weight: 1,
            arrived: Duration::ZERO,
            deadline: Duration::from_secs(1),
        }
    }

    #[test]
    fn of_two_channels_that_grant_one_wins_and_the_other_keeps_its_slot() {
        loom::model(|| {
            let (a, b) = (Gate::new(1), Gate::new(1));
            let ticket = Ticket::new(1, ask(), anything(), Vec::new(), (1, a.wait()));
            assert!(ticket.offer(2, &b));
            let other = (Arc::clone(&ticket), Arc::clone(&b));
            let granter = loom::thread::spawn(move || {
                other.0.grant(2, other.1.claim().expect("room"), Duration::ZERO).is_ok()
            });
            let here = ticket.grant(1, a.claim().expect("room"), Duration::ZERO).is_ok();
            assert!(here ^ granter.join().expect("no panic"));
            assert_eq!((a.waiting(), b.waiting()), (0, 0));
            assert_eq!(a.in_flight() + b.in_flight(), 1);
            ticket.leave();
            assert_eq!(a.in_flight() + b.in_flight(), 0);
        });
    }

    #[test]
    fn a_call_that_leaves_while_it_is_granted_leaks_no_permit() {
        loom::model(|| {
            let gate = Gate::new(1);
            let ticket = Ticket::new(1, ask(), anything(), Vec::new(), (1, gate.wait()));
            let other = (Arc::clone(&ticket), Arc::clone(&gate));
            let granter = loom::thread::spawn(move || {
                drop(other.0.grant(1, other.1.claim().expect("room"), Duration::ZERO));
            });
            ticket.leave();
            granter.join().expect("no panic");
            assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
        });
    }

    #[test]
    fn a_gate_that_is_offered_to_who_leaves_keeps_no_place() {
        loom::model(|| {
            let (a, b) = (Gate::new(0), Gate::new(0));
            let ticket = Ticket::new(1, ask(), anything(), Vec::new(), (1, a.wait()));
            let other = (Arc::clone(&ticket), Arc::clone(&b));
            let router = loom::thread::spawn(move || other.0.offer(2, &other.1));
            ticket.leave();
            router.join().expect("no panic");
            assert_eq!((a.waiting(), b.waiting()), (0, 0));
        });
    }
}
