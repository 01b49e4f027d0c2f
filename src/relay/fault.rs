//! From transport errors and deadlines to failures: whose fault, which class. Pure.

use std::time::Duration;

use crate::{
    credential::TokenError,
    provider::{Failure, Next},
    transport::{ProxyError, TransportError},
};

/// What a transport error means for the attempt.
pub(super) fn of_transport(error: &TransportError) -> Failure {
    let (status, code, next) = match error {
        TransportError::Resolve(_) | TransportError::Connect(_) => {
            (502, "upstream_unreachable", Next::Failover)
        }
        TransportError::ConnectTimeout => (504, "upstream_connect_timeout", Next::Failover),
        TransportError::Tls(_) => (502, "upstream_tls_failed", Next::Failover),
        TransportError::Proxy(error) => return of_proxy(error),
        TransportError::NoPlace => return no_place(error),
        TransportError::NoDescriptor => return no_descriptor(error),
        TransportError::Stale | TransportError::Closed => (502, "upstream_closed", Next::FailoverUncertain),
        TransportError::TimedOut => (504, "upstream_timeout", Next::FailoverUncertain),
        TransportError::Protocol(_) | TransportError::TooLong(_) => {
            (502, "upstream_bad_answer", Next::FailoverUncertain)
        }
        TransportError::Truncated => (502, "upstream_cut_off", Next::FailoverUncertain),
        TransportError::Body(_) => return Failure::gateway(500, "body_unreadable", sentence(error)),
    };
    // Addresses and certificates are the operator's business; they stand in the log.
    let public = match error {
        TransportError::Resolve(_) | TransportError::Connect(_) => {
            "The provider could not be reached.".to_owned()
        }
        TransportError::Tls(_) => "The provider's TLS handshake failed.".to_owned(),
        other => sentence(other),
    };
    Failure::upstream(status, code, next, public)
}

/// What the channel showed the provider as its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Credential,
    Nothing,
}

/// A provider's 401, told as what it is: to the client it must not look like a word about the client's own key.
/// Nothing of the provider's text is kept, since providers show parts of the credential that they refuse.
pub(super) fn of_refused_credential(shown: Shown, next: Next) -> Failure {
    let message = match shown {
        Shown::Credential => "The provider refused the channel's credential.",
        Shown::Nothing => "The provider wants a credential, and the channel has none.",
    };
    Failure::upstream(401, "upstream_credential_refused", next, message)
}

/// There is no token to show, so nothing was sent. What its giver said stands in the log.
pub(super) fn of_token(error: &TokenError) -> Failure {
    match error {
        TokenError::Refused(_) => of_refused_credential(Shown::Credential, Next::Failover),
        TokenError::Unavailable(_) => {
            let message = "No token could be got for the channel's credential; it is asked for again.";
            let mut failure = Failure::upstream(503, "upstream_token_unavailable", Next::Failover, message);
            failure.retry_after = Some(Duration::from_secs(10));
            failure
        }
    }
}

/// Nothing of the request was sent, so the next channel may be tried without a doubt.
fn of_proxy(error: &ProxyError) -> Failure {
    let (code, what) = match error {
        ProxyError::Unreachable(_) | ProxyError::Unknown(_) | ProxyError::Tls(_) => {
            ("proxy_unreachable", "could not be reached")
        }
        ProxyError::Login => ("proxy_login_refused", "did not accept the channel's login"),
        ProxyError::Refused(_) => ("proxy_refused", "refused the connection to the provider"),
        ProxyError::Garbage(_) => ("proxy_bad_answer", "did not answer as a proxy does"),
    };
    Failure::upstream(502, code, Next::Failover, format!("The channel's proxy {what}."))
}

fn no_place(error: &TransportError) -> Failure {
    let mut failure = Failure::gateway(429, "channels_saturated", sentence(error));
    failure.kind = "rate_limit_error".to_owned();
    failure.next = Next::Failover;
    failure.retry_after = Some(Duration::from_secs(1));
    failure
}

fn no_descriptor(error: &TransportError) -> Failure {
    let mut failure = Failure::gateway(503, "gateway_overloaded", sentence(error));
    failure.retry_after = Some(Duration::from_secs(1));
    failure
}

/// The deadlines an attempt can miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    FirstByte,
    Idle,
    Total,
}

/// What a missed deadline means.
pub(super) fn of_deadline(deadline: Deadline, after: Duration) -> Failure {
    let (code, what) = match deadline {
        Deadline::FirstByte => ("upstream_first_byte_timeout", "sent nothing for"),
        Deadline::Idle => ("upstream_idle_timeout", "fell silent for"),
        Deadline::Total => ("upstream_total_timeout", "took longer than"),
    };
    let message = format!("The provider {what} {}.", humantime::format_duration(after));
    Failure::upstream(504, code, Next::FailoverUncertain, message)
}

/// An error's text as a sentence.
fn sentence(error: &TransportError) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_connections_fail_over_for_certain_and_cut_answers_with_a_doubt() {
        let refused = TransportError::Connect(std::io::ErrorKind::ConnectionRefused.into());
        assert_eq!(of_transport(&refused).next, Next::Failover);
        assert_eq!(of_transport(&TransportError::Truncated).next, Next::FailoverUncertain);
        assert_eq!(of_transport(&TransportError::NoDescriptor).next, Next::Tell);
    }
}
