//! Pages of documentation that are made of the code's own tables: `penstock docs`, `docs/*.md`.

mod dialects;
mod providers;

pub use dialects::dialects;
pub use providers::providers;
