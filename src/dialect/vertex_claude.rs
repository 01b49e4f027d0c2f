//! Claude on Vertex AI: Anthropic's messages at Google's address, with errors in Google's shape.
//!
//! What can and cannot be carried is as in [`super::anthropic_messages`].

use serde::Deserialize;

use super::{
    AnswerHead, Failure,
    anthropic_messages::{AnthropicMessages, Host, write_request},
    fields::ParamError,
    media::Kind,
    trouble::Trouble,
    upstream::{DeltaReader, ReadError, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply};

/// What stands in the place of the version that Anthropic's own API reads in a header.
pub const VERSION: &str = "vertex-2023-10-16";

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct VertexClaude;

impl Upstream for VertexClaude {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        let body = write_request(conversation, wanted.model, wanted.delivery, Host::Vertex)?;
        Ok(Written { headers: Vec::new(), body })
    }

    /// The API fetches nothing.
    fn takes(&self, _kind: Kind, _url: &str) -> bool {
        false
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        AnthropicMessages.reader(longest)
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        AnthropicMessages.read_whole(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        match google_error(body) {
            Some(GoogleError { status, message }) => {
                let trouble = match status.as_str() {
                    "UNAUTHENTICATED" => Trouble::BadKey,
                    "PERMISSION_DENIED" => Trouble::Forbidden,
                    "NOT_FOUND" => Trouble::NotFound,
                    "RESOURCE_EXHAUSTED" => Trouble::Throttled,
                    "UNAVAILABLE" => Trouble::Overloaded,
                    "DEADLINE_EXCEEDED" => Trouble::TimedOut,
                    "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => Trouble::BadRequest,
                    "INTERNAL" | "UNKNOWN" | "ABORTED" => Trouble::Failed,
                    _ => Trouble::of_status(head.status),
                };
                trouble.of_answer(head, Some(status), Some(message))
            }
            // Claude's own refusals come as Anthropic words them.
            None => AnthropicMessages.failure(head, body),
        }
    }
}

/// `google.rpc.Status`, as JSON.
#[derive(Deserialize)]
struct GoogleError {
    status: String,
    message: String,
}

fn google_error(body: &[u8]) -> Option<GoogleError> {
    #[derive(Deserialize)]
    struct Outer {
        error: GoogleError,
    }
    // Streams of Google's answer with an array of one.
    let one = serde_json::from_slice::<Outer>(body).ok();
    let listed = || serde_json::from_slice::<Vec<Outer>>(body).ok()?.into_iter().next();
    one.or_else(listed).map(|outer| outer.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Framing, Next};

    #[test]
    fn errors_come_in_googles_shape_and_in_anthropics() {
        for (status, body, wanted, code) in [
            (
                403,
                r#"{"error":{"code":403,"message":"Permission denied","status":"PERMISSION_DENIED"}}"#,
                403,
                "PERMISSION_DENIED",
            ),
            (
                429,
                r#"[{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}]"#,
                429,
                "RESOURCE_EXHAUSTED",
            ),
            (
                401,
                r#"{"error":{"code":401,"message":"bad","status":"UNAUTHENTICATED"}}"#,
                401,
                "UNAUTHENTICATED",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens"}}"#,
                400,
                "invalid_request_error",
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#,
                529,
                "overloaded_error",
            ),
        ] {
            let head = AnswerHead { status, content_type: "", retry_after: None, framing: Framing::Framed };
            let failure = VertexClaude.failure(&head, body.as_bytes());
            assert_eq!((failure.status, failure.code.as_str()), (wanted, code));
            assert_eq!(failure.next == Next::Tell, wanted == 400, "{body}");
        }
    }
}
