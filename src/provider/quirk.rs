//! Quirks: small named rewrites that a provider's row, or an operator, switches on.

/// A small named rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quirk {
    /// Asks for usage in streams, and hides its event from clients that did not ask.
    RequestStreamUsage,
}

impl Quirk {
    /// Every quirk.
    pub const ALL: [Self; 1] = [Self::RequestStreamUsage];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestStreamUsage => "request-stream-usage",
        }
    }

    /// The quirk of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|q| q.name() == name)
    }
}
