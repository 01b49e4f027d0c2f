//! A channel that learns, and a provider that refuses, on virtual time: gate, pacer and learner are the gateway's
//! own. There is always a call that waits.

use std::{cmp::Reverse, collections::BTreeMap, collections::BinaryHeap, time::Duration};

use penstock_actors::{
    channel::{
        Gate, Permit,
        learner::{Learner, Occasion},
        learning::{Cause, Learning, Refusal},
        pacer::{Heard, Paced},
    },
    domain::{Adaptive, Hint, LearningRules, Pacing, Told},
};

use crate::random::Random;

/// What the provider says with its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// How its limits stand.
    Headers,
    /// When to come back, with refusals alone.
    RetryAfter,
    /// Nothing.
    Nothing,
}

/// What it is like.
#[derive(Clone, Copy)]
pub struct Provider {
    pub says: Says,
    pub requests: f64,
    pub tokens: f64,
    pub slots: u32,
    /// Mean time of an answer, in milliseconds, half of it at random.
    pub service: f64,
    /// Mean tokens of a call.
    pub size: u64,
    /// What a call is estimated to take, in percent of its tokens: the least, and how many more.
    pub estimates: (u64, u64),
    /// What its limits are multiplied with at a second.
    pub scale: fn(u64) -> f64,
}

/// What came of it, by seconds.
pub struct Course {
    pub served: Vec<u32>,
    pub refused: Vec<u32>,
}

impl Course {
    pub fn served(&self, from: usize, to: usize) -> f64 {
        self.served[from..to].iter().map(|n| f64::from(*n)).sum()
    }

    pub fn refused(&self, from: usize, to: usize) -> f64 {
        self.refused[from..to].iter().map(|n| f64::from(*n)).sum()
    }

    /// Seconds after `from` until ten in a row were within a tenth of `rate`, with no more than one refusal.
    pub fn follows(&self, from: usize, rate: f64) -> usize {
        let is_there = |at: &usize| {
            let near = self.served(*at, at + 10) / 10.0 / rate;
            (0.88..1.15).contains(&near) && self.refused(*at, at + 10) <= 1.0
        };
        (from..self.served.len() - 10).find(is_there).map_or(usize::MAX, |at| at - from)
    }
}

enum Event {
    Head(u64, Hint),
    Ends(u64),
    Refused(u64, Hint, Option<Duration>),
    Tick,
    Wake(Duration),
}

struct Call {
    permit: Permit,
    paced: Option<Paced>,
    sent: Duration,
    level: u32,
    estimated: u64,
    tokens: u64,
}

struct World {
    provider: Provider,
    has: [f64; 2],
    inside: u32,
    filled: Duration,
    now: Duration,
    random: Random,
    gate: std::sync::Arc<Gate>,
    learning: Learning,
    learner: Learner,
    rules: LearningRules,
    answered: u64,
    calls: BTreeMap<u64, Call>,
    next: (u64, u64),
    events: BinaryHeap<Reverse<(Duration, u64)>>,
    by_number: BTreeMap<u64, Event>,
    woken: Option<Duration>,
    course: Course,
}

/// The most in flight that the operator allows.
const MOST: u32 = 64;

/// Runs a channel for so many seconds.
pub fn run(provider: Provider, adaptive: Adaptive, seconds: u64) -> Course {
    let rules = LearningRules { adaptive, pacing: Pacing::On, longest_pause: Duration::from_secs(60) };
    let learning = Learning::default();
    let learner = Learner::new(&learning, &rules, MOST, 0, Duration::ZERO);
    let course = Course { served: vec![0; seconds as usize], refused: vec![0; seconds as usize] };
    let mut random = Random(42);
    let next = (0, size(&mut random, provider.size));
    let mut world = World {
        has: [provider.requests, provider.tokens],
        provider,
        inside: 0,
        filled: Duration::ZERO,
        now: Duration::ZERO,
        random,
        gate: Gate::new(MOST),
        learning,
        learner,
        rules,
        answered: 0,
        calls: BTreeMap::new(),
        next,
        events: BinaryHeap::new(),
        by_number: BTreeMap::new(),
        woken: None,
        course,
    };
    world.at(Duration::ZERO, Event::Tick);
    while let Some(Reverse((time, number))) = world.events.pop() {
        if time >= Duration::from_secs(seconds) {
            break;
        }
        world.now = time;
        if let Some(event) = world.by_number.remove(&number) {
            world.happens(event);
        }
    }
    world.course
}

fn size(random: &mut Random, mean: u64) -> u64 {
    mean / 2 + random.below(mean)
}

impl World {
    fn at(&mut self, time: Duration, event: Event) {
        self.next.0 += 1;
        self.events.push(Reverse((time, self.next.0)));
        self.by_number.insert(self.next.0, event);
    }

    fn in_ms(&mut self, ms: f64, event: Event) {
        self.at(self.now + Duration::from_secs_f64(ms / 1e3), event);
    }

