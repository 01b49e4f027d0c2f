//! Writes a streamed answer as `chat.completion.chunk` events.

use std::fmt::Write as _;

use bytes::{BufMut as _, BytesMut};
use penstock_actors::domain::Usage;
use serde::Serialize;

use super::{
    AnswerHeader, CompletionUsage, answer_id,
    attached::{Annotation, Likelihoods, Picture},
    finish_reason,
};
use crate::{
    conversation::{Delta, Logprob, StopReason},
    dialect::{DeltaWriter, Dialect, Failure},
};

/// Writes the deltas of one answer as server-sent events.
///
/// The role goes with the first delta that says something, so nothing is written for a stream that
/// says nothing. Only [`Delta::Stop`] writes a finish reason, the usage chunk and `[DONE]`.
#[derive(Debug)]
pub struct ChunkWriter {
    /// `{"id":..,"object":..,"created":..,"model":..,"choices":[`, made once the id is known.
    head: String,
    model: String,
    created: u64,
    usage_wanted: UsageChunk,
    usage: Usage,
    role: Role,
    signed: Signed,
    /// Characters of the text so far.
    characters: u64,
    pictures: u32,
}

/// Whether the client asked for usage in the stream (`stream_options.include_usage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UsageChunk {
    /// It did: a last chunk without choices has it, and all others say `"usage":null`.
    Wanted,
    /// It did not: no chunk mentions it.
    Unwanted,
}

#[derive(Debug, PartialEq, Eq)]
enum Role {
    Unsaid,
    Said,
}

/// What proves the reasoning. It is given at the end, and only where there was one block: the
/// blocks' texts are joined for the client, and no joined text matches a signature.
#[derive(Debug)]
enum Signed {
    Nothing,
    Once(Proof),
    Often,
}

#[derive(Debug)]
enum Proof {
    Signature(String),
    Redacted(String),
}

/// A chunk's `delta`.
#[derive(Default, Serialize)]
struct ChunkDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// Outer: whether it is written; inner: null, in the first delta of an answer that has no text yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content_signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted_reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<[Annotation<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<[Picture; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCallDelta<'a>; 1]>,
}

#[derive(Serialize)]
struct ToolCallDelta<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl ChunkWriter {
    /// Makes the writer of one answer.
    pub fn new(header: &AnswerHeader<'_>) -> Self {
        Self {
            head: String::new(),
            model: header.model.to_owned(),
            created: header.created,
            usage_wanted: if header.usage_wanted { UsageChunk::Wanted } else { UsageChunk::Unwanted },
            usage: Usage::default(),
            role: Role::Unsaid,
            signed: Signed::Nothing,
            characters: 0,
            pictures: 0,
        }
    }

    fn start(&mut self, id: &str) {
        self.head = format!(
            r#"{{"id":{},"object":"chat.completion.chunk","created":{},"model":{},"choices":["#,
            quoted(&answer_id(id)),
            self.created,
            quoted(&self.model)
        );
    }

    fn prove(&mut self, proof: Proof) {
        self.signed = match self.signed {
            Signed::Nothing => Signed::Once(proof),
            Signed::Once(_) | Signed::Often => Signed::Often,
        };
    }

    fn stop(&mut self, reason: &StopReason, out: &mut BytesMut) {
        match std::mem::replace(&mut self.signed, Signed::Often) {
            Signed::Once(Proof::Signature(text)) => {
                let delta = ChunkDelta { reasoning_content_signature: Some(&text), ..Default::default() };
                self.chunk(delta, None, out);
            }
            Signed::Once(Proof::Redacted(data)) => {
                let delta = ChunkDelta { redacted_reasoning_content: Some(&data), ..Default::default() };
                self.chunk(delta, None, out);
            }
            Signed::Nothing | Signed::Often => {}
        }
        self.chunk(ChunkDelta::default(), Some(finish_reason(reason)), out);
        if self.usage_wanted == UsageChunk::Wanted {
            out.put_slice(b"data: ");
            out.put_slice(self.head.as_bytes());
            out.put_slice(b"],\"usage\":");
            put_json(&CompletionUsage::from(&self.usage), out);
            out.put_slice(b"}\n\n");
        }
        out.put_slice(b"data: [DONE]\n\n");
    }

