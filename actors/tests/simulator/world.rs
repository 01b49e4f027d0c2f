//! Channels, queue and router on virtual time: the decisions are the gateway's own, the calls a trace.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use penstock_actors::{
    channel::{
        Gate, Permit,
        gate::Entered,
        pace::{Pace, Served},
        queue::{Offered, Queue},
    },
    domain::KeyId,
    router::{
        estimate::{Calibration, Estimate, Foreseen, Stand, foresee},
        fairness::{Ask, Band, Fairness},
        registry::Registry,
        ticket::{NotGranted, Ticket, Verdict, Want},
    },
};

/// One call of a trace.
#[derive(Clone, Debug)]
pub struct Call {
    pub key: i64,
    pub band: Band,
    /// Tokens as they are estimated, and as they come out.
    pub estimated: u64,
    pub actual: u64,
    pub service: Duration,
    pub max_wait: Duration,
    /// Leaves after waiting so long.
    pub patience: Option<Duration>,
    pub channels: Vec<usize>,
}

/// What happens to a call that comes with no hope of being served in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hopeless {
    /// It is refused on arrival, as the gateway does.
    Refused,
    /// It waits in vain like any other: what refusals are measured against.
    Kept,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Served { waited: Duration },
    Refused,
    Expired,
    Left,
}

/// A call that came to its end.
#[derive(Clone)]
pub struct Done {
    pub call: Call,
    pub arrived: Duration,
    pub told: Option<Estimate>,
    pub fate: Fate,
}

pub enum Event {
    Arrives(Box<Call>),
    Ends { channel: usize, call: u64 },
    GivesUp(u64),
    Limit { channel: usize, limit: u32 },
}

struct Channel {
    gate: Arc<Gate>,
    queue: Queue<Arc<Ticket>>,
    pace: Pace,
    busy: Duration,
}

struct Open {
    call: Call,
    arrived: Duration,
    ticket: Option<Arc<Ticket>>,
    told: Option<Estimate>,
    model: Option<Estimate>,
    permit: Option<Permit>,
    is_charged: bool,
}

/// See the module's sentence.
pub struct World {
    pub now: Duration,
    channels: Vec<Channel>,
    pub fairness: Fairness,
    pub registry: Registry,
    calibration: Calibration,
    events: BinaryHeap<Reverse<(Duration, u64)>>,
    by_number: BTreeMap<u64, Event>,
    open: BTreeMap<u64, Open>,
    numbers: u64,
    pub done: Vec<Done>,
    /// Slots that were taken above a limit.
    pub limit_broken: u64,
    pub hopeless: Hopeless,
}

impl World {
    pub fn new(limits: &[u32]) -> Self {
        let channel = |limit: &u32| Channel {
            gate: Gate::new(*limit),
            queue: Queue::default(),
            pace: Pace::default(),
            busy: Duration::ZERO,
        };
        Self {
            now: Duration::ZERO,
            channels: limits.iter().map(channel).collect(),
            fairness: Fairness::default(),
            registry: Registry::default(),
            calibration: Calibration::default(),
            events: BinaryHeap::new(),
            by_number: BTreeMap::new(),
            open: BTreeMap::new(),
            numbers: 0,
            done: Vec::new(),
            limit_broken: 0,
            hopeless: Hopeless::Refused,
        }
    }

    pub fn at(&mut self, time: Duration, event: Event) {
        self.numbers += 1;
        self.events.push(Reverse((time, self.numbers)));
        self.by_number.insert(self.numbers, event);
    }

    /// Lets the next thing happen; false where nothing is left to happen.
    pub fn step(&mut self) -> bool {
        let Some(Reverse((time, number))) = self.events.pop() else { return false };
        let elapsed = time - self.now;
        for channel in &mut self.channels {
            channel.busy += elapsed * channel.gate.in_flight();
        }
        self.now = time;
        match self.by_number.remove(&number) {
            Some(Event::Arrives(call)) => self.arrives(*call),
            Some(Event::Ends { channel, call }) => self.ends(channel, call),
            Some(Event::GivesUp(call)) => self.gives_up(call),
            Some(Event::Limit { channel, limit }) => {
                self.channels[channel].gate.set_limit(limit);
                self.pump(channel);
            }
            None => {}
        }
        true
    }