    fn happens(&mut self, event: Event) {
        let second = self.now.as_secs() as usize;
        match event {
            Event::Tick => {
                self.learn(Occasion::Tick);
                self.in_ms(500.0, Event::Tick);
            }
            Event::Wake(at) if self.woken != Some(at) => return,
            Event::Wake(_) => self.woken = None,
            Event::Head(id, hint) => {
                self.hear(id, &hint);
                self.answered += 1;
                let call = &self.calls[&id];
                self.learning.answered(call.level, call.sent);
            }
            Event::Ends(id) => {
                self.inside -= 1;
                self.course.served[second] += 1;
                if let Some(Call { paced, tokens, .. }) = self.calls.remove(&id)
                    && let Some(paced) = paced
                {
                    paced.settle(tokens);
                }
            }
            Event::Refused(id, hint, retry_after) => {
                self.course.refused[second] += 1;
                let pause = self.hear(id, &hint).max(retry_after);
                if let Some(pause) = pause {
                    self.learning.pacer.pause(pause.min(self.rules.longest_pause), self.now);
                }
                if let Some(call) = self.calls.remove(&id) {
                    self.learning.refused(Refusal {
                        cause: Cause::of(&hint, call.tokens).with_hint(retry_after),
                        sent: call.sent,
                        level: call.level,
                        others: self.gate.in_flight() - 1,
                    });
                    drop(call.permit);
                }
            }
        }
        self.learn(Occasion::Rung);
        self.pump();
    }

    fn hear(&mut self, id: u64, hint: &Hint) -> Option<Duration> {
        let call = self.calls.get_mut(&id).expect("it is under way");
        let in_flight = u64::from(self.gate.in_flight()) - 1;
        let of = match &mut call.paced {
            Some(paced) => {
                paced.heard();
                Heard::Paced(paced)
            }
            None => Heard::Unpaced { generation: 0, in_flight, tokens: call.estimated },
        };
        self.learning.pacer.learn(hint, of, self.now)
    }

    fn learn(&mut self, occasion: Occasion) {
        let at = (occasion, self.now);
        let limit = self.learner.look(&self.learning, &self.rules, MOST, self.answered, at);
        self.gate.set_limit(limit);
    }

    fn pump(&mut self) {
        while let Some(permit) = self.gate.claim() {
            let (_, tokens) = self.next;
            let (least, more) = self.provider.estimates;
            let estimated = tokens * (least + self.random.below(more)) / 100;
            let pacer = &self.learning.pacer;
            let paced = match pacer.is_on().then(|| pacer.take(estimated, self.now)).transpose() {
                Ok(paced) => paced,
                Err(wait) => {
                    self.learner.paced();
                    let due = self.now + wait;
                    if self.woken.is_none_or(|woken| due + Duration::from_millis(1) < woken) {
                        self.woken = Some(due);
                        self.at(due, Event::Wake(due));
                    }
                    return;
                }
            };
            self.send(permit, paced, estimated, tokens);
        }
    }

    fn send(&mut self, permit: Permit, mut paced: Option<Paced>, estimated: u64, tokens: u64) {
        if let Some(paced) = &mut paced {
            paced.sent();
        }
        let level = self.gate.in_flight();
        self.next.1 = size(&mut self.random, self.provider.size);
        self.next.0 += 1;
        let id = self.next.0;
        self.calls.insert(id, Call { permit, paced, sent: self.now, level, estimated, tokens });
        let scale = self.fill();
        let [requests, left] = &mut self.has;
        let slots = (f64::from(self.provider.slots) * scale) as u32;
        if *requests < 1.0 || *left < tokens as f64 || self.inside >= slots {
            let lacks = ((1.0 - *requests) / self.provider.requests * 60.0)
                .max((tokens as f64 - *left) / self.provider.tokens * 60.0);
            let retry_after = (self.provider.says == Says::RetryAfter)
                .then(|| Duration::from_secs_f64((lacks / scale).ceil().max(1.0)));
            let hint = self.hint(scale);
            return self.in_ms(5.0, Event::Refused(id, hint, retry_after));
        }
        (*requests, *left) = (*requests - 1.0, *left - tokens as f64);
        self.inside += 1;
        let hint = self.hint(scale);
        let service = self.provider.service / 2.0 + self.random.exponential(self.provider.service / 2.0);
        self.in_ms(service / 3.0, Event::Head(id, hint));
        self.in_ms(service, Event::Ends(id));
    }

    fn fill(&mut self) -> f64 {
        let scale = (self.provider.scale)(self.now.as_secs());
        let minutes = (self.now - self.filled).as_secs_f64() / 60.0;
        self.filled = self.now;
        for (has, limit) in self.has.iter_mut().zip([self.provider.requests, self.provider.tokens]) {
            *has = (*has + minutes * limit * scale).min(limit * scale);
        }
        scale
    }

    fn hint(&self, scale: f64) -> Hint {
        if self.provider.says != Says::Headers {
            return Hint::default();
        }
        let told = |at: usize, limit: f64| {
            let (limit, has) = (limit * scale, self.has[at]);
            let reset = Duration::from_secs_f64((limit - has).max(0.0) / limit * 60.0);
            Some(Told { limit: limit as u64, remaining: has as u64, reset: Some(reset) })
        };
        Hint { requests: told(0, self.provider.requests), tokens: told(1, self.provider.tokens) }
    }
}