    fn chunk(&mut self, delta: ChunkDelta<'_>, finish: Option<&str>, out: &mut BytesMut) {
        self.choice(delta, &[], finish, out);
    }

    fn choice(
        &mut self,
        mut delta: ChunkDelta<'_>,
        likely: &[Logprob],
        finish: Option<&str>,
        out: &mut BytesMut,
    ) {
        if self.role == Role::Unsaid {
            self.role = Role::Said;
            delta.role = Some("assistant");
            // An answer that ends without a word has said the empty text.
            delta.content.get_or_insert(if finish.is_some() { Some("") } else { None });
        }
        out.put_slice(b"data: ");
        out.put_slice(self.head.as_bytes());
        out.put_slice(b"{\"index\":0,\"delta\":");
        put_json(&delta, out);
        out.put_slice(b",\"logprobs\":");
        match Likelihoods::of(likely) {
            Some(likelihoods) => put_json(&likelihoods, out),
            None => out.put_slice(b"null"),
        }
        let mut tail = String::from(",\"finish_reason\":");
        match finish {
            // Writing to a string cannot fail.
            Some(reason) => _ = write!(tail, "\"{reason}\""),
            None => tail.push_str("null"),
        }
        tail.push_str("}]");
        if self.usage_wanted == UsageChunk::Wanted {
            tail.push_str(",\"usage\":null");
        }
        tail.push_str("}\n\n");
        out.put_slice(tail.as_bytes());
    }
}

impl DeltaWriter for ChunkWriter {
    fn write(&mut self, delta: &Delta, out: &mut BytesMut) {
        let chunk = match delta {
            Delta::Start { id } => return self.start(id),
            Delta::Usage(usage) => return self.usage = *usage,
            Delta::ThinkingSignature(text) => return self.prove(Proof::Signature(text.clone())),
            Delta::RedactedThinking(data) => return self.prove(Proof::Redacted(data.clone())),
            Delta::Stop(reason) => return self.stop(reason, out),
            Delta::Text(text) => {
                self.characters += text.chars().count() as u64;
                ChunkDelta { content: Some(Some(text)), ..Default::default() }
            }
            Delta::Thinking(text) => ChunkDelta { reasoning_content: Some(text), ..Default::default() },
            Delta::Citation(citation) => {
                let annotation = Annotation::of(citation, 0, self.characters);
                ChunkDelta { annotations: Some([annotation]), ..Default::default() }
            }
            Delta::Logprobs(likely) => {
                let delta = ChunkDelta { content: Some(Some("")), ..Default::default() };
                return self.choice(delta, likely, None, out);
            }
            Delta::Media { media_type, data } => {
                let picture = Picture::of(self.pictures, media_type, data);
                self.pictures += 1;
                ChunkDelta { images: Some([picture]), ..Default::default() }
            }
            Delta::Refusal(text) => ChunkDelta { refusal: Some(text), ..Default::default() },
            Delta::ToolCallStart { index, id, name } => ChunkDelta {
                tool_calls: Some([ToolCallDelta {
                    index: *index,
                    id: Some(id),
                    kind: Some("function"),
                    function: FunctionDelta { name: Some(name), arguments: "" },
                }]),
                ..Default::default()
            },
            Delta::ToolCallArguments { index, fragment } => ChunkDelta {
                tool_calls: Some([ToolCallDelta {
                    index: *index,
                    id: None,
                    kind: None,
                    function: FunctionDelta { name: None, arguments: fragment },
                }]),
                ..Default::default()
            },
        };
        self.chunk(chunk, None, out);
    }

