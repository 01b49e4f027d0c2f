//! A channel's live cell: what its supervisor publishes and what the call path counts.
//!
//! Cells are carried across route tables; a table refers to them and never copies them.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam::{queue::SegQueue, utils::CachePadded};

use super::{
    connections::Connections,
    gate::{Bell, Entered, Gate, Permit, Place, UNLIMITED},
    health::{HealthReport, Sample},
    learning::Learning,
    line::Lines,
    pace::{Pace, Served},
    pacer::Learned,
    rotation::{Chosen, Rotation},
};
use crate::{
    domain::{ChannelName, ChannelSpec, Credentials, Pacing, TransportKind},
    limiter::{Amounts, Opens, OverLimit, WAITED_FOR},
    router::{
        WaitingRoom,
        estimate::{Estimate, Outlook, Stand, foresee},
        room::NotifyBell,
        ticket::Ticket,
    },
};

/// Live state of one channel. Written by its supervisor, but for the counters.
#[derive(Debug)]
pub struct ChannelCell {
    /// A dense number, never reused while the process lives.
    pub slot: u32,
    /// The channel's permanent name.
    pub name: ChannelName,
    /// Permits for requests in flight.
    pub gate: Arc<Gate>,
    /// Open connections over all workers.
    pub connections: Arc<Connections>,
    /// What calls leave to learn from, and what was learned.
    pub learning: Learning,
    /// Where it stands in its credentials, where it has several. For whom it is asked, [`Self::rotation`].
    rotation: ArcSwapOption<Rotation>,
    has_several: AtomicBool,
    /// What is known of its models, its credential and its retries.
    pub lines: Lines,
    /// Calls that the router offers; as many as wait at most. The supervisor takes them.
    pub offers: SegQueue<Arc<Ticket>>,
    /// What the key had settled that was served last: [`super::queue::Queue::serving`].
    pub serving: AtomicU64,
    bell: Arc<NotifyBell>,
    counters: CachePadded<Counters>,
    spec: ArcSwap<ChannelSpec>,
    generation: AtomicU64,
    success_rate: AtomicU32,
    first_byte_us: AtomicU64,
    service_us: AtomicU64,
    scatter: AtomicU32,
    restarts: AtomicU64,
    complained_secs: AtomicU64,
    backlog: AtomicU64,
}

/// Tokens of the call for which the expected wait is told.
const TYPICAL_TOKENS: u64 = 1_000;

fn has_several(spec: &ChannelSpec) -> bool {
    spec.credentials.all().len() > 1
}

/// Why a request gets no permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEntry {
    /// There is no room now, or others wait, or the channel takes no more for a while.
    Now,
    /// It is more than the channel's limit itself.
    Never(Box<OverLimit>),
}

/// When a request could go.
#[derive(Debug)]
pub(super) enum Later {
    In(Duration),
    Never(Box<OverLimit>),
}

/// What the call path counts; totals since the channel was first seen.
#[derive(Debug, Default)]
struct Counters {
    succeeded: AtomicU64,
    failed: AtomicU64,
    first_byte_us: AtomicU64,
    served: AtomicU64,
    served_us: AtomicU64,
    served_square_ms: AtomicU64,
}

impl ChannelCell {
    /// Makes the cell of a channel that is seen for the first time.
    pub fn new(slot: u32, spec: Arc<ChannelSpec>) -> Arc<Self> {
        let bell = Arc::<NotifyBell>::default();
        Arc::new(Self {
            slot,
            name: spec.name.clone(),
            gate: Gate::with_bell(spec.concurrency.unwrap_or(UNLIMITED), Arc::clone(&bell) as Arc<dyn Bell>),
            learning: Learning::default(),
            has_several: AtomicBool::new(has_several(&spec)),
            rotation: has_several(&spec).then(|| Rotation::new(spec.credentials.clone())).into(),
            offers: SegQueue::new(),
            serving: AtomicU64::new(0),
            bell,
            connections: Connections::new(spec.pool.max_connections),
            lines: Lines::default(),
            counters: CachePadded::new(Counters::default()),
            generation: AtomicU64::new(1),
            success_rate: AtomicU32::new(1.0_f32.to_bits()),
            first_byte_us: AtomicU64::new(0),
            service_us: AtomicU64::new(0),
            scatter: AtomicU32::new(1.0_f32.to_bits()),
            restarts: AtomicU64::new(0),
            complained_secs: AtomicU64::new(0),
            backlog: AtomicU64::new(0),
            spec: ArcSwap::new(spec),
        })
    }

