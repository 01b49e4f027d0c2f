//! What every actor's shell shares: steps that survive a panic.
//!
//! `actix::Supervisor` restarts an actor that stops, but a panicking handler closes the mailbox for
//! good. So each step runs guarded: a panic stops the actor, and supervision starts it afresh.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
};

use actix::{Actor, ActorContext};

/// Runs one step of an actor; after a panic the actor stops, to be restarted by its supervisor.
pub fn guarded<A, R>(
    actor: &mut A,
    ctx: &mut A::Context,
    name: &'static str,
    step: impl FnOnce(&mut A, &mut A::Context) -> R,
) -> Option<R>
where
    A: Actor,
    A::Context: ActorContext,
{
    match catch_unwind(AssertUnwindSafe(|| step(actor, ctx))) {
        Ok(done) => Some(done),
        Err(panic) => {
            tracing::error!(actor = name, panic = panic_text(&*panic), "actor panicked; restarting it");
            ctx.stop();
            None
        }
    }
}

/// Runs a future; `None` where it panicked, which is logged. What an actor awaits runs so: a panic in there
/// would else end the whole arbiter.
pub async fn caught<F: Future>(name: &'static str, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let polled = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => std::task::Poll::Ready(Err(panic)),
    });
    match polled.await {
        Ok(done) => Some(done),
        Err(panic) => {
            tracing::error!(actor = name, panic = panic_text(&*panic), "work of an actor panicked");
            None
        }
    }
}

/// The text a panic carries, if it carries one.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