    /// Slot time used, all channels together.
    pub fn busy(&self) -> Duration {
        self.channels.iter().map(|c| c.busy).sum()
    }

    /// Calls that wait beside a slot that they could have, and permits, places and shares that are left over.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (at, channel) in self.channels.iter().enumerate() {
            let (gate, waits) = (&channel.gate, self.open.values().filter(|o| o.permit.is_none()));
            let waits = waits.filter(|o| o.call.channels.contains(&at)).count();
            if waits > 0 && gate.has_slot() {
                faults.push(format!("{waits} wait for channel {at}, which has a free slot"));
            }
            if gate.waiting() as usize != waits {
                faults.push(format!("{} places at channel {at} for {waits} calls", gate.waiting()));
            }
        }
        faults
    }

    /// What is left over once nothing happens any more.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (at, channel) in self.channels.iter().enumerate() {
            let (gate, queue) = (&channel.gate, &channel.queue);
            if gate.in_flight() + gate.waiting() > 0 || !queue.is_empty() {
                left.push(format!("channel {at}: {gate:?}, {} in its queue", queue.len()));
            }
        }
        if !self.registry.is_empty() || self.fairness.shares() > 0 || !self.open.is_empty() {
            left.push(format!("{} tickets, {} shares", self.registry.len(), self.fairness.shares()));
        }
        left
    }

    fn arrives(&mut self, call: Call) {
        self.numbers += 1;
        let id = self.numbers;
        for channel in call.channels.clone() {
            if let Some(permit) = self.channels[channel].gate.try_enter() {
                let open = Open {
                    call,
                    arrived: self.now,
                    ticket: None,
                    told: None,
                    model: None,
                    permit: None,
                    is_charged: false,
                };
                self.open.insert(id, open);
                return self.starts(channel, id, permit, Duration::ZERO);
            }
        }
        let ask = Ask {
            key: KeyId(call.key),
            band: call.band,
            cost: call.estimated,
            weight: 1,
            arrived: self.now,
            deadline: self.now + call.max_wait,
        };
        let (model, told, parts) = self.expect(id, &ask, &call.channels);
        let is_hopeless = told.is_some_and(|told| told.p50 > call.max_wait);
        if is_hopeless && self.hopeless == Hopeless::Refused {
            self.done.push(Done { call, arrived: self.now, told, fate: Fate::Refused });
            return;
        }
        let want = Want {
            model: "m".into(),
            group: "default".into(),
            pin: None,
            excluded: Vec::new(),
            overflow_after: Duration::ZERO,
        };
        let first = call.channels[0];
        let Entered::Place(place) = self.channels[first].gate.enter_or_wait() else {
            unreachable!("it was full")
        };
        let ticket = Ticket::new(id, ask, want, Vec::new(), (first as u32, place));
        self.registry.offer(id, ask, model, &parts);
        let channels = call.channels.clone();
        let gives_up = call.patience.unwrap_or(call.max_wait).min(call.max_wait);
        let open = Open {
            call,
            arrived: self.now,
            ticket: Some(Arc::clone(&ticket)),
            told,
            model,
            permit: None,
            is_charged: false,
        };
        self.open.insert(id, open);
        self.at(self.now + gives_up, Event::GivesUp(id));
        for channel in channels {
            ticket.offer(channel as u32, &self.channels[channel].gate);
            let queue = &mut self.channels[channel].queue;
            queue.push(id, ask, Arc::clone(&ticket), &mut self.fairness, self.now);
            self.pump(channel);
        }
    }

    fn expect(
        &self,
        id: u64,
        ask: &Ask,
        channels: &[usize],
    ) -> (Option<Estimate>, Option<Estimate>, Vec<(u32, f64)>) {
        let stand = |at: &usize| {
            let Channel { gate, pace, queue, .. } = &self.channels[*at];
            Stand {
                slot: *at as u32,
                ahead: self.registry.ahead(id, ask, *at as u32, queue.serving(), &self.fairness),
                limit: gate.limit(),
                in_flight: gate.in_flight(),
                mean: pace.mean(),
                scatter: pace.scatter(),
                ..Stand::default()
            }
        };
        let Foreseen { wait: model, parts } = foresee(&channels.iter().map(stand).collect::<Vec<_>>());
        (model, model.map(|model| self.calibration.correct(model)), parts)
    }

    fn pump(&mut self, at: usize) {
        loop {
            let channel = &mut self.channels[at];
            if channel.queue.is_empty() {
                return;
            }
            let Some(permit) = channel.gate.claim() else { return };
            self.limit_broken += u64::from(channel.gate.in_flight() > channel.gate.limit());
            let (mut slot, mut taker) = (Some(permit), None);
            let now = self.now;
            channel.queue.serve(&mut self.fairness, now, |_, ticket| {
                let Some(permit) = slot.take() else { return Offered::Held };
                match ticket.grant(at as u32, permit, now) {
                    Ok(()) => {
                        taker = Some(ticket.id);
                        Offered::Taken
                    }
                    Err((permit, why)) => {
                        slot = Some(permit);
                        if why == NotGranted::Gone { Offered::Gone } else { Offered::Held }
                    }
                }
            });
            if let Some(unused) = slot {
                unused.withdraw();
            }
            let Some(id) = taker else { return };
            self.registry.remove(id);
            let open = self.open.get_mut(&id).expect("it waits");
            open.is_charged = true;
            let ticket = open.ticket.take().expect("it has one");
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let std::task::Poll::Ready(Verdict::Granted(grant)) = ticket.poll(&mut cx) else {
                unreachable!("it was granted")
            };
            if let Some(model) = open.model {
                self.calibration.learn(model, grant.waited);
            }
            self.starts(at, id, grant.permit, grant.waited);
        }
    }

    fn starts(&mut self, channel: usize, id: u64, permit: Permit, waited: Duration) {
        let open = self.open.get_mut(&id).expect("it is open");
        open.permit = Some(permit);
        let (call, told) = (open.call.clone(), open.told);
        let ends = self.now + call.service;
        self.done.push(Done { arrived: open.arrived, told, fate: Fate::Served { waited }, call });
        self.at(ends, Event::Ends { channel, call: id });
    }

    fn ends(&mut self, at: usize, id: u64) {
        let Some(open) = self.open.remove(&id) else { return };
        if open.is_charged {
            self.fairness.correct(KeyId(open.call.key), open.call.estimated, open.call.actual);
        }
        let micros = open.call.service.as_micros() as u64;
        let millis = open.call.service.as_millis() as u64;
        self.channels[at].pace.observe(Served { count: 1, micros, square_millis: millis * millis });
        drop(open.permit);
        self.pump(at);
    }

    fn gives_up(&mut self, id: u64) {
        if self.open.get(&id).is_none_or(|open| open.ticket.is_none()) {
            return;
        }
        let Some(Open { call, arrived, ticket: Some(ticket), told, model, .. }) = self.open.remove(&id)
        else {
            return;
        };
        ticket.leave();
        self.registry.remove(id);
        let is_late = self.now >= arrived + call.max_wait;
        if let Some(model) = model.filter(|_| is_late) {
            self.calibration.learn(model, self.now - arrived);
        }
        let fate = if is_late { Fate::Expired } else { Fate::Left };
        self.done.push(Done { call, arrived, told, fate });
        if self.numbers.is_multiple_of(64) {
            self.sweep();
        }
    }

    /// What a supervisor does at each tick.
    pub fn sweep(&mut self) {
        for (at, channel) in self.channels.iter_mut().enumerate() {
            let waits = |ticket: &Arc<Ticket>| ticket.is_offered(at as u32);
            channel.queue.sweep(&mut self.fairness, self.now, waits);
        }
    }
}
