//! Pages of documentation that are made of the code's own tables: `penstock docs`, `docs/*.md`.

mod providers;

pub use providers::providers;
