//! Drills: faults injected on purpose, so that supervision can be tried on the running system.

use actix::Message;

#[cfg(all(test, not(feature = "loom")))]
pub(crate) mod fakes;

/// Makes the actor that gets it panic inside a guarded step.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct PanicDrill;
