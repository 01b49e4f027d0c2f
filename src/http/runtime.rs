//! `GET /api/runtime`: how the channels stand and who waits, as JSON or as text for a terminal. It asks nobody.

use std::{collections::HashMap, fmt::Write as _, sync::Arc, time::Duration};

use penstock_actors::{
    channel::{ChannelCell, breaker::Tries, gate::UNLIMITED, line::Budget, switch::Standing},
    router::{RouteTable, WaitingRoom},
};
use serde::Serialize;

use crate::api_key::KeyTable;

/// Keys that are shown: those that were served most.
const KEYS: usize = 100;

/// How the gateway stands.
#[derive(Debug, Serialize)]
pub(super) struct Runtime {
    revision: u64,
    waiting: Waiting,
    channels: Vec<Channel>,
    keys: Vec<Key>,
}

#[derive(Debug, Serialize)]
struct Waiting {
    calls: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Channel {
    name: String,
    enabled: bool,
    /// Null where there is none.
    limit: Option<u32>,
    /// This node's part of the limit.
    share: Option<u32>,
    in_flight: u32,
    waiting: u32,
    /// Mean time that a permit is held; null before any was given back.
    service_ms: Option<u64>,
    /// What was learned of the provider.
    learned: Learned,
    /// For a call that would be served last; null while nothing is known.
    expected_wait: Option<Wait>,
    success_rate: f32,
    first_byte_ms: u64,
    restarts: u64,
    /// Why evidence switched it off; null where it did not.
    switched_off: Option<&'static str>,
    /// Attempts that it took over from failed ones in half a minute.
    retries: Retries,
    /// Of each of its models that was tried, by the provider's name.
    breakers: Vec<Breaker>,
}

#[derive(Debug, Serialize)]
struct Retries {
    used: u64,
    allowed: u64,
    /// Those that were refused since the start.
    refused: u64,
}

#[derive(Debug, Serialize)]
struct Breaker {
    model: String,
    state: &'static str,
    /// Attempts since the start.
    succeeded: u64,
    failed: u64,
}

#[derive(Debug, Default, Serialize)]
struct Learned {
    /// How the limit follows the provider: fixed, aimd or gradient.
    adaptive: &'static str,
    /// Requests in flight; null where nothing below the configured limit was learned.
    limit: Option<u32>,
    /// Null where nothing is known of them.
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    /// For how long nothing is sent; null while calls are.
    paused_ms: Option<u64>,
    /// How often the provider took no more.
    refusals: u64,
}

impl Learned {
    fn of(cell: &ChannelCell, room: &WaitingRoom) -> Self {
        let learning = &cell.learning;
        let learned = cell.learned(room.now());
        Self {
            adaptive: cell.spec().learning.adaptive.as_str(),
            limit: learning.limit(),
            requests_per_minute: learned.requests_per_minute,
            tokens_per_minute: learned.tokens_per_minute,
            paused_ms: learned.paused.map(|left| (left.as_millis() as u64).max(1)),
            refusals: learning.times_refused(),
        }
    }

    /// In a few words.
    fn text(&self) -> String {
        let limits = [(self.limit, "at once")].map(|(n, what)| n.map(|n| format!("{n} {what}")));
        let rates = [(self.requests_per_minute, "req/min"), (self.tokens_per_minute, "tok/min")];
        let rates = rates.map(|(n, what)| n.map(|n| format!("{n} {what}")));
        let paused = self.paused_ms.map(|ms| format!("paused {:.1}s", ms as f64 / 1e3));
        let said: Vec<_> = paused.into_iter().chain(limits.into_iter().chain(rates).flatten()).collect();
        if said.is_empty() { "-".to_owned() } else { said.join(", ") }
    }
}

#[derive(Debug, Serialize)]
struct Wait {
    p50_ms: u64,
    p90_ms: u64,
}

#[derive(Debug, Serialize)]
struct Key {
    id: i64,
    /// Told to operators alone; null where no secret opens it any more.
    name: Option<String>,
    /// Tokens by weight while it had to wait; only differences mean something.
    counter: u64,
}

impl Runtime {
    /// `now_ms` is on the clock of the limits.
    pub(super) fn of(table: &RouteTable, room: &WaitingRoom, now_ms: u64) -> Self {
        let fairness = room.fairness();
        let counted = fairness.counters().map(|(key, counter)| Key { id: key.0, name: None, counter });
        let mut keys: Vec<_> = counted.collect();
        drop(fairness);
        keys.sort_unstable_by_key(|key| (std::cmp::Reverse(key.counter), key.id));
        keys.truncate(KEYS);
        Self {
            revision: table.revision,
            waiting: Waiting { calls: room.calls(), bytes: room.bytes() },
            channels: table.cells().iter().map(|cell| channel(cell, room, now_ms)).collect(),
            keys,
        }
    }

