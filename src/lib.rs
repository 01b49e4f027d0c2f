//! Penstock, an LLM API gateway. `docs/ARCHITECTURE.md` is the map.

pub mod api;
pub mod api_key;
pub mod app;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conversation;
pub mod credential;
pub mod dialect;
pub mod docs;
mod drill;
pub mod http;
pub mod journal;
pub mod known_models;
pub mod mock;
pub mod provider;
pub mod relay;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod wire;
