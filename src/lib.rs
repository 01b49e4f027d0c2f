//! Penstock, an LLM API gateway. `docs/ARCHITECTURE.md` is the map.

pub mod dialect;
pub mod mock;
pub mod provider;
pub mod wire;
