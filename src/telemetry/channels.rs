//! What is read from the channels' cells at each scrape.

use std::{sync::Arc, time::Duration};

use penstock_actors::{
    channel::{
        ChannelCell,
        breaker::BreakerState,
        gate::UNLIMITED,
        switch::{OffReason, Standing},
    },
    router::WaitingRoom,
};
use prometheus::{GaugeVec, IntGaugeVec};

/// What a scrape goes by, beside the cells.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'r> {
    /// Where calls wait, with its clock.
    pub room: &'r WaitingRoom,
    /// By the clock of the limits, in milliseconds.
    pub limits_ms: u64,
}

/// A gauge a figure, by channel.
pub(super) struct ChannelMetrics {
    pub(super) in_flight: IntGaugeVec,
    pub(super) limit: GaugeVec,
    pub(super) share: GaugeVec,
    pub(super) waiting: IntGaugeVec,
    pub(super) expected_wait: GaugeVec,
    pub(super) service: GaugeVec,
    pub(super) connections: IntGaugeVec,
    pub(super) connection_cap: IntGaugeVec,
    pub(super) opened: IntGaugeVec,
    pub(super) pressure: IntGaugeVec,
    pub(super) attempts: IntGaugeVec,
    pub(super) success_rate: GaugeVec,
    pub(super) first_byte: GaugeVec,
    pub(super) restarts: IntGaugeVec,
    pub(super) off: IntGaugeVec,
    pub(super) retries: IntGaugeVec,
    pub(super) allowed_retries: IntGaugeVec,
    pub(super) refused_retries: IntGaugeVec,
    pub(super) breaker: IntGaugeVec,
    pub(super) learned: Learned,
}

/// What was learned of their providers; only where something was.
pub(super) struct Learned {
    pub(super) limit: IntGaugeVec,
    pub(super) requests: IntGaugeVec,
    pub(super) tokens: IntGaugeVec,
    pub(super) paused: GaugeVec,
    pub(super) refusals: IntGaugeVec,
}

impl ChannelMetrics {
    pub(super) fn read(&self, cells: &[Arc<ChannelCell>], now: Scrape<'_>) {
        for ints in [
            &self.in_flight,
            &self.waiting,
            &self.connections,
            &self.connection_cap,
            &self.opened,
            &self.pressure,
            &self.attempts,
            &self.restarts,
            &self.off,
            &self.retries,
            &self.allowed_retries,
            &self.refused_retries,
            &self.breaker,
            &self.learned.limit,
            &self.learned.requests,
            &self.learned.tokens,
            &self.learned.refusals,
        ] {
            ints.reset();
        }
        for floats in [
            &self.limit,
            &self.share,
            &self.expected_wait,
            &self.service,
            &self.success_rate,
            &self.first_byte,
            &self.learned.paused,
        ] {
            floats.reset();
        }
        for cell in cells {
            let label = &[cell.name.as_str()];
            self.learned.read(cell, label, now.room.now());
            let budget = cell.lines.budget(cell.spec().care.retry_percent, now.limits_ms);
            for (gauge, count) in [(&self.retries, budget.used), (&self.allowed_retries, budget.allowed)] {
                gauge.with_label_values(label).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            let (health, totals) = (cell.health(), cell.totals());
            let limit = match cell.gate.limit() {
                UNLIMITED => f64::INFINITY,
                limit => f64::from(limit),
            };
            self.limit.with_label_values(label).set(limit);
            self.share.with_label_values(label).set(limit);
            self.success_rate.with_label_values(label).set(f64::from(health.success_rate));
            self.first_byte.with_label_values(label).set(health.first_byte.as_secs_f64());
            self.in_flight.with_label_values(label).set(cell.gate.in_flight().into());
            self.waiting.with_label_values(label).set(cell.gate.waiting().into());
            let expected = cell.expected_wait(now.room);
            for (quantile, wait) in expected.iter().flat_map(|told| [("0.5", told.p50), ("0.9", told.p90)]) {
                let label = &[cell.name.as_str(), quantile];
                self.expected_wait.with_label_values(label).set(wait.as_secs_f64());
            }
            let service = cell.pace().0.unwrap_or_default();
            self.service.with_label_values(label).set(service.as_secs_f64());
            self.connections.with_label_values(label).set(cell.connections.count().into());
            self.connection_cap.with_label_values(label).set(cell.connections.cap().into());
            self.opened.with_label_values(label).set(cell.connections.opened() as i64);
            self.pressure.with_label_values(label).set(cell.connections.pressure() as i64);
            self.restarts.with_label_values(label).set(cell.restarts() as i64);
            let off = match cell.lines.standing() {
                Standing::On => 0,
                Standing::Off(OffReason::BadCredential) | Standing::Trying(OffReason::BadCredential) => 1,
                Standing::Off(OffReason::OutOfCredit) | Standing::Trying(OffReason::OutOfCredit) => 2,
            };
            self.off.with_label_values(label).set(off);
            self.refused_retries.with_label_values(label).set(cell.lines.refused_retries() as i64);
            for (model, line) in cell.lines.all().iter() {
                let state = match line.state() {
                    BreakerState::Closed => continue,
                    BreakerState::Open => 1,
                    BreakerState::HalfOpen => 2,
                };
                self.breaker.with_label_values(&[cell.name.as_str(), &**model]).set(state);
            }
            for (result, count) in [("succeeded", totals.succeeded), ("failed", totals.failed)] {
                self.attempts.with_label_values(&[cell.name.as_str(), result]).set(count as i64);
            }
        }
    }
}

impl Learned {
    fn read(&self, cell: &ChannelCell, label: &[&str; 1], now: Duration) {
        let learned = cell.learned(now);
        for (gauge, value) in [
            (&self.limit, cell.learning.limit().map(u64::from)),
            (&self.requests, learned.requests_per_minute),
            (&self.tokens, learned.tokens_per_minute),
            (&self.refusals, Some(cell.learning.times_refused())),
        ] {
            if let Some(value) = value {
                gauge.with_label_values(label).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
        self.paused.with_label_values(label).set(learned.paused.unwrap_or_default().as_secs_f64());
    }
}