    fn break_off(&mut self, failure: &Failure, call_id: &str, out: &mut BytesMut) {
        out.put_slice(&Dialect::OpenAi.error_event(failure, call_id));
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn put_json(value: &impl Serialize, out: &mut BytesMut) {
    serde_json::to_writer(out.writer(), value).expect("plain structs of text and numbers are always JSON");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conversation::{Alternative, Citation},
        dialect::StreamForm,
    };

    fn check(usage: UsageChunk, deltas: &[Delta]) -> String {
        let mut writer = ChunkWriter::new(&AnswerHeader {
            model: "m\"x",
            created: 7,
            call_id: "c",
            usage_wanted: usage == UsageChunk::Wanted,
            form: StreamForm::Events,
            echo: None,
        });
        let mut out = BytesMut::new();
        writer.write(&Delta::Start { id: "1".into() }, &mut out);
        for delta in deltas {
            writer.write(delta, &mut out);
        }
        String::from_utf8(out.to_vec()).expect("UTF-8")
    }

    #[test]
    fn an_answer_without_content_still_has_role_finish_and_usage() {
        let usage = Usage::of([1, 2, 3, 4, 5, 6, 0, 0, 0, 0]);
        let head = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m\"x","choices":["#;
        assert_eq!(
            check(UsageChunk::Wanted, &[Delta::Usage(usage), Delta::Stop(StopReason::End)]),
            format!(
                "{head}{}\n\n{head}{}\n\ndata: [DONE]\n\n",
                r#"{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":"stop"}],"usage":null}"#,
                r#"],"usage":{"prompt_tokens":10,"completion_tokens":11,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":2,"cache_write_tokens":7},"completion_tokens_details":{"reasoning_tokens":6}}}"#,
            )
        );
    }

    #[test]
    fn nothing_is_written_before_something_is_said() {
        assert_eq!(check(UsageChunk::Wanted, &[Delta::Usage(Usage::default())]), "");
    }

    #[test]
    fn sources_likelihoods_and_pictures_have_chunks_of_their_own() {
        let cited = |place| {
            Delta::Citation(Citation { url: "https://x".into(), title: Some("t".into()), quote: None, place })
        };
        let likely = Logprob { chosen: Alternative { token: "é".into(), logprob: -0.5 }, top: Vec::new() };
        let picture = Delta::Media { media_type: "image/png".into(), data: "QQ==".into() };
        for (delta, wanted) in [
            (
                cited(Some((1, 2))),
                r#""delta":{"annotations":[{"type":"url_citation","url_citation":{"end_index":2,"start_index":1,"title":"t","url":"https://x"}}]},"#,
            ),
            (cited(None), r#"{"end_index":3,"start_index":0,"title":"t","url":"https://x"}"#),
            (
                Delta::Logprobs(vec![likely]),
                r#""delta":{"content":""},"logprobs":{"content":[{"token":"é","bytes":[195,169],"logprob":-0.5,"top_logprobs":[]}],"refusal":null},"finish_reason":null"#,
            ),
            (
                picture,
                r#""delta":{"images":[{"type":"image_url","index":0,"image_url":{"url":"data:image/png;base64,QQ=="}}]}"#,
            ),
        ] {
            let all = check(UsageChunk::Unwanted, &[Delta::Text("één".into()), delta]);
            assert!(all.contains(wanted), "{all}");
        }
    }

    #[test]
    fn usage_is_not_mentioned_where_nobody_asked() {
        let all = check(UsageChunk::Unwanted, &[Delta::Text("a".into()), Delta::Stop(StopReason::Length)]);
        assert!(!all.contains("usage"), "{all}");
        assert!(all.contains(r#""finish_reason":"length""#), "{all}");
    }

    #[test]
    fn a_signature_is_given_only_where_one_block_was_shown() {
        let signed = |text: &str| Delta::ThinkingSignature(text.into());
        let stop = Delta::Stop(StopReason::End);
        let once = check(UsageChunk::Unwanted, &[Delta::Thinking("a".into()), signed("s"), stop.clone()]);
        assert!(once.contains(r#""reasoning_content_signature":"s""#), "{once}");
        let twice = check(UsageChunk::Unwanted, &[signed("s"), Delta::RedactedThinking("r".into()), stop]);
        assert!(!twice.contains("signature") && !twice.contains("redacted"), "{twice}");
    }
}