    /// Gives the keys that are shown their names.
    pub(super) fn name_keys(&mut self, known: &KeyTable) {
        if self.keys.is_empty() {
            return;
        }
        let mut shown: HashMap<i64, &mut Key> = self.keys.iter_mut().map(|key| (key.id, key)).collect();
        for caller in known.callers() {
            if let Some(key) = shown.get_mut(&caller.id.0) {
                key.name = Some(caller.key.clone());
            }
        }
    }

    /// As a table for a terminal.
    pub(super) fn text(&self) -> String {
        let or = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let seconds = |ms: u64| format!("{:.1}s", ms as f64 / 1e3);
        let mut rows = vec![
            [
                "channel",
                "limit",
                "share",
                "in flight",
                "waiting",
                "service",
                "wait p50",
                "wait p90",
                "success",
                "retries",
                "learned",
            ]
            .map(str::to_owned),
        ];
        rows.extend(self.channels.iter().map(|channel| {
            let wait = channel.expected_wait.as_ref();
            [
                format!("{}{}", channel.name, channel.standing()),
                channel.limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string()),
                channel.share.map_or_else(|| "none".to_owned(), |share| share.to_string()),
                channel.in_flight.to_string(),
                channel.waiting.to_string(),
                or(channel.service_ms.map(seconds)),
                or(wait.map(|wait| seconds(wait.p50_ms))),
                or(wait.map(|wait| seconds(wait.p90_ms))),
                format!("{:.0}%", channel.success_rate * 100.0),
                format!("{} of {}", channel.retries.used, channel.retries.allowed),
                channel.learned.text(),
            ]
        }));
        let mut text = format!("{} calls wait, with {} bytes\n\n", self.waiting.calls, self.waiting.bytes);
        text.push_str(&columns(&rows));
        let moved = self.channels.iter().flat_map(|channel| {
            let moved = channel.breakers.iter().filter(|breaker| breaker.state != CLOSED);
            moved.map(|breaker| [&channel.name, &breaker.model, breaker.state].map(str::to_owned))
        });
        let rows: Vec<_> =
            [["channel", "model", "breaker"].map(str::to_owned)].into_iter().chain(moved).collect();
        if rows.len() > 1 {
            text.push('\n');
            text.push_str(&columns(&rows));
        }
        if !self.keys.is_empty() {
            let head = [["key", "tokens by weight"].map(str::to_owned)];
            let name = |key: &Key| key.name.clone().unwrap_or_else(|| key.id.to_string());
            let keys = self.keys.iter().map(|key| [name(key), key.counter.to_string()]);
            let rows: Vec<_> = head.into_iter().chain(keys).collect();
            text.push('\n');
            text.push_str(&columns(&rows));
        }
        text
    }
}

/// The word for a breaker that serves.
const CLOSED: &str = "closed";

impl Channel {
    /// What stands behind its name, where it is not used.
    fn standing(&self) -> String {
        match self.switched_off {
            _ if !self.enabled => " (off)".to_owned(),
            Some(reason) => format!(" ({})", reason.replace('_', " ")),
            None => String::new(),
        }
    }
}

