//! What the provider's refusals and errors mean for the call.

use penstock_actors::domain::Fault;

use super::{ErrorBody, read_error};
use crate::dialect::{AnswerHead, Failure, Next};

/// Refusals with status 400 that are about the account, not the request: the API has no kind of
/// their own for them. Other accounts can do better.
const ABOUT_THE_ACCOUNT: [&str; 2] =
    ["your credit balance is too low", "this organization has been disabled"];

/// Explains a bad status.
pub(super) fn of_status(head: &AnswerHead<'_>, body: &[u8]) -> Failure {
    let status = head.status;
    let (kind, code, message) = match read_error(body) {
        Some(error) => words(error),
        // HTML, another dialect, nothing: not for the client's eyes.
        None => {
            let (kind, code) = unexplained(status);
            (kind.to_owned(), code.to_owned(), format!("The model's provider answered with status {status}."))
        }
    };
    Failure { kind, code, retry_after: head.retry_after, ..of(status, message) }
}

/// The class of a status, with Anthropic's exceptions.
fn of(status: u16, message: String) -> Failure {
    let lower = message.to_ascii_lowercase();
    let mut failure = Failure::upstream_status(status, message);
    if status == 400 && ABOUT_THE_ACCOUNT.iter().any(|words| lower.starts_with(words)) {
        (failure.fault, failure.next) = (Fault::Upstream, Next::Failover);
    }
    failure
}

/// Explains an error that the provider reports inside a good status.
pub(super) fn of_error(error: ErrorBody) -> Failure {
    let status = error.status();
    let (kind, code, message) = words(error);
    Failure { kind, code, ..of(status, message) }
}

fn words(error: ErrorBody) -> (String, String, String) {
    let ErrorBody { kind, code, message, .. } = error;
    let code = code.unwrap_or_else(|| kind.clone());
    (kind, code, message)
}

/// Kind and code where the body has none.
fn unexplained(status: u16) -> (&'static str, &'static str) {
    match status {
        400 | 413 | 422 => ("invalid_request_error", "upstream_refused"),
        401 => ("authentication_error", "upstream_unauthenticated"),
        403 => ("permission_error", "upstream_forbidden"),
        404 => ("not_found_error", "upstream_not_found"),
        429 => ("rate_limit_error", "upstream_rate_limited"),
        529 => ("overloaded_error", "upstream_overloaded"),
        _ => ("api_error", "upstream_failed"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn check(status: u16, body: &str) -> Failure {
        let retry_after = Some(Duration::from_secs(3));
        of_status(
            &AnswerHead {
                status,
                content_type: "application/json",
                retry_after,
                framing: crate::dialect::Framing::Framed,
            },
            body.as_bytes(),
        )
    }

    fn said(kind: &str, message: &str) -> String {
        format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#
        )
    }

    #[test]
    fn every_status_has_its_class() {
        for status in [400, 413, 422] {
            let failure = check(status, &said("invalid_request_error", "max_tokens: too large"));
            assert_eq!((failure.fault, failure.next), (Fault::Client, Next::Tell), "{status}");
        }
        for status in [401, 402, 403, 404, 405, 408, 409, 429, 500, 502, 503, 504, 529] {
            let failure = check(status, &said("some_error", "x"));
            assert_eq!((failure.fault, failure.next), (Fault::Upstream, Next::Failover), "{status}");
            assert_eq!(failure.status, status);
        }
    }

    #[test]
    fn the_providers_words_reach_the_client() {
        let failure = check(529, &said("overloaded_error", "Overloaded"));
        assert_eq!(
            (failure.kind.as_str(), failure.code.as_str(), failure.message.as_str()),
            ("overloaded_error", "overloaded_error", "Overloaded")
        );
        assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
    }

    #[test]
    fn an_empty_account_is_not_the_clients_fault() {
        let body =
            said("invalid_request_error", "Your credit balance is too low to access the Anthropic API.");
        assert_eq!(check(400, &body).next, Next::Failover);
    }

    #[test]
    fn html_is_not_shown() {
        for body in ["", "<html>secret</html>", "{}", "\u{0}"] {
            let failure = check(502, body);
            assert_eq!(failure.message, "The model's provider answered with status 502.");
            assert_eq!(failure.code, "upstream_failed");
        }
    }

    #[test]
    fn an_error_event_has_the_class_of_its_kind() {
        let error =
            |kind: &str| ErrorBody { kind: kind.into(), code: None, message: "x".into(), request_id: None };
        let failure = of_error(error("overloaded_error"));
        assert_eq!((failure.status, failure.next), (529, Next::Failover));
        assert_eq!(of_error(error("invalid_request_error")).next, Next::Tell);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(status in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..128)) {
            let head = AnswerHead { status, content_type: "", retry_after: None, framing: crate::dialect::Framing::Framed };
            let _ = of_status(&head, &body);
        }
    }
}
