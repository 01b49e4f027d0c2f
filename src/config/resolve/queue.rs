//! How calls wait: defaults, and what contradicts.

use std::{collections::BTreeMap, time::Duration};

use penstock_actors::router::fairness::Band;

use super::{Resolver, server::LONGEST_DURATION};
use crate::config::{Ceiling, Queue, QueueOfCaller, QueueOfModel, problem::At, raw, units::Span};

const MAX_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(600);
const SHED_ABOVE: Duration = Duration::from_secs(10);
const MAX_CALLS: u64 = 10_000;
const MAX_BYTES: u64 = 512 << 20;
/// Comments more often would be a burden to clients.
const SOONEST_COMMENT: Duration = Duration::from_millis(100);

impl Resolver<'_> {
    pub(super) fn queue(&mut self, raw: raw::Queue) -> Queue {
        let at = |key: &str| At::Setting(format!("queue.{key}"));
        let or = |written: Option<Span>, default| written.map_or(default, |span: Span| span.0);
        let max_calls = raw.max_calls.unwrap_or(MAX_CALLS);
        let max_wait = or(raw.max_wait, MAX_WAIT);
        let queue = Queue {
            max_wait,
            longest_wait: or(raw.longest_wait, LONGEST_WAIT.max(max_wait)),
            overflow_after: or(raw.overflow_after, Duration::ZERO),
            comments_after: raw.comments_after.map(|span| span.0).filter(|after| !after.is_zero()),
            max_calls,
            max_calls_of_key: raw.max_calls_of_key.unwrap_or(max_calls / 4 * 3 + max_calls % 4),
            max_bytes: raw.max_bytes.map_or(MAX_BYTES, |size| size.0),
            shed_above: or(raw.shed_above, SHED_ABOVE),
            space: raw.space.map_or_else(Ceiling::default, |raw::QueueOfSpace { concurrency, on_limit }| {
                Ceiling { concurrency, on_limit }
            }),
            models: self.of_models(raw.model),
            groups: self.of_callers("group", raw.group),
            keys: self.of_callers("key", raw.key),
        };
        for (key, span) in [
            ("max_wait", queue.max_wait),
            ("longest_wait", queue.longest_wait),
            ("overflow_after", queue.overflow_after),
            ("comments_after", queue.comments_after.unwrap_or_default()),
            ("shed_above", queue.shed_above),
        ] {
            if span > LONGEST_DURATION {
                self.refuse(&at(key), "must be at most 30 days");
            }
        }
        if queue.longest_wait < queue.max_wait {
            self.refuse(&at("longest_wait"), "is less than queue.max_wait, which is what nobody asks for");
        }
        if queue.comments_after.is_some_and(|after| after < SOONEST_COMMENT) {
            self.refuse(&at("comments_after"), "must be at least 100ms, or 0 for none");
        }
        queue
    }

    fn of_models(&mut self, raw: BTreeMap<String, raw::QueueOfModel>) -> BTreeMap<String, QueueOfModel> {
        let resolved = raw.into_iter().map(|(model, raw)| {
            let of = QueueOfModel {
                max_wait: self.wait_of(&format!("model.{model}"), raw.max_wait),
                overflow_after: raw.overflow_after.map(|span| span.0),
                ceiling: Ceiling { concurrency: raw.concurrency, on_limit: raw.on_limit },
            };
            (model, of)
        });
        resolved.collect()
    }

    fn of_callers(
        &mut self,
        table: &str,
        raw: BTreeMap<String, raw::QueueOfCaller>,
    ) -> BTreeMap<String, QueueOfCaller> {
        let resolved = raw.into_iter().map(|(name, raw)| {
            let within = format!("{table}.{name}");
            if raw.weight.is_some_and(|weight| !(1..=1_000).contains(&weight)) {
                self.refuse(&At::Setting(format!("queue.{within}.weight")), "must be 1 to 1000");
            }
            let of = QueueOfCaller {
                max_wait: self.wait_of(&within, raw.max_wait),
                band: raw.band.map(|band| match band {
                    raw::Band::High => Band::High,
                    raw::Band::Normal => Band::Normal,
                    raw::Band::Low => Band::Low,
                }),
                weight: raw.weight,
                ceiling: Ceiling { concurrency: raw.concurrency, on_limit: raw.on_limit },
            };
            (name, of)
        });
        resolved.collect()
    }

    fn wait_of(&mut self, within: &str, raw: Option<Span>) -> Option<Duration> {
        let wait = raw?.0;
        if wait > LONGEST_DURATION {
            self.refuse(&At::Setting(format!("queue.{within}.max_wait")), "must be at most 30 days");
        }
        Some(wait)
    }
}