    /// Takes a permit for a request of so many tokens if there is room now, nobody waits, and both the provider and
    /// the operator's limits let it through.
    ///
    /// # Errors
    /// Whether it is worth waiting for.
    pub fn try_enter(&self, tokens: u64, room: &WaitingRoom) -> Result<Permit, NoEntry> {
        let permit = self.gate.try_enter().ok_or(NoEntry::Now)?;
        self.admitted(permit, tokens, room).map_err(|(_, why)| match why {
            Later::In(_) => NoEntry::Now,
            Later::Never(over) => NoEntry::Never(over),
        })
    }

    /// Has a request of so many tokens take what it needs beside its slot; gives the permit back where that is not
    /// there now.
    pub(super) fn admitted(
        &self,
        permit: Permit,
        tokens: u64,
        room: &WaitingRoom,
    ) -> Result<Permit, (Permit, Later)> {
        let paced = match self.learning.pacer.is_on() {
            true => match self.learning.pacer.take(tokens, room.now()) {
                Ok(paced) => Some(paced),
                Err(wait) => return Err((permit, Later::In(wait))),
            },
            false => None,
        };
        let shown = match self.several() {
            Some(rotation) => match rotation.choose(&[], tokens, room.now()) {
                Chosen::Shown(showing) => Some(Box::new(showing)),
                Chosen::Later(wait) => return Err((permit, Later::In(wait))),
                Chosen::Nothing => None,
            },
            None => None,
        };
        let amounts = Amounts { requests: 1, tokens, spend: 0 };
        let limits = room.limits().map(|l| l.hold_channel(self.name.as_str(), amounts, WAITED_FOR));
        match limits.transpose() {
            Ok(limits) => Ok(permit.paced(paced).showing(shown).limited(limits.flatten())),
            Err(over) => match over.retry_after {
                Some(wait) => Err((permit, Later::In(wait))),
                None => Err((permit, Later::Never(over))),
            },
        }
    }

    /// After how long a request of so many tokens could go, but for a slot; zero where it could now.
    pub fn opens_in(&self, tokens: u64, room: &WaitingRoom) -> Duration {
        let pacer = &self.learning.pacer;
        let paced = if pacer.is_on() { pacer.wait(tokens, room.now()) } else { Duration::ZERO };
        let paced = self.several().map_or(paced, |rotation| rotation.wait(tokens, room.now()).max(paced));
        let limits = room.limits().and_then(|l| l.opens(self.name.as_str(), tokens, 1));
        limits.map_or(paced, |opens| opens.first.max(paced))
    }

    /// How calls of so many tokens are paced here, for one that so many others go before.
    pub fn outlook(&self, tokens: u64, ahead: u64, room: &WaitingRoom) -> Outlook {
        let own = self.learning.pacer.outlook(tokens, room.now());
        let learned = match self.several().map(|rotation| rotation.outlook(tokens, room.now())) {
            Some(each) => own.and(each),
            None => own,
        };
        let limits = room.limits().and_then(|l| l.opens(self.name.as_str(), tokens, ahead + 1));
        let Some(Opens { first, nth, per_second }) = limits else { return learned };
        // What the windows let through at once, they tell of to the moment.
        let credit = (ahead + 1) as f64;
        learned.and(Outlook { per_second: Some(per_second), credit, wait: first, stands: nth })
    }

