//! Drills: faults injected on purpose, so that supervision can be tried on the running system.

use actix::Message;

/// Makes the actor that gets it panic inside a guarded step.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct PanicDrill;