fn breakers(cell: &ChannelCell) -> Vec<Breaker> {
    let lines = cell.lines.all();
    let tried = lines.iter().map(|(model, line)| (model, line.state(), line.tries()));
    let tried = tried.filter(|(_, state, tries)| *tries != Tries::default() || state.as_str() != CLOSED);
    let mut breakers: Vec<_> = tried
        .map(|(model, state, Tries { succeeded, failed })| Breaker {
            model: model.to_string(),
            state: state.as_str(),
            succeeded,
            failed,
        })
        .collect();
    breakers.sort_unstable_by(|a, b| a.model.cmp(&b.model));
    breakers
}

fn channel(cell: &Arc<ChannelCell>, room: &WaitingRoom, now_ms: u64) -> Channel {
    let (gate, mean, health) = (&cell.gate, cell.pace().0, cell.health());
    let expected = cell.expected_wait(room);
    let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let limit = Some(gate.limit()).filter(|limit| *limit != UNLIMITED);
    let spec = cell.spec();
    let Budget { used, allowed } = cell.lines.budget(spec.care.retry_percent, now_ms);
    Channel {
        name: cell.name.to_string(),
        enabled: spec.enabled,
        limit,
        share: limit,
        in_flight: gate.in_flight(),
        waiting: gate.waiting(),
        service_ms: mean.map(millis),
        learned: Learned::of(cell, room),
        expected_wait: expected.map(|told| Wait { p50_ms: millis(told.p50), p90_ms: millis(told.p90) }),
        success_rate: health.success_rate,
        first_byte_ms: millis(health.first_byte),
        restarts: cell.restarts(),
        switched_off: match cell.lines.standing() {
            Standing::On => None,
            Standing::Off(reason) | Standing::Trying(reason) => Some(reason.as_str()),
        },
        retries: Retries { used, allowed, refused: cell.lines.refused_retries() },
        breakers: breakers(cell),
    }
}

/// Lines whose columns stand below each other.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_shows_what_is_unknown_as_such() {
        let channel = |name: &str, limit| Channel {
            name: name.to_owned(),
            enabled: limit != Some(0),
            limit,
            share: limit,
            in_flight: 3,
            waiting: 0,
            service_ms: limit.map(|_| 1_300),
            learned: Learned {
                limit: limit.filter(|limit| *limit > 9).map(|_| 12),
                paused_ms: limit.filter(|limit| *limit > 9).map(|_| 1_500),
                requests_per_minute: limit.filter(|limit| *limit > 9).map(|_| 600),
                ..Learned::default()
            },
            expected_wait: None,
            success_rate: 1.0,
            first_byte_ms: 0,
            restarts: 0,
            switched_off: limit.filter(|limit| *limit == 16).map(|_| "out_of_credit"),
            retries: Retries { used: 3, allowed: 90, refused: 0 },
            breakers: vec![
                Breaker { model: "m".to_owned(), state: CLOSED, succeeded: 9, failed: 0 },
                Breaker { model: "slow".to_owned(), state: "half_open", succeeded: 0, failed: 20 },
            ],
        };
        let runtime = Runtime {
            revision: 1,
            waiting: Waiting { calls: 2, bytes: 70 },
            channels: vec![channel("a-long-name", Some(16)), channel("b", None), channel("c", Some(0))],
            keys: vec![
                Key { id: 7, name: None, counter: 1_000 },
                Key { id: 8, name: Some("team".to_owned()), counter: 900 },
            ],
        };
        let text = runtime.text();
        for line in [
            "2 calls wait, with 70 bytes",
            "a-long-name (out of credit)  16     16     3          0        1.3s     -         -         100%     3 of 90  paused 1.5s, 12 at once, 600 req/min",
            "b                            none   none   3          0        -        -         -         100%     3 of 90  -",
            "c (off)                      0      0      3          0        1.3s     -         -         100%     3 of 90  -",
            "b            slow   half_open",
            "7     1000",
            "team  900",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