    /// Calls that are its to serve, of those that wait; of one that waits for other channels too, a part. The router
    /// says so now and then.
    pub fn backlog(&self) -> f64 {
        f64::from_bits(self.backlog.load(Ordering::Relaxed))
    }

    pub(crate) fn publish_backlog(&self, calls: f64) {
        self.backlog.store(calls.to_bits(), Ordering::Relaxed);
    }

    /// How it stands for a call of so many tokens that so many others go before.
    pub fn stand(&self, ahead: f64, tokens: u64, room: &WaitingRoom) -> Stand {
        let (mean, scatter) = self.pace();
        Stand {
            slot: self.slot,
            ahead,
            limit: self.gate.limit(),
            in_flight: self.gate.in_flight(),
            mean,
            scatter,
            outlook: self.outlook(tokens, ahead.round() as u64, room),
        }
    }

    /// How long a call would wait that is served after all who wait now; `None` while nothing is known of how fast the
    /// channel serves.
    pub fn expected_wait(&self, room: &WaitingRoom) -> Option<Estimate> {
        let foreseen = foresee(&[self.stand(self.backlog(), TYPICAL_TOKENS, room)]);
        foreseen.wait.map(|model| room.calibration().correct(model))
    }

    /// A place among those who wait; `None` where there is room by now. Whoever takes it has the gate looked at
    /// afterwards.
    pub fn enter_or_wait(&self, tokens: u64, room: &WaitingRoom) -> Option<Place> {
        let permit = match self.gate.enter_or_wait() {
            Entered::Place(place) => return Some(place),
            Entered::Permit(permit) => permit,
        };
        if self.opens_in(tokens, room).is_zero() {
            return None;
        }
        let place = self.gate.wait();
        drop(permit);
        Some(place)
    }

    fn several(&self) -> Option<Arc<Rotation>> {
        if !self.has_several.load(Ordering::Relaxed) {
            return None;
        }
        self.rotation.load_full()
    }

    /// Where the channel stands in these credentials, of which there are several, the same for every worker.
    pub fn rotation(&self, credentials: &Credentials) -> Arc<Rotation> {
        match self.rotation.load_full() {
            Some(rotation) if rotation.is_of(credentials) => rotation,
            // Of settings that come or go just now.
            Some(other) => other.with(credentials),
            None => Rotation::new(credentials.clone()),
        }
    }

    /// What was learned of what the provider lets through.
    pub fn learned(&self, now: Duration) -> Learned {
        let own = self.learning.pacer.learned(now);
        let Some(each) = self.several().map(|rotation| rotation.learned(now)) else { return own };
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Learned {
            requests_per_minute: least(own.requests_per_minute, each.requests_per_minute),
            tokens_per_minute: least(own.tokens_per_minute, each.tokens_per_minute),
            paused: own.paused.max(each.paused),
        }
    }

    /// The settings in force.
    pub fn spec(&self) -> Arc<ChannelSpec> {
        self.spec.load_full()
    }

    /// Whether the settings in force lead where these did: if not, how a request of these fares tells nothing of the
    /// channel any more.
    pub fn is_reached_by(&self, spec: &ChannelSpec) -> bool {
        self.spec.load().is_reached_alike(spec)
    }

    /// By what the channel's requests go out.
    pub fn transport(&self) -> TransportKind {
        self.spec.load().transport
    }

    /// The pool generation: connections of an older one are not reused.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The health last published.
    pub fn health(&self) -> HealthReport {
        HealthReport {
            success_rate: f32::from_bits(self.success_rate.load(Ordering::Relaxed)),
            first_byte: Duration::from_micros(self.first_byte_us.load(Ordering::Relaxed)),
        }
    }

    /// How often the supervisor was restarted after a panic.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Counts an attempt that brought the first byte of an answer after `first_byte`.
    pub fn succeeded(&self, first_byte: Duration) {
        self.counters.succeeded.fetch_add(1, Ordering::Relaxed);
        self.counters.first_byte_us.fetch_add(first_byte.as_micros() as u64, Ordering::Relaxed);
    }

