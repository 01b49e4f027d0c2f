//! The actor of a durable consumer: gathers a batch, waits until the journal has made it durable, has its sink
//! commit it, and goes on. Where something fails it asks the store how far it came and starts again from there.

use std::{future::Future, sync::Arc, time::Duration};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, SpawnHandle, Supervised,
    WrapFuture,
};
use tokio::{sync::oneshot, time::Instant};

use super::{Batch, ConsumerGauges, Intake, Next, Positions};
use crate::{
    ports::{Pending, StoreError},
    shell::{caught, guarded},
    testing::PanicDrill,
};

/// What a durable consumer does with its batches.
pub trait Sink: Unpin + 'static {
    /// What a commit gives.
    type Done: 'static;

    /// Asks the store for the positions that are durable.
    fn positions(&self) -> Pending<Result<Positions, StoreError>>;

    /// The positions came: what became of a batch whose commit did not answer can be told from them.
    fn located(&mut self, _durable: &Positions) {}

    /// Commits a batch with its positions, in one transaction. Never called before the last has answered.
    fn commit(&mut self, batch: Batch) -> Pending<Result<Self::Done, StoreError>>;

    /// The last batch is durable.
    fn committed(&mut self, _done: Self::Done) {}

    /// Something else to be done with the store while no batch is on its way.
    fn chore(&mut self) -> Option<Pending<Result<Self::Done, StoreError>>> {
        None
    }

    /// The last chore is done.
    fn chore_done(&mut self, _done: Self::Done) {}
}

/// How a consumer paces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Settlements in a batch.
    pub batch: usize,
    /// How often it looks whether some are waiting.
    pub look: Duration,
    /// How long the first of them waits for others, while there are fewer than a batch: a commit costs the database
    /// much the same for one as for a thousand. Well below the second after which the journal is looked into.
    pub gather: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: 1_000, look: Duration::from_millis(50), gather: Duration::ZERO }
    }
}

/// Follows the usage log and feeds a sink, exactly once.
///
/// It polls: twenty looks a second at one atomic cost nothing worth naming, and spare producers every thought
/// of waking anyone. While batches are full it does not pause.
///
/// Mailbox: 16 messages. Settlements never pass through it, so nothing is lost when it is full.
pub struct Follower<S: Sink> {
    sink: S,
    intake: Intake,
    pace: Pace,
    gauges: Arc<ConsumerGauges>,
    phase: Phase,
    /// Distinguishes what was asked before a restart from what was asked after.
    life: u64,
    looked: Option<Instant>,
    /// Since when settlements are known to wait.
    waiting: Option<Instant>,
    timer: Option<SpawnHandle>,
    /// Whoever waits for the head to be reached.
    finishing: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The durable positions are to be asked for, after so many failures.
    Locating { failures: u32 },
    /// Batches follow on the durable positions.
    Following,
}

impl<S: Sink> Follower<S> {
    /// How often the journal's heads are compared with what was taken in.
    const LOOK: Duration = Duration::from_secs(1);
    const FIRST_RETRY: Duration = Duration::from_millis(100);
    const LAST_RETRY: Duration = Duration::from_secs(5);

    /// Feeds `sink` with what `intake` gives.
    pub fn new(sink: S, intake: Intake, pace: Pace, gauges: Arc<ConsumerGauges>) -> Self {
        let phase = Phase::Locating { failures: 0 };
        let (looked, waiting, timer, finishing) = (None, None, None, Vec::new());
        Self { sink, intake, pace, gauges, phase, life: 0, looked, waiting, timer, finishing }
    }

    /// The sink, for messages that concern it.
    pub fn sink(&mut self) -> &mut S {
        &mut self.sink
    }

    /// The gauges.
    pub fn gauges(&self) -> &Arc<ConsumerGauges> {
        &self.gauges
    }

    fn step(&mut self, ctx: &mut Context<Self>) {
        if let Phase::Locating { .. } = self.phase {
            let positions = self.sink.positions();
            return self.wait(ctx, positions, Self::located);
        }
        if let Some(chore) = self.sink.chore() {
            return self.wait(ctx, chore, |me, ctx, done| {
                me.sink.chore_done(done);
                me.again(ctx, Duration::ZERO);
            });
        }
        let now = Instant::now();
        if self.looked.is_none_or(|at| now.duration_since(at) >= Self::LOOK) {
            self.looked = Some(now);
            self.intake.look();
        }
        if !self.is_due(now) {
            return self.again(ctx, self.pace.look);
        }
        self.waiting = None;
        match self.intake.gather(self.pace.batch) {
            Err(error) => self.fail(ctx, &format!("the journal cannot be read: {error}")),
            Ok((batch, Next::Later)) if batch.is_empty() => {
                if !self.intake.is_behind() {
                    for finished in self.finishing.drain(..) {
                        // Whoever asked may have gone.
                        let _ = finished.send(());
                    }
                }
                self.again(ctx, self.pace.look);
            }
            Ok((batch, Next::Now)) if batch.is_empty() => self.again(ctx, Duration::ZERO),
            Ok((batch, next)) => {
                let synced = self.intake.synced(&batch.ranges);
                let synced = async {
                    synced.await;
                    Ok(())
                };
                self.wait(ctx, synced, move |me, ctx, ()| me.commit(ctx, batch, next));
            }
        }
    }

