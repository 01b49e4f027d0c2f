//! How likely tokens were, as chat completions and responses write it: `ChatCompletionTokenLogprob` and
//! `ResponseOutputText.logprobs` of the official SDKs.

use serde::Serialize;

use crate::conversation::Logprob;

/// One token, its bytes, and the likeliest tokens at its place.
#[derive(Clone, Debug, Serialize)]
pub struct Likely {
    token: String,
    bytes: Vec<u8>,
    logprob: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<Likely>>,
}

impl From<&Logprob> for Likely {
    fn from(likely: &Logprob) -> Self {
        let one = |token: &str, logprob, top_logprobs| Self {
            token: token.to_owned(),
            bytes: token.as_bytes().to_vec(),
            logprob,
            top_logprobs,
        };
        let top = likely.top.iter().map(|other| one(&other.token, other.logprob, None)).collect();
        one(&likely.chosen.token, likely.chosen.logprob, Some(top))
    }
}
