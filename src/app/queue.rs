//! From the settings of the queue to what the relay and the room go by. Gates of keys and groups are live: one
//! that stays keeps its count, whatever else changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use penstock_actors::router::{WaitingRoom, room::Bounds};

use crate::{
    config::{self, Queue, QueueOfCaller},
    relay::policy::{Ceiling, OfCaller, OfModel, OnLimit, WaitPolicy},
};

/// The room's bounds.
pub(super) fn bounds(queue: &Queue) -> Bounds {
    Bounds {
        calls: queue.max_calls,
        bytes: queue.max_bytes,
        calls_of_key: queue.max_calls_of_key,
        shed_above: queue.shed_above,
    }
}

/// The policy that follows another one.
pub(super) fn policy(queue: &Queue, before: &WaitPolicy, room: &WaitingRoom) -> WaitPolicy {
    let models = queue.models.iter().map(|(name, of)| {
        let known = before.models.get(name).map(|known| &known.ceiling);
        let ceiling = ceiling(&of.ceiling, known, room);
        let of = OfModel { max_wait: of.max_wait, overflow_after: of.overflow_after, ceiling };
        (name.clone(), of)
    });
    WaitPolicy {
        max_wait: queue.max_wait,
        longest_wait: queue.longest_wait,
        overflow_after: queue.overflow_after,
        comments_after: queue.comments_after,
        space: ceiling(&queue.space, Some(&before.space), room),
        models: models.collect(),
        groups: callers(&queue.groups, &before.groups, room),
        keys: callers(&queue.keys, &before.keys, room),
    }
}

fn callers(
    wanted: &BTreeMap<String, QueueOfCaller>,
    before: &HashMap<String, OfCaller>,
    room: &WaitingRoom,
) -> HashMap<String, OfCaller> {
    let of = |(name, of): (&String, &QueueOfCaller)| {
        let ceiling = ceiling(&of.ceiling, before.get(name).map(|known| &known.ceiling), room);
        (name.clone(), OfCaller { max_wait: of.max_wait, band: of.band, weight: of.weight, ceiling })
    };
    wanted.iter().map(of).collect()
}

/// The gate that is wanted; one that was there before is kept, with the calls that are in it.
fn ceiling(wanted: &config::Ceiling, before: Option<&Ceiling>, room: &WaitingRoom) -> Ceiling {
    let gate = wanted.concurrency.map(|limit| match before.and_then(|of| of.gate.as_ref()) {
        Some(gate) => {
            gate.set_limit(limit);
            Arc::clone(gate)
        }
        None => room.gate_of_caller(limit),
    });
    let on_limit = match wanted.on_limit {
        config::OnLimit::Wait => OnLimit::Wait,
        config::OnLimit::Refuse => OnLimit::Refuse,
    };
    Ceiling { gate, on_limit }
}
