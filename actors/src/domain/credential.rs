//! Secrets that a provider is shown: one, or several of one channel, of which each request shows one.

use std::{fmt, sync::Arc};

/// A secret shown to a provider. It has no `Display` and prints itself hidden.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credential(Arc<str>);

impl Credential {
    /// Wraps a secret.
    pub fn new(secret: impl Into<Arc<str>>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that writes it into a request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(hidden)")
    }
}

/// In which order a channel's credentials are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Drawn at random.
    Random,
}

/// What a channel has to show: nothing, a credential, or several of equal right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    all: Arc<[Credential]>,
    turn: Turn,
}

impl Credentials {
    /// Several; each secret counts once.
    pub fn new(all: impl IntoIterator<Item = Credential>, turn: Turn) -> Self {
        let mut once: Vec<Credential> = Vec::new();
        for credential in all {
            if !once.contains(&credential) {
                once.push(credential);
            }
        }
        Self { all: once.into(), turn }
    }

    /// One.
    pub fn one(credential: Credential) -> Self {
        Self { all: [credential].into(), turn: Turn::default() }
    }

    /// Every one, in the operator's order.
    pub fn all(&self) -> &[Credential] {
        &self.all
    }

    /// The first, for what is asked beside calls.
    pub fn first(&self) -> Option<&Credential> {
        self.all.first()
    }

    /// In which order they are shown.
    pub fn turn(&self) -> Turn {
        self.turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_counts_once_and_prints_itself_hidden() {
        let all = ["a", "b", "a"].map(Credential::new);
        let credentials = Credentials::new(all, Turn::Random);
        assert_eq!(credentials.all().iter().map(Credential::expose).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            format!("{credentials:?}"),
            "Credentials { all: [Credential(hidden), Credential(hidden)], turn: Random }"
        );
    }
}
