//! Money on its way: what a call costs, what is held for it, and how it reaches the books.

pub mod actor;
pub mod ledger;
pub mod output_length;
pub mod quote;

pub use actor::{Biller, Books, Refresh};
pub use ledger::{AccountCell, Chain, Ledger, Reservation, Short};
pub use output_length::OutputLengths;
pub use quote::{Foreseen, charge, estimate, worst};
