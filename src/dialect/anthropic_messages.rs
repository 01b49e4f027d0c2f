//! Anthropic's messages: a conversation into a request, an answer into deltas or a reply.
//!
//! It knows the format of `POST /v1/messages` as the official SDKs type it (anthropic 2.x), and
//! which models want reasoning asked for in the older way. Addresses, headers and what a failure
//! means for the call are the adapter's.
//!
//! What cannot be carried from another dialect, and what becomes of it:
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, log probabilities, audio, file ids, JSON without a schema | refused, with the parameter's name |
//! | `functions`, `function_call`, `logit_bias`, `modalities`, `web_search_options`, custom tools | refused: without them the answer means something else |
//! | seed, penalties, `verbosity`, `prediction`, `store`, cache keys, participants' names | left out: hints and bookkeeping |
//! | temperature or `top_p` of exactly 1 | left out: the default, and recent models refuse the field |
//! | temperature above 1 | becomes 1, the most there is, and so is left out |
//! | instructions in the middle | join the system prompt |
//! | user, or `metadata.user_id` | `metadata.user_id`; the rest of OpenAI's `metadata` is left out |
//! | `service_tier` | `auto` and `priority` are `auto`; `default` and `standard_only` are `standard_only`; others are left out |
//! | `thinking`, `output_config` | passed on, and win over the reasoning effort and the response format |
//! | any other unknown field | passed on as written; Anthropic understands it or names it in its error |

mod blocks;
mod error;
mod extra;
mod reply;
mod request;
mod stream;
mod thinking;
mod tools;
mod turns;
mod usage;

pub use error::{ErrorBody, read_error};
pub use reply::{ReplyError, read_reply};
pub use request::write_request;
pub use stream::{EventReader, StreamError};

use crate::conversation::StopReason;

/// Reads a `stop_reason`.
fn stop_reason(word: &str) -> StopReason {
    match word {
        "end_turn" => StopReason::End,
        "stop_sequence" => StopReason::StopSequence,
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "tool_use" => StopReason::ToolCalls,
        "refusal" => StopReason::Refused,
        "pause_turn" => StopReason::Paused,
        other => StopReason::Other(other.to_owned()),
    }
}
