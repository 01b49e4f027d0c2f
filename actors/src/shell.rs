//! What every actor's shell shares: steps that survive a panic.
//!
//! `actix::Supervisor` restarts an actor that stops, but a panicking handler closes the mailbox for
//! good. So each step runs guarded: a panic stops the actor, and supervision starts it afresh.

use std::panic::{AssertUnwindSafe, catch_unwind};

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

/// The text a panic carries, if it carries one.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
