//! What a provider's refusal is about, in a few words that every dialect's own codes come down to.

use penstock_actors::domain::Fault;

use super::{AnswerHead, Failure, Next};

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The request is wrong whoever serves it.
    BadRequest,
    /// The provider's rules forbid the prompt or the answer.
    ContentPolicy,
    /// The channel's credential is refused.
    BadKey,
    /// The credential may not do this.
    Forbidden,
    /// The account has no money or no quota left.
    OutOfCredit,
    /// The model or deployment is unknown to this provider.
    NotFound,
    /// Too many requests or tokens for now.
    Throttled,
    /// The provider has no capacity for now.
    Overloaded,
    /// The provider did not finish in time.
    TimedOut,
    /// The provider failed.
    Failed,
}

impl Trouble {
    /// What a status says where the body says nothing.
    pub fn of_status(status: u16) -> Self {
        match status {
            400 | 413 | 415 | 416 | 422 => Self::BadRequest,
            401 => Self::BadKey,
            402 => Self::OutOfCredit,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            408 | 504 => Self::TimedOut,
            429 => Self::Throttled,
            503 | 529 => Self::Overloaded,
            _ => Self::Failed,
        }
    }

    /// The status for the client.
    fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::ContentPolicy => 400,
            Self::BadKey => 401,
            Self::OutOfCredit => 402,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Throttled => 429,
            Self::Failed => 502,
            Self::Overloaded => 503,
            Self::TimedOut => 504,
        }
    }

    /// OpenAI's `type`, or the nearest to it.
    fn kind(self) -> &'static str {
        match self {
            Self::BadRequest | Self::ContentPolicy => "invalid_request_error",
            Self::BadKey => "authentication_error",
            Self::OutOfCredit => "billing_error",
            Self::Forbidden => "permission_error",
            Self::NotFound => "not_found_error",
            Self::Throttled => "rate_limit_error",
            Self::Overloaded => "overloaded_error",
            Self::TimedOut => "timeout_error",
            Self::Failed => "upstream_error",
        }
    }

    /// The code where the provider gives none.
    fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "upstream_refused",
            Self::ContentPolicy => "content_policy_violation",
            Self::BadKey => "upstream_unauthenticated",
            Self::OutOfCredit => "upstream_out_of_credit",
            Self::Forbidden => "upstream_forbidden",
            Self::NotFound => "upstream_not_found",
            Self::Throttled => "upstream_rate_limited",
            Self::Overloaded => "upstream_overloaded",
            Self::TimedOut => "upstream_timed_out",
            Self::Failed => "upstream_failed",
        }
    }

    /// The failure; code and message are the provider's where it gives any.
    pub fn failure(self, code: Option<String>, message: Option<String>) -> Failure {
        let wrong_request = matches!(self, Self::BadRequest | Self::ContentPolicy);
        Failure {
            status: self.status(),
            fault: if wrong_request { Fault::Client } else { Fault::Upstream },
            next: match self {
                Self::BadRequest => Next::Tell,
                // A provider that refuses a prompt or did not finish may bill what it did.
                Self::TimedOut => Next::FailoverUncertain,
                Self::ContentPolicy => Next::Tell,
                _ => Next::Failover,
            },
            kind: self.kind().to_owned(),
            code: code.filter(|code| !code.is_empty()).unwrap_or_else(|| self.code().to_owned()),
            param: None,
            message: message.filter(|message| !message.trim().is_empty()).unwrap_or_else(|| {
                format!("The model's provider refused: {}.", self.code().replace('_', " "))
            }),
            retry_after: None,
        }
    }

    /// The failure of an answer with a bad status, which reaches the client where it is one of errors.
    pub fn of_answer(self, head: &AnswerHead<'_>, code: Option<String>, message: Option<String>) -> Failure {
        let mut failure = self.failure(code, message);
        let agrees = (400..600).contains(&head.status) && Self::of_status(head.status) == self;
        if agrees {
            failure.status = head.status;
        }
        failure.retry_after = head.retry_after;
        failure
    }
}

/// The failure of a bad status whose body nobody can read: HTML, another dialect, nothing. None of it is told.
pub fn unexplained(head: &AnswerHead<'_>) -> Failure {
    let message = format!("The model's provider answered with status {}.", head.status);
    Trouble::of_status(head.status).of_answer(head, None, Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Framing;

    fn head(status: u16) -> AnswerHead<'static> {
        AnswerHead { status, content_type: "", retry_after: None, framing: Framing::Framed }
    }

    #[test]
    fn the_clients_mistakes_are_told_and_the_rest_is_tried_elsewhere() {
        for status in 300..600 {
            let failure = unexplained(&head(status));
            let clients = matches!(status, 400 | 413 | 415 | 416 | 422);
            assert_eq!(failure.fault == Fault::Client, clients, "{status}");
            assert_eq!(failure.next == Next::Tell, clients, "{status}");
            assert!((400..600).contains(&failure.status), "{status}");
        }
        assert_eq!(unexplained(&head(529)).status, 529);
        assert_eq!(unexplained(&head(302)).status, 502);
        assert_eq!(unexplained(&head(504)).next, Next::FailoverUncertain);
    }

    #[test]
    fn a_code_that_contradicts_the_status_wins() {
        let failure =
            Trouble::Throttled.of_answer(&head(400), Some("Throttling".into()), Some("slow".into()));
        assert_eq!(
            (failure.status, failure.code.as_str(), failure.message.as_str()),
            (429, "Throttling", "slow")
        );
        assert_eq!(Trouble::Failed.of_answer(&head(500), None, None).status, 500);
    }
}
