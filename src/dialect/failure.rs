//! Why a call or an attempt failed, in words that every dialect can write.

use std::time::Duration;

use penstock_actors::domain::Fault;

/// What may be done after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same request would fail anywhere: tell the client.
    Tell,
    /// Another candidate may do better, and the provider did no work that it may bill.
    Failover,
    /// Another candidate may do better, but this attempt may have been worked on and billed.
    FailoverUncertain,
}

/// Why an attempt failed, decided where the facts are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status for the client.
    pub status: u16,
    /// Whose doing it was.
    pub fault: Fault,
    /// What may be done next.
    pub next: Next,
    /// OpenAI's `type`, or the provider's own.
    pub kind: String,
    /// A stable English code, or the provider's own.
    pub code: String,
    /// The parameter at fault, where one is.
    pub param: Option<String>,
    /// A sentence for the client.
    pub message: String,
    /// When to come back, where the provider said so.
    pub retry_after: Option<Duration>,
}

/// The longest message that is passed on, in bytes.
const LONGEST_MESSAGE: usize = 2048;
/// The longest code, type or parameter that is passed on, in bytes.
const LONGEST_WORD: usize = 128;

impl Failure {
    /// A request that is wrong whoever serves it: 400, the client's fault.
    pub fn invalid_request(code: &str, param: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            fault: Fault::Client,
            next: Next::Tell,
            kind: "invalid_request_error".to_owned(),
            code: code.to_owned(),
            param: param.map(str::to_owned),
            message: message.into(),
            retry_after: None,
        }
    }

    /// An attempt that the provider spoilt without a status of its own: 502, or 504 for a deadline.
    pub fn upstream(status: u16, code: &str, next: Next, message: impl Into<String>) -> Self {
        Self {
            status,
            fault: Fault::Upstream,
            next,
            kind: "upstream_error".to_owned(),
            code: code.to_owned(),
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }

    /// What a provider's bad status means, before its body is read.
    ///
    /// 400, 413, 415, 416 and 422 say that the request is wrong; everything else that another
    /// channel could do better.
    pub fn upstream_status(status: u16, message: String) -> Self {
        let wrong_request = matches!(status, 400 | 413 | 415 | 416 | 422);
        Self {
            // What is no error status cannot be passed on as one.
            status: if (400..600).contains(&status) { status } else { 502 },
            fault: if wrong_request { Fault::Client } else { Fault::Upstream },
            next: if wrong_request { Next::Tell } else { Next::Failover },
            kind: if wrong_request { "invalid_request_error" } else { "upstream_error" }.to_owned(),
            code: "bad_response_status_code".to_owned(),
            param: None,
            message,
            retry_after: None,
        }
    }

    /// Makes a failure fit to leave the building: secrets hidden wherever they stand, then no text too long.
    pub fn cleanse<'s>(&mut self, secrets: impl Iterator<Item = &'s str> + Clone) {
        let words = [Some(&mut self.kind), Some(&mut self.code), self.param.as_mut()].into_iter().flatten();
        let words = words.map(|word| (word, LONGEST_WORD));
        for (text, longest) in words.chain([(&mut self.message, LONGEST_MESSAGE)]) {
            for secret in secrets.clone() {
                if text.contains(secret) {
                    *text = text.replace(secret, "***");
                }
            }
            if text.len() > longest {
                let end = (0..=longest).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
                text.truncate(end);
                text.push_str(" ...");
            }
        }
    }

    /// A refusal or a failure of Penstock itself.
    pub fn gateway(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            fault: Fault::Gateway,
            next: Next::Tell,
            kind: "gateway_error".to_owned(),
            code: code.to_owned(),
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_before_a_text_is_cut() {
        for before in LONGEST_MESSAGE - 10..LONGEST_MESSAGE + 10 {
            let message = format!("{}sk-secret{}", "\u{e9}".repeat(before / 2), "y".repeat(100));
            let mut failure = Failure::upstream_status(500, message);
            failure.code = "code sk-secret".to_owned();
            failure.kind = "k".repeat(LONGEST_WORD + 1);
            failure.param = Some("sk-secret".to_owned());
            failure.cleanse(["sk-secret"].into_iter());
            assert!(!failure.message.contains('s'), "{before}: {}", failure.message);
            assert!(failure.message.len() <= LONGEST_MESSAGE + 4);
            assert_eq!((failure.code.as_str(), failure.param.as_deref()), ("code ***", Some("***")));
            assert_eq!(failure.kind.len(), LONGEST_WORD + 4);
        }
    }
}
