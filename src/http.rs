//! The client faces: routes, keys, bodies, answers. The one place where failures become status and body.

mod auth;
mod body;
mod connection;
mod cors;
mod count;
mod keeping;
mod manage;
mod models;
mod rates;
mod reply;
mod route;
mod runtime;
mod service;
mod socket;
mod state;
mod stored;

pub use connection::ClientIo;
pub use manage::{ReloadWish, Reloaded, reloads};
pub use reply::Asker;
pub use service::{Panicked, configure, on_connect};
pub use socket::ClientSocket;
pub use state::{Drain, HttpShared, KeysHealth, Worker};
pub use stored::{InMemory, ResponseStore, Stored};
