//! Answers that are had in steps: the first says where the next is, and the last is the answer.
//!
//! Who sends (`relay/steps.rs`) follows them inside one attempt, and sees to it that an answer leads nowhere
//! but to its provider.

use std::time::Duration;

use penstock_actors::domain::Delivery;

use super::ReadError;

/// How a provider answers in steps.
pub trait Steps: Send + Sync {
    /// What follows a step that came whole.
    ///
    /// # Errors
    /// [`ReadError`] where it is an error in spite of its status, or no step.
    fn after(&self, wanted: Delivery, body: &[u8]) -> Result<Step, ReadError>;
}

/// A step of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What follows.
    pub then: Then,
    /// The address to post to where nobody waits for the answer any more.
    pub cancel: Option<String>,
}

/// What follows a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing: it is the answer.
    Answered,
    /// The answer is a stream at this address.
    Stream(String),
    /// The next step is at this address, after a while.
    Ask {
        /// Where.
        at: String,
        /// When.
        after: Duration,
    },
}
