//! Money on its way: what a call costs, what is held for it, and how it reaches the books.

pub mod ledger;
pub mod output_length;
pub mod quote;

pub use ledger::{AccountCell, Chain, Ledger, Reservation, Short};
pub use output_length::OutputLengths;
pub use quote::Foreseen;
