//! What a failed attempt tells of its channel. Pure: it sees the failure as the provider's dialect explained it.

use penstock_actors::domain::{Fault, Sign};

use crate::provider::Failure;

/// Kinds and codes of failures by which providers say that an account is empty.
const EMPTY: [&str; 6] = [
    "insufficient_quota",
    "insufficient_balance",
    "insufficient_user_quota",
    "billing_not_active",
    "billing_hard_limit_reached",
    "billing_error",
];
/// And by which they say that a credential is bad, where the status does not.
const BAD: [&str; 6] = [
    "invalid_api_key",
    "authentication_error",
    "account_deactivated",
    "invalid_authentication",
    "permission_denied_account",
    "organization_disabled",
];
/// Beginnings of sentences where there is no kind or code of their own.
const EMPTY_WORDS: [&str; 2] = ["your credit balance is too low", "insufficient balance"];
const BAD_WORDS: [&str; 4] = [
    "this organization has been disabled",
    "api key not valid",
    "your access was terminated",
    "permission denied: consumer",
];

/// What a failure tells.
pub(super) fn sign(failure: &Failure) -> Sign {
    if failure.fault != Fault::Upstream {
        return Sign::Nothing;
    }
    let named = |names: &[&str]| names.iter().any(|name| failure.kind == *name || failure.code == *name);
    let message = failure.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| message.starts_with(words));
    match failure.status {
        402 => Sign::OutOfCredit,
        _ if named(&EMPTY) || says(&EMPTY_WORDS) => Sign::OutOfCredit,
        401 => Sign::BadCredential,
        _ if named(&BAD) || says(&BAD_WORDS) => Sign::BadCredential,
        // A 403 that says no more is one model's matter, or one request's: some providers refuse content with it.
        429 => Sign::Throttled,
        503 | 529 => Sign::Overloaded,
        _ => match failure.code.as_str() {
            "upstream_unreachable" | "upstream_connect_timeout" | "upstream_first_byte_timeout" => {
                Sign::Overloaded
            }
            _ => Sign::Failed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Next;

    #[test]
    fn what_providers_say_is_understood() {
        for (status, kind, code, message, wanted) in [
            (401, "x", "x", "", Sign::BadCredential),
            (403, "x", "x", "", Sign::Failed),
            (403, "x", "x", "This organization has been disabled.", Sign::BadCredential),
            (400, "x", "x", "API key not valid. Please pass a valid API key.", Sign::BadCredential),
            (402, "x", "x", "", Sign::OutOfCredit),
            (429, "insufficient_quota", "insufficient_quota", "You exceeded", Sign::OutOfCredit),
            (400, "invalid_request_error", "x", "Your credit balance is too low to", Sign::OutOfCredit),
            (429, "requests", "rate_limit_exceeded", "", Sign::Throttled),
            (503, "x", "x", "", Sign::Overloaded),
            (529, "overloaded_error", "x", "", Sign::Overloaded),
            (504, "upstream_error", "upstream_first_byte_timeout", "", Sign::Overloaded),
            (500, "x", "x", "A balance of powers, and credit where it is due", Sign::Failed),
            (502, "upstream_error", "upstream_closed", "", Sign::Failed),
        ] {
            let mut failure = Failure::upstream(status, code, Next::Failover, message);
            failure.kind = kind.to_owned();
            assert_eq!(sign(&failure), wanted, "{status} {kind} {code} {message}");
            failure.fault = Fault::Client;
            assert_eq!(sign(&failure), Sign::Nothing);
        }
    }
}
