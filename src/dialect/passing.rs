//! Readers of answers whose bytes pass through, like to like, but for the model's name: what all dialects share.
//! What each says of itself is a [`Shape`] for whole answers and a [`Recognise`] for streams.

mod stream;
mod whole;

pub use stream::{End, PassingStream, Recognise, Seen, place_in};
pub(in crate::dialect) use whole::json_string;
pub use whole::{ErrorReader, Shape, WholeReader};
