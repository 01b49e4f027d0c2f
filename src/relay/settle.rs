//! Settlement: a call's outcome is recorded exactly once, whatever way it ends. It never awaits.

use std::{rc::Rc, sync::Arc, time::Instant};

use penstock_actors::domain::{ChannelName, Fault, Outcome, Usage};

use crate::{
    provider::{Endpoint, Failure},
    relay::Tried,
    telemetry::Metrics,
};

/// What is remembered of a call. Dropping it unsettled means that the client left.
pub struct CallRecord {
    id: Rc<str>,
    endpoint: Endpoint,
    metrics: Arc<Metrics>,
    started: Instant,
    channel: Option<ChannelName>,
    attempts: u32,
    usage: Option<Usage>,
    settled: bool,
}

impl CallRecord {
    /// Starts the record at admission.
    pub fn new(id: Rc<str>, endpoint: Endpoint, metrics: Arc<Metrics>) -> Self {
        metrics.calls_in_flight.inc();
        Self {
            id,
            endpoint,
            metrics,
            started: Instant::now(),
            channel: None,
            attempts: 0,
            usage: None,
            settled: false,
        }
    }

    /// Notes that a channel is tried.
    pub fn attempt(&mut self, channel: &ChannelName) {
        if self.attempts > 0 {
            self.metrics.failovers.inc();
        }
        self.attempts += 1;
        self.channel = Some(channel.clone());
    }

    /// How many channels were tried.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How far the call came; `None` where no channel was tried.
    pub fn tried(&self) -> Option<Tried> {
        let channel = self.channel.clone()?;
        Some(Tried { channel, attempts: self.attempts })
    }

    /// Notes that the first byte goes out.
    pub fn first_byte(&self) {
        self.metrics.first_byte(self.endpoint, self.started.elapsed());
    }

    /// Notes what the answer consumed.
    pub fn consumed(&mut self, usage: Option<Usage>) {
        self.usage = usage;
    }

    /// Settles a call that ended without an answer.
    pub fn refused(&mut self, failure: &Failure) {
        tracing::info!(call = %self.id, endpoint = self.endpoint.as_str(), status = failure.status,
            code = failure.code, fault = failure.fault.as_str(), channel = self.channel(),
            attempts = self.attempts, "call refused");
        self.settle(Outcome::Refused(failure.fault));
    }

    /// Settles a call whose answer broke off.
    pub fn broken(&mut self, failure: &Failure) {
        tracing::warn!(call = %self.id, endpoint = self.endpoint.as_str(), code = failure.code,
            channel = self.channel(), reason = failure.message, "answer broke off");
        self.settle(Outcome::Broken(failure.fault));
    }

    /// Settles a call whose whole answer was passed on.
    pub fn completed(&mut self) {
        tracing::debug!(call = %self.id, endpoint = self.endpoint.as_str(), channel = self.channel(),
            attempts = self.attempts, took = ?self.started.elapsed(), "call completed");
        self.settle(Outcome::Completed);
    }

    fn channel(&self) -> &str {
        self.channel.as_ref().map_or("", ChannelName::as_str)
    }

    fn settle(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.metrics.calls_in_flight.dec();
        self.metrics.call_ended(self.endpoint, outcome, self.started.elapsed());
        if let Some(usage) = &self.usage {
            self.metrics.consumed(usage);
        }
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if std::thread::panicking() {
            self.settle(Outcome::Refused(Fault::Gateway));
            return;
        }
        tracing::info!(call = %self.id, endpoint = self.endpoint.as_str(), channel = self.channel(),
            after = ?self.started.elapsed(), "client left");
        self.settle(Outcome::Abandoned);
    }
}
