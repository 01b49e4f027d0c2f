//! Bedrock's exceptions, in an answer's body or as a message of its stream.

use serde::Deserialize;

use crate::dialect::{
    AnswerHead, Failure,
    trouble::{Trouble, unexplained},
};

/// An exception's body; its name stands in a header, or in `__type`.
#[derive(Deserialize)]
struct Exception {
    #[serde(alias = "Message", alias = "originalMessage")]
    message: Option<String>,
    #[serde(rename = "__type")]
    kind: Option<String>,
}

/// Explains a bad status.
pub fn of_answer(head: &AnswerHead<'_>, body: &[u8]) -> Failure {
    let Ok(Exception { message: Some(message), kind }) = serde_json::from_slice(body) else {
        return unexplained(head);
    };
    let kind = kind.as_deref().map(plain).unwrap_or_default();
    let trouble = trouble(kind, &message).unwrap_or_else(|| match head.status {
        // Models that failed or were too slow (424, 408), and those still being loaded (429).
        408 => Trouble::TimedOut,
        403 if is_about_the_key(&message) => Trouble::BadKey,
        status => Trouble::of_status(status),
    });
    trouble.of_answer(head, Some(kind.to_owned()), Some(message))
}

/// Explains an exception inside a stream.
pub fn of_exception(kind: &str, body: &[u8]) -> Failure {
    let said: Option<Exception> = serde_json::from_slice(body).ok();
    let message = said.and_then(|said| said.message).unwrap_or_default();
    let trouble = trouble(plain(kind), &message).unwrap_or(Trouble::Failed);
    trouble.failure(Some(kind.to_owned()), Some(message))
}

/// The name without namespace and address: `aws.protocol#Name:http://...`.
fn plain(kind: &str) -> &str {
    let kind = kind.split(':').next().unwrap_or_default();
    kind.rsplit('#').next().unwrap_or_default()
}

fn trouble(kind: &str, message: &str) -> Option<Trouble> {
    let lower = message.to_ascii_lowercase();
    if lower.starts_with("too many tokens per day") || lower.contains("service quota exceeded") {
        return Some(Trouble::Throttled);
    }
    // In streams the first letter is small.
    Some(match kind.to_ascii_lowercase().as_str() {
        "throttlingexception" | "modelnotreadyexception" | "servicequotaexceededexception" => {
            Trouble::Throttled
        }
        "serviceunavailableexception" => Trouble::Overloaded,
        "modeltimeoutexception" => Trouble::TimedOut,
        "validationexception" if lower.contains("model identifier is invalid") => Trouble::NotFound,
        "validationexception" => Trouble::BadRequest,
        "resourcenotfoundexception" => Trouble::NotFound,
        "unrecognizedclientexception"
        | "invalidsignatureexception"
        | "expiredtokenexception"
        | "missingauthenticationtokenexception"
        | "incompletesignatureexception" => Trouble::BadKey,
        "accessdeniedexception" if is_about_the_key(message) => Trouble::BadKey,
        "accessdeniedexception" => Trouble::Forbidden,
        "internalserverexception" | "modelerrorexception" | "modelstreamerrorexception" => Trouble::Failed,
        _ => return None,
    })
}

/// AWS answers 403 to signatures and tokens that it refuses, as to models that the account may not use.
fn is_about_the_key(message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    ["security token", "signature", "api key", "credential"].iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Framing, Next};

    #[test]
    fn every_exception_has_its_class() {
        for (status, body, wanted) in [
            (429, r#"{"message":"Too many requests, please wait before trying again."}"#, 429),
            (400, r#"{"__type":"com.amazon#ServiceQuotaExceededException","message":"quota"}"#, 429),
            (
                400,
                r#"{"message":"The provided model identifier is invalid.","__type":"ValidationException"}"#,
                404,
            ),
            (400, r#"{"message":"messages: at least one message is required"}"#, 400),
            (403, r#"{"message":"The security token included in the request is invalid."}"#, 401),
            (403, r#"{"Message":"User is not authorized to perform: bedrock:InvokeModel"}"#, 403),
            (404, r#"{"message":"Could not resolve the foundation model"}"#, 404),
            (408, r#"{"message":"Model timed out"}"#, 408),
            (424, r#"{"message":"The model returned an error","originalStatusCode":500}"#, 424),
            (500, r#"{"message":"internal"}"#, 500),
            (503, r#"{"message":"Bedrock is unable to process your request."}"#, 503),
            (502, "<html>", 502),
        ] {
            let head = AnswerHead { status, content_type: "", retry_after: None, framing: Framing::Framed };
            let failure = of_answer(&head, body.as_bytes());
            assert_eq!(failure.status, wanted, "{body}");
            assert_eq!(failure.next == Next::Tell, wanted == 400, "{body}");
        }
    }

    #[test]
    fn exceptions_of_a_stream_are_named_with_a_small_letter() {
        let failure = of_exception("throttlingException", br#"{"message":"slow down"}"#);
        assert_eq!(
            (failure.status, failure.code.as_str(), failure.message.as_str()),
            (429, "throttlingException", "slow down")
        );
        assert_eq!(of_exception("modelStreamErrorException", b"").next, Next::Failover);
    }
}
