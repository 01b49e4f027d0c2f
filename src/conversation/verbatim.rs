//! JSON that is carried, not understood: key order, number spelling and all.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A JSON value as it was written. Two are equal when they were written alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Verbatim(Box<RawValue>);

impl Verbatim {
    /// Keeps a value.
    pub fn of(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }

    /// Keeps JSON text; `None` if it is not JSON.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// The value as written.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The value for a parser.
    pub fn raw(&self) -> &RawValue {
        &self.0
    }
}

impl PartialEq for Verbatim {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}