    /// Counts an attempt that failed by the upstream's fault.
    pub fn failed(&self) {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a slot that was given back after so long.
    pub fn served(&self, held: Duration) {
        let millis = held.as_millis() as u64;
        self.counters.served.fetch_add(1, Ordering::Relaxed);
        self.counters.served_us.fetch_add(held.as_micros() as u64, Ordering::Relaxed);
        self.counters.served_square_ms.fetch_add(millis.saturating_mul(millis), Ordering::Relaxed);
    }

    /// Totals of service times since the channel was first seen.
    pub fn service(&self) -> Served {
        Served {
            count: self.counters.served.load(Ordering::Relaxed),
            micros: self.counters.served_us.load(Ordering::Relaxed),
            square_millis: self.counters.served_square_ms.load(Ordering::Relaxed),
        }
    }

    /// Recent mean service time, `None` before any, and how much it scatters: see [`super::pace::Pace`].
    pub fn pace(&self) -> (Option<Duration>, f64) {
        let mean = self.service_us.load(Ordering::Relaxed);
        let scatter = f32::from_bits(self.scatter.load(Ordering::Relaxed));
        ((mean > 0).then(|| Duration::from_micros(mean)), f64::from(scatter))
    }

    /// Waits until a slot may have become free for those who wait, or one came to wait.
    pub(super) async fn rung(&self) {
        self.bell.0.notified().await;
    }

    pub(super) fn publish_pace(&self, pace: &Pace) {
        let mean = pace.mean().map_or(0, |mean| (mean.as_micros() as u64).max(1));
        self.service_us.store(mean, Ordering::Relaxed);
        self.scatter.store((pace.scatter() as f32).to_bits(), Ordering::Relaxed);
    }

    /// Whether a failure may be logged at a loud level: one a second, so that a dead channel fills no disk.
    pub fn may_complain(&self, now: SystemTime) -> bool {
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.complained_secs.swap(second, Ordering::Relaxed) != second
    }

    /// Totals of attempts since the channel was first seen.
    pub fn totals(&self) -> Sample {
        Sample {
            succeeded: self.counters.succeeded.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
            first_byte: Duration::from_micros(self.counters.first_byte_us.load(Ordering::Relaxed)),
        }
    }

    /// Puts new settings in force. For the supervisor alone.
    pub(super) fn apply(&self, spec: Arc<ChannelSpec>) {
        let old = self.spec.swap(Arc::clone(&spec));
        if !spec.is_same_account(&old) || spec.learning.pacing == Pacing::Off {
            self.learning.pacer.forget();
        }
        self.rotate(&old, &spec);
        let served: HashSet<_> = spec.models.iter().map(|served| &served.upstream).collect();
        self.lines.keep(|model| served.contains(model));
        self.connections.set_cap(spec.pool.max_connections);
        let leads_elsewhere = old.base_url != spec.base_url || old.proxy != spec.proxy;
        if leads_elsewhere || old.pool != spec.pool || old.transport != spec.transport {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Brings the rotation to new settings.
    fn rotate(&self, old: &ChannelSpec, spec: &ChannelSpec) {
        let known = self.rotation.load_full().filter(|_| {
            // The same secret at another place is another account.
            old.is_same_place(spec)
        });
        let rotation = has_several(spec).then(|| match known {
            Some(rotation) if rotation.is_of(&spec.credentials) => rotation,
            Some(rotation) => rotation.with(&spec.credentials),
            None => Rotation::new(spec.credentials.clone()),
        });
        if let (Some(rotation), Pacing::Off) = (&rotation, spec.learning.pacing) {
            rotation.forget();
        }
        self.rotation.store(rotation);
        self.has_several.store(has_several(spec), Ordering::Relaxed);
    }

    /// Has kept connections closed: the channel is no longer wanted. For the roster alone.
    pub(super) fn retire_connections(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn publish_health(&self, report: HealthReport) {
        self.success_rate.store(report.success_rate.to_bits(), Ordering::Relaxed);
        self.first_byte_us.store(report.first_byte.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }
}
