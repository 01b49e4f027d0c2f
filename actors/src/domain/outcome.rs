//! How calls and attempts end, and whose doing it was.

/// Whose doing a failure was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request was wrong, or the client left.
    Client,
    /// The provider refused, failed, stalled or spoke garbage.
    Upstream,
    /// Penstock refused or failed: saturated, shutting down, out of descriptors, a defect.
    Gateway,
}

impl Fault {
    /// The word used in logs, metrics and error bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

/// How a call or an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The whole answer was passed on.
    Completed,
    /// Ended without an answer; nothing of one had reached the client.
    Refused(Fault),
    /// Ended inside an answer: the client has a part and was told so.
    Broken(Fault),
    /// The client left before the end.
    Abandoned,
}

impl Outcome {
    /// Every outcome, in the order of [`Outcome::index`].
    pub const ALL: [Self; 8] = [
        Self::Completed,
        Self::Refused(Fault::Client),
        Self::Refused(Fault::Upstream),
        Self::Refused(Fault::Gateway),
        Self::Broken(Fault::Client),
        Self::Broken(Fault::Upstream),
        Self::Broken(Fault::Gateway),
        Self::Abandoned,
    ];

    /// A dense number for tables of counters.
    pub fn index(self) -> usize {
        match self {
            Self::Completed => 0,
            Self::Refused(Fault::Client) => 1,
            Self::Refused(Fault::Upstream) => 2,
            Self::Refused(Fault::Gateway) => 3,
            Self::Broken(Fault::Client) => 4,
            Self::Broken(Fault::Upstream) => 5,
            Self::Broken(Fault::Gateway) => 6,
            Self::Abandoned => 7,
        }
    }

    /// The words used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused(Fault::Client) => "refused_client",
            Self::Refused(Fault::Upstream) => "refused_upstream",
            Self::Refused(Fault::Gateway) => "refused_gateway",
            Self::Broken(Fault::Client) => "broken_client",
            Self::Broken(Fault::Upstream) => "broken_upstream",
            Self::Broken(Fault::Gateway) => "broken_gateway",
            Self::Abandoned => "abandoned",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_stands_at_its_own_index() {
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), i, "{}", outcome.as_str());
        }
    }
}
