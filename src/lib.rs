//! Penstock, an LLM API gateway. `docs/ARCHITECTURE.md` is the map.

pub mod conversation;
pub mod dialect;
pub mod provider;
pub mod wire;
