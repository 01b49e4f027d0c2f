//! The answer's side of a conversation: whole, or as the deltas of a stream.

use penstock_actors::domain::Usage;

use super::{Part, Source, ToolCall};

/// One step of a streamed answer.
///
/// The order is [`Delta::Start`], content, [`Delta::Stop`]; [`Delta::Usage`] may come anywhere
/// between. `Stop` is last, and is given only once the provider said that the answer is complete: a
/// stream that is cut has none.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The answer begins.
    Start {
        /// The provider's id of the answer.
        id: String,
    },
    /// More text.
    Text(String),
    /// What the text so far rests on.
    Citation(Citation),
    /// How likely the tokens of the text were.
    Logprobs(Vec<Logprob>),
    /// A picture or recording that the model made, whole.
    Media {
        /// Its media type.
        media_type: String,
        /// Its bytes in base64.
        data: String,
    },
    /// More of the reasoning shown.
    Thinking(String),
    /// A block of reasoning is over, and this is its proof. Where no reasoning was shown, the proof belongs
    /// to what follows.
    ThinkingSignature(String),
    /// A block of encrypted reasoning.
    RedactedThinking(String),
    /// More of the explanation why there is no answer.
    Refusal(String),
    /// A tool call begins.
    ToolCallStart {
        /// Its place among the answer's tool calls, from 0.
        index: u32,
        /// The provider's id of the call.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// More of a tool call's arguments; together they are JSON text.
    ToolCallArguments {
        /// Which tool call.
        index: u32,
        /// The next characters.
        fragment: String,
    },
    /// What was consumed so far, in all; replaces any earlier one.
    Usage(Usage),
    /// The answer is complete.
    Stop(StopReason),
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The provider's id of the answer.
    pub id: String,
    /// What the model said.
    pub parts: Vec<Part>,
    /// How likely the tokens of the text were, where it was asked for.
    pub logprobs: Vec<Logprob>,
    /// Why it stopped.
    pub stop: StopReason,
    /// What was consumed; nothing at all where the provider does not say.
    pub usage: Usage,
}

impl Reply {
    /// The answer as the deltas of a stream.
    pub fn into_deltas(self) -> Vec<Delta> {
        let mut all = vec![Delta::Start { id: self.id }];
        let mut calls = 0..;
        for part in self.parts {
            match part {
                Part::Text { text, citations, .. } => {
                    all.push(Delta::Text(text));
                    all.extend(citations.into_iter().map(Delta::Citation));
                }
                Part::Thinking { text, signature } => {
                    all.extend(Some(text).filter(|text| !text.is_empty()).map(Delta::Thinking));
                    all.extend(signature.map(Delta::ThinkingSignature));
                }
                Part::RedactedThinking { data } => all.push(Delta::RedactedThinking(data)),
                Part::Refusal(text) => all.push(Delta::Refusal(text)),
                Part::ToolCall(ToolCall { id, name, arguments }) => {
                    let index = calls.next().unwrap_or(0);
                    all.push(Delta::ToolCallStart { index, id, name });
                    all.push(Delta::ToolCallArguments { index, fragment: arguments });
                }
                Part::Image { source: Source::Base64 { media_type, data }, .. } => {
                    all.push(Delta::Media { media_type, data });
                }
                // No model answers with these.
                Part::Image { .. } | Part::File { .. } | Part::Audio { .. } | Part::ToolResult { .. } => {}
            }
        }
        if !self.logprobs.is_empty() {
            all.push(Delta::Logprobs(self.logprobs));
        }
        // A provider that counts nothing is not one that consumed nothing.
        all.extend((self.usage != Usage::default()).then_some(Delta::Usage(self.usage)));
        all.push(Delta::Stop(self.stop));
        all
    }

