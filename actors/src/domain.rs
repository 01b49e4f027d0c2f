//! Plain values that every part of the gateway speaks of. No behaviour beyond their own meaning.

pub mod attached;
pub mod books;
pub mod care;
pub mod catalog;
pub mod credential;
pub mod endpoint;
pub mod learning;
pub mod money;
pub mod outcome;
pub mod price;
pub mod usage;

pub use attached::Attached;
pub use books::{
    AccountChain, AccountId, AttemptFact, CallId, Dispatch, KeyId, PriceVersion, Progress, Settled,
    Settlement, StreamId, UsageSource,
};
pub use care::{BreakerRules, Care, Sign, SwitchRule, Uncertain};
pub use catalog::{
    Catalog, ChannelName, ChannelSpec, Delivery, ModelName, PoolSettings, Proxy, ProxyKind, ProxyLogin,
    Served, Timeouts, TransportKind,
};
pub use credential::{Credential, Credentials, Turn};
pub use endpoint::Endpoint;
pub use learning::{Adaptive, Hint, LearningRules, Pacing, Told};
pub use money::{Money, PicosPerUnit, Ratio};
pub use outcome::{Fault, Outcome};
pub use price::{
    Form, NoPrice, Payer, Price, PriceList, PriceTier, Priced, QuotaRatio, Rates, Tariff, Unpriced,
};
pub use usage::Usage;