    /// Whether what waits is taken now. What only the journal has is not gathered, nor what an end waits for.
    fn is_due(&mut self, now: Instant) -> bool {
        if self.intake.is_behind() || !self.finishing.is_empty() {
            return true;
        }
        match self.intake.waiting() {
            0 => false,
            waiting if waiting >= self.pace.batch as u64 => true,
            _ => now.duration_since(*self.waiting.get_or_insert(now)) >= self.pace.gather,
        }
    }

    /// Commits a batch that the journal has made durable.
    fn commit(&mut self, ctx: &mut Context<Self>, batch: Batch, next: Next) {
        let mut durable = Positions::clone(&self.gauges.durable());
        durable.extend(batch.ranges.iter().map(|r| (r.stream, r.to)));
        let commit = self.sink.commit(batch);
        self.wait(ctx, commit, move |me, ctx, done| {
            me.gauges.commits.add(1);
            me.gauges.publish_durable(durable);
            me.sink.committed(done);
            me.again(ctx, if next == Next::Now { Duration::ZERO } else { me.pace.look });
        });
    }

    fn located(&mut self, ctx: &mut Context<Self>, durable: Positions) {
        self.sink.located(&durable);
        self.gauges.publish_durable(durable.clone());
        self.intake.rewind(durable);
        self.looked = None;
        self.phase = Phase::Following;
        self.again(ctx, Duration::ZERO);
    }

    /// Waits for the store, then goes on with `then`; on failure, or a panic in there, back to the positions.
    fn wait<T: 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl Future<Output = Result<T, StoreError>> + 'static,
        then: impl FnOnce(&mut Self, &mut Context<Self>, T) + 'static,
    ) {
        let life = self.life;
        let work = caught(self.gauges.name, work).into_actor(self).map(move |done, me, ctx| {
            if me.life != life {
                return;
            }
            guarded(me, ctx, me.gauges.name, |me, ctx| match done {
                Some(Ok(done)) => then(me, ctx, done),
                Some(Err(error)) => me.fail(ctx, &error.0),
                None => me.fail(ctx, "it panicked"),
            });
        });
        ctx.spawn(work);
    }

    fn fail(&mut self, ctx: &mut Context<Self>, problem: &str) {
        let failures = match self.phase {
            Phase::Locating { failures } => failures + 1,
            Phase::Following => 1,
        };
        self.gauges.failures.add(1);
        self.finishing.clear();
        self.phase = Phase::Locating { failures };
        let retry = Self::FIRST_RETRY.saturating_mul(1 << (failures - 1).min(10)).min(Self::LAST_RETRY);
        tracing::warn!(consumer = self.gauges.name, problem, ?retry, "the store or the journal failed");
        self.again(ctx, retry);
    }

    fn again(&mut self, ctx: &mut Context<Self>, after: Duration) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let life = self.life;
        self.timer = Some(ctx.run_later(after, move |me, ctx| {
            if me.life == life {
                guarded(me, ctx, me.gauges.name, Self::step);
            }
        }));
    }
}

impl<S: Sink> Actor for Follower<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(16);
        self.again(ctx, Duration::ZERO);
    }
}

impl<S: Sink> Supervised for Follower<S> {
    fn restarting(&mut self, _: &mut Self::Context) {
        // What is durable is in the store, what is not is in the journal; what the sink has in doubt it keeps.
        self.life += 1;
        (self.timer, self.waiting) = (None, None);
        self.finishing.clear();
        self.phase = Phase::Locating { failures: 0 };
        self.gauges.restarts.add(1);
        tracing::warn!(consumer = self.gauges.name, "consumer of the usage log restarted");
    }
}

/// How a consumer that was asked to finish has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Everything that stood in the journal is durable.
    AtHead,
    /// The store or the journal failed: the rest is left for the next start to replay.
    LeftToReplay,
}

/// Asks a consumer to bring everything home that stands in the journal now. Answers when it has, or cannot.
#[derive(Debug, Message)]
#[rtype(result = "Finished")]
pub struct Finish;

impl<S: Sink> Handler<Finish> for Follower<S> {
    type Result = ResponseFuture<Finished>;

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) -> Self::Result {
        let (finished, waiting) = oneshot::channel();
        guarded(self, ctx, self.gauges.name, |me, _| {
            me.intake.distrust_ring();
            me.finishing.push(finished);
        });
        Box::pin(async { waiting.await.map_or(Finished::LeftToReplay, |()| Finished::AtHead) })
    }
}

impl<S: Sink> Handler<PanicDrill> for Follower<S> {
    type Result = ();

    fn handle(&mut self, _: PanicDrill, ctx: &mut Self::Context) {
        guarded(self, ctx, self.gauges.name, |_, _| panic!("drill"));
    }
}