    /// Adds the next delta of a stream.
    pub fn add(&mut self, delta: Delta) {
        let parts = &mut self.parts;
        match delta {
            Delta::Start { id } => self.id = id,
            Delta::Text(more) => match parts.last_mut() {
                Some(Part::Text { text, .. }) => text.push_str(&more),
                _ => parts.push(Part::text(more)),
            },
            Delta::Thinking(more) => match parts.last_mut() {
                Some(Part::Thinking { text, signature: None }) => text.push_str(&more),
                _ => parts.push(Part::Thinking { text: more, signature: None }),
            },
            Delta::ThinkingSignature(proof) => match parts.last_mut() {
                Some(Part::Thinking { signature: none @ None, .. }) => *none = Some(proof),
                _ => parts.push(Part::Thinking { text: String::new(), signature: Some(proof) }),
            },
            Delta::Citation(citation) => {
                if let Some(Part::Text { citations, .. }) =
                    parts.iter_mut().rev().find(|part| matches!(part, Part::Text { .. }))
                {
                    citations.push(citation);
                }
            }
            Delta::Logprobs(likely) => self.logprobs.extend(likely),
            Delta::Media { media_type, data } => {
                let source = Source::Base64 { media_type, data };
                parts.push(Part::Image { source, detail: None, cache: None });
            }
            Delta::RedactedThinking(data) => parts.push(Part::RedactedThinking { data }),
            Delta::Refusal(more) => match parts.last_mut() {
                Some(Part::Refusal(text)) => text.push_str(&more),
                _ => parts.push(Part::Refusal(more)),
            },
            Delta::ToolCallStart { id, name, .. } => {
                parts.push(Part::ToolCall(ToolCall { id, name, arguments: String::new() }));
            }
            Delta::ToolCallArguments { index, fragment } => {
                let calls = parts.iter_mut().filter_map(|part| match part {
                    Part::ToolCall(call) => Some(call),
                    _ => None,
                });
                if let Some(call) = calls.into_iter().nth(index as usize) {
                    call.arguments.push_str(&fragment);
                }
            }
            Delta::Usage(usage) => self.usage = usage,
            Delta::Stop(stop) => self.stop = stop,
        }
    }
}

/// What a piece of text rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Citation {
    /// Where the source is.
    pub url: String,
    /// What it is called.
    pub title: Option<String>,
    /// The words of the source.
    pub quote: Option<String>,
    /// The first character of the text that rests on it, and the one after the last.
    pub place: Option<(u64, u64)>,
}

/// How likely a token was.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob {
    /// The token, and its likelihood.
    pub chosen: Alternative,
    /// The likeliest tokens at its place.
    pub top: Vec<Alternative>,
}

/// A token and its likelihood.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// The token's text.
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: f64,
}

/// Why the model stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StopReason {
    /// It was done.
    #[default]
    End,
    /// It came to one of the texts that end the answer.
    StopSequence,
    /// It reached the limit of tokens, or of its context.
    Length,
    /// It waits for tool results.
    ToolCalls,
    /// It, or the provider's filter, would not answer.
    Refused,
    /// The provider interrupted a long turn, to be continued by another request.
    Paused,
    /// A reason we do not know, in the provider's words.
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_taken_apart_into_deltas_is_the_same_put_together() {
        let call = |id: &str, arguments: &str| {
            Part::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() })
        };
        let reply = Reply {
            id: "1".into(),
            parts: vec![
                Part::Thinking { text: "hm".into(), signature: Some("s".into()) },
                Part::text("a"),
                call("x", "{}"),
                call("y", "[1]"),
                Part::Refusal("no".into()),
            ],
            logprobs: Vec::new(),
            stop: StopReason::ToolCalls,
            usage: Usage { input: 1, ..Usage::default() },
        };
        let mut again = Reply::default();
        reply.clone().into_deltas().into_iter().for_each(|delta| again.add(delta));
        assert_eq!(again, reply);
        let said = |reply: Reply| reply.into_deltas().iter().any(|delta| matches!(delta, Delta::Usage(_)));
        assert!(said(reply) && !said(Reply::default()), "what nobody counted is not told");
    }

    #[test]
    fn arguments_that_come_by_turns_stay_apart() {
        let mut reply = Reply::default();
        for index in [0, 1] {
            reply.add(Delta::ToolCallStart { index, id: String::new(), name: "f".into() });
        }
        for (index, fragment) in [(0, "a"), (1, "b"), (0, "c"), (7, "lost")] {
            reply.add(Delta::ToolCallArguments { index, fragment: fragment.into() });
        }
        let arguments: Vec<_> = reply
            .parts
            .iter()
            .filter_map(|part| if let Part::ToolCall(call) = part { Some(&*call.arguments) } else { None })
            .collect();
        assert_eq!(arguments, ["ac", "b"]);
    }
}
