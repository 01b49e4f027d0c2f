//! Plain values that every part of the gateway speaks of. No behaviour beyond their own meaning.

pub mod attached;
pub mod catalog;
pub mod endpoint;
pub mod outcome;
pub mod usage;

pub use attached::Attached;
pub use catalog::{
    Catalog, ChannelName, ChannelSpec, Credential, Delivery, ModelName, PoolSettings, Proxy, ProxyKind,
    ProxyLogin, Served, Timeouts, TransportKind,
};
pub use endpoint::Endpoint;
pub use outcome::{Fault, Outcome};
pub use usage::Usage;
