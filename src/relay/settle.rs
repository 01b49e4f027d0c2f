//! Settlement: a call's outcome is recorded exactly once, whatever way it ends. It never awaits.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use penstock_actors::{
    domain::{ChannelName, Fault, Outcome, Usage},
    router::{estimate::Estimate, room::Charge},
};

use super::{
    books::Kept,
    flow::Delivered,
    page::{End, Page},
};

use crate::{
    clock::Moment,
    provider::{Endpoint, Failure},
    relay::Tried,
    telemetry::Metrics,
};

/// What is remembered of a call. Dropping it unsettled means that the client left.
pub struct CallRecord {
    id: Rc<str>,
    endpoint: Endpoint,
    metrics: Arc<Metrics>,
    arrived: Moment,
    channel: Option<ChannelName>,
    attempts: u32,
    usage: Option<Usage>,
    delivered: Delivered,
    /// The call's page in the books, from its admission on. Apart, for the record is moved with the answer.
    page: Option<Box<Page>>,
    /// How long it has waited in the queue, and what its key was charged there.
    waited: Option<Duration>,
    /// How it stood there, where it was refused.
    queue: Option<Estimate>,
    charge: Option<Charge>,
    settled: bool,
}

impl CallRecord {
    /// Starts the record of a call that has arrived.
    pub fn new(id: Rc<str>, endpoint: Endpoint, metrics: Arc<Metrics>, arrived: Moment) -> Self {
        metrics.calls_in_flight.inc();
        Self {
            id,
            endpoint,
            metrics,
            arrived,
            channel: None,
            attempts: 0,
            usage: None,
            delivered: Delivered::default(),
            page: None,
            waited: None,
            queue: None,
            charge: None,
            settled: false,
        }
    }

    /// Begins the call's page in the books.
    pub(super) fn admit(&mut self, page: impl FnOnce(Moment) -> Page) {
        self.page = Some(Box::new(page(self.arrived)));
    }

    /// The call's page, once it was admitted.
    pub(super) fn page(&mut self) -> Option<&mut Page> {
        self.page.as_deref_mut()
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
        Some(Tried { channel, attempts: self.attempts, cost: None })
    }

    /// Notes that it has waited in the queue.
    pub(super) fn waited(&mut self, waited: Duration) {
        self.waited = Some(self.waited.unwrap_or_default() + waited);
    }

    /// Notes how it stood in the queue that refused it.
    pub(super) fn stood(&mut self, told: Option<Estimate>) {
        self.queue = told;
    }

    /// How it stood in the queue that refused it.
    pub(super) fn has_stood(&self) -> Option<Estimate> {
        self.queue
    }

    /// How long it has waited; `None` where it did not.
    pub(super) fn has_waited(&self) -> Option<Duration> {
        self.waited
    }

    /// Notes what the key was charged for its turn; corrected at settlement.
    pub(super) fn charged(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }

    /// Notes that the first byte goes out.
    pub fn first_byte(&mut self) {
        let after = self.arrived.at.elapsed();
        if let Some(page) = &mut self.page {
            page.first_byte(after);
        }
        self.metrics.first_byte(self.endpoint, after);
    }

    /// Notes what the answer consumed.
    pub(super) fn consumed(&mut self, usage: Option<Usage>, delivered: Delivered) {
        (self.usage, self.delivered) = (usage, delivered);
    }

    /// Notes how far an answer has come.
    ///
    /// # Errors
    /// Where it must end, since nobody pays for what follows.
    pub(super) fn progress(
        &mut self,
        usage: Option<Usage>,
        delivered: Delivered,
        now: Instant,
    ) -> Result<(), Failure> {
        self.consumed(usage, delivered);
        self.page.as_mut().map_or(Ok(()), |page| page.progress(usage, delivered, now))
    }

    /// Settles a call that ended without an answer. Gives what its refusal waits for, as the others do.
    pub fn refused(&mut self, failure: &Failure) -> Option<Kept> {
        tracing::info!(call = %self.id, endpoint = self.endpoint.as_str(), status = failure.status,
            code = failure.code, fault = failure.fault.as_str(), channel = self.channel(),
            attempts = self.attempts, "call refused");
        self.settle(Outcome::Refused(failure.fault), Some(failure))
    }

    /// Settles a call whose answer broke off.
    pub(super) fn broken(&mut self, failure: &Failure) -> Option<Kept> {
        tracing::warn!(call = %self.id, endpoint = self.endpoint.as_str(), code = failure.code,
            channel = self.channel(), reason = failure.message, "answer broke off");
        self.settle(Outcome::Broken(failure.fault), Some(failure))
    }

    /// Settles a call whose whole answer was passed on.
    pub fn completed(&mut self) -> Option<Kept> {
        tracing::debug!(call = %self.id, endpoint = self.endpoint.as_str(), channel = self.channel(),
            attempts = self.attempts, took = ?self.arrived.at.elapsed(), "call completed");
        self.settle(Outcome::Completed, None)
    }

    fn channel(&self) -> &str {
        self.channel.as_ref().map_or("", ChannelName::as_str)
    }

    fn settle(&mut self, outcome: Outcome, failure: Option<&Failure>) -> Option<Kept> {
        if std::mem::replace(&mut self.settled, true) {
            return None;
        }
        let took = self.arrived.at.elapsed();
        self.metrics.calls_in_flight.dec();
        self.metrics.call_ended(self.endpoint, outcome, took);
        if let Some(usage) = &self.usage {
            self.metrics.consumed(usage);
        }
        if let Some(waited) = self.waited {
            self.metrics.waited(waited);
        }
        let end = End { outcome, took, failure, usage: self.usage, delivered: self.delivered };
        if let Some(mut charge) = self.charge.take() {
            let told = self.usage.unwrap_or_default();
            let usage = self.page.as_ref().map_or(told, |page| page.consumed(&end).0);
            charge.used(usage.prompt().saturating_add(usage.completion()));
        }
        self.page.take()?.settle(&end)
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if std::thread::panicking() {
            drop(self.settle(Outcome::Refused(Fault::Gateway), None));
            return;
        }
        tracing::info!(call = %self.id, endpoint = self.endpoint.as_str(), channel = self.channel(),
            after = ?self.arrived.at.elapsed(), "client left");
        drop(self.settle(Outcome::Abandoned, None));
    }
}
