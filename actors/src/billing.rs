//! Money on its way: what a call costs, what is held for it, and how it reaches the books.

pub mod output_length;
pub mod quote;

pub use output_length::OutputLengths;
pub use quote::Foreseen;
