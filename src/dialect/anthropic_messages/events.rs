//! Writes a streamed answer as the events of `RawMessageStreamEvent`.

use bytes::{BufMut as _, BytesMut};
use penstock_actors::domain::Usage;
use serde::Serialize;

use super::{
    error_body,
    message::{WireUsage, message_id, stop_word},
};
use crate::{
    conversation::{Citation, Delta, StopReason},
    dialect::{AnswerHeader, DeltaWriter, Failure},
};

/// Writes the deltas of one answer.
///
/// `message_start` goes with the first delta that says something. Blocks of texts and thoughts are open one at
/// a time. A tool call's block ends when something else begins; should its arguments go on behind that, they
/// still go to its block, where readers put them together by index.
#[derive(Debug)]
pub(super) struct EventWriter {
    model: String,
    id: String,
    usage: Usage,
    started: Started,
    open: Option<Open>,
    /// Blocks begun so far.
    blocks: u32,
    /// The block of each tool call.
    calls: Vec<u32>,
    /// What explains why there is no answer.
    refusal: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Started {
    No,
    Yes,
}

/// The block that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Tool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text { text: &'static str },
    Thinking { thinking: &'static str, signature: &'static str },
    RedactedThinking { data: &'a str },
    ToolUse { id: &'a str, name: &'a str, input: Empty },
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(tag = "type")]
enum BlockDelta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
    #[serde(rename = "citations_delta")]
    Citations { citation: WebCitation<'a> },
}

/// `CitationsWebSearchResultLocation`: the one kind that has an address.
#[derive(Serialize)]
pub(super) struct WebCitation<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    cited_text: &'a str,
    encrypted_index: &'static str,
    title: Option<&'a str>,
    url: &'a str,
}

impl<'a> From<&'a Citation> for WebCitation<'a> {
    fn from(citation: &'a Citation) -> Self {
        Self {
            kind: "web_search_result_location",
            cited_text: citation.quote.as_deref().unwrap_or_default(),
            encrypted_index: "",
            title: citation.title.as_deref(),
            url: &citation.url,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart { message: StartedMessage<'a> },
    ContentBlockStart { index: u32, content_block: Block<'a> },
    ContentBlockDelta { index: u32, delta: BlockDelta<'a> },
    ContentBlockStop { index: u32 },
    MessageDelta { delta: MessageDelta<'a>, usage: WireUsage },
    MessageStop,
}

#[derive(Serialize)]
struct StartedMessage<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: [(); 0],
    stop_reason: Option<()>,
    stop_sequence: Option<()>,
    usage: WireUsage,
}

#[derive(Serialize)]
struct MessageDelta<'a> {
    stop_reason: &'static str,
    stop_sequence: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<StopDetails<'a>>,
}

/// `RefusalStopDetails`.
#[derive(Serialize)]
pub(super) struct StopDetails<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    category: Option<()>,
    explanation: &'a str,
}

impl<'a> StopDetails<'a> {
    pub(super) fn of(explanation: &'a str) -> Self {
        Self { kind: "refusal", category: None, explanation }
    }
}

impl EventWriter {
    pub(super) fn new(header: &AnswerHeader<'_>) -> Self {
        Self {
            model: header.model.to_owned(),
            id: String::new(),
            usage: Usage::default(),
            started: Started::No,
            open: None,
            blocks: 0,
            calls: Vec::new(),
            refusal: None,
        }
    }

    fn start(&mut self, out: &mut BytesMut) {
        if self.started == Started::Yes {
            return;
        }
        self.started = Started::Yes;
        let message = StartedMessage {
            id: &self.id,
            kind: "message",
            role: "assistant",
            model: &self.model,
            content: [],
            stop_reason: None,
            stop_sequence: None,
            usage: WireUsage::from(&self.usage),
        };
        put("message_start", &Event::MessageStart { message }, out);
    }

    /// Ends the open block and begins another.
    fn begin(&mut self, kind: Open, content_block: Block<'_>, out: &mut BytesMut) -> u32 {
        self.start(out);
        self.close(out);
        let index = self.blocks;
        self.blocks += 1;
        self.open = Some(kind);
        put("content_block_start", &Event::ContentBlockStart { index, content_block }, out);
        index
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            let index = self.blocks.saturating_sub(1);
            put("content_block_stop", &Event::ContentBlockStop { index }, out);
        }
    }

    fn say(&mut self, kind: Open, delta: BlockDelta<'_>, out: &mut BytesMut) {
        if self.open != Some(kind) {
            let block = match kind {
                Open::Thinking => Block::Thinking { thinking: "", signature: "" },
                Open::Text | Open::Tool => Block::Text { text: "" },
            };
            self.begin(kind, block, out);
        }
        let index = self.blocks.saturating_sub(1);
        put("content_block_delta", &Event::ContentBlockDelta { index, delta }, out);
    }

    fn stop(&mut self, reason: &StopReason, out: &mut BytesMut) {
        self.start(out);
        self.close(out);
        let stop_reason = if self.refusal.is_some() { "refusal" } else { stop_word(reason) };
        let stop_details = self.refusal.as_deref().map(StopDetails::of);
        let delta = MessageDelta { stop_reason, stop_sequence: None, stop_details };
        put("message_delta", &Event::MessageDelta { delta, usage: WireUsage::from(&self.usage) }, out);
        put("message_stop", &Event::MessageStop, out);
    }
}

impl DeltaWriter for EventWriter {
    fn write(&mut self, delta: &Delta, out: &mut BytesMut) {
        match delta {
            Delta::Start { id } => self.id = message_id(id),
            Delta::Usage(usage) => self.usage = *usage,
            Delta::Text(text) => self.say(Open::Text, BlockDelta::Text { text }, out),
            Delta::Citation(citation) => {
                self.say(Open::Text, BlockDelta::Citations { citation: citation.into() }, out);
            }
            Delta::Thinking(thinking) => {
                self.say(Open::Thinking, BlockDelta::Thinking { thinking }, out);
            }
            Delta::ThinkingSignature(signature) => {
                self.say(Open::Thinking, BlockDelta::Signature { signature }, out);
                self.close(out);
            }
            Delta::RedactedThinking(data) => {
                self.begin(Open::Thinking, Block::RedactedThinking { data }, out);
                self.close(out);
            }
            Delta::Refusal(text) => {
                self.refusal.get_or_insert_default().push_str(text);
                self.say(Open::Text, BlockDelta::Text { text }, out);
            }
            Delta::ToolCallStart { id, name, .. } => {
                let index = self.begin(Open::Tool, Block::ToolUse { id, name, input: Empty {} }, out);
                self.calls.push(index);
            }
            Delta::ToolCallArguments { index, fragment } => {
                if let Some(&index) = self.calls.get(*index as usize) {
                    let delta = BlockDelta::InputJson { partial_json: fragment };
                    put("content_block_delta", &Event::ContentBlockDelta { index, delta }, out);
                }
            }
            // This dialect has no place for them.
            Delta::Logprobs(_) | Delta::Media { .. } => {}
            Delta::Stop(reason) => self.stop(reason, out),
        }
    }

    fn break_off(&mut self, failure: &Failure, call_id: &str, out: &mut BytesMut) {
        out.put_slice(b"event: error\ndata: ");
        out.put_slice(&error_body(failure, call_id));
        out.put_slice(b"\n\n");
    }
}

fn put(name: &str, event: &Event<'_>, out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    serde_json::to_writer((&mut *out).writer(), event)
        .expect("plain structs of text and numbers are always JSON");
    out.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conversation::Reply,
        dialect::{StreamForm, anthropic_messages::EventReader},
    };

    fn header() -> AnswerHeader<'static> {
        AnswerHeader {
            model: "m",
            created: 7,
            call_id: "c",
            usage_wanted: false,
            form: StreamForm::Events,
            echo: None,
        }
    }

    fn check(deltas: &[Delta]) -> String {
        let mut writer = EventWriter::new(&header());
        let mut out = BytesMut::new();
        writer.write(&Delta::Start { id: "chatcmpl-1".into() }, &mut out);
        for delta in deltas {
            writer.write(delta, &mut out);
        }
        String::from_utf8(out.to_vec()).expect("UTF-8")
    }

    fn all() -> Vec<Delta> {
        let call =
            |index, name: &str| Delta::ToolCallStart { index, id: format!("t{index}"), name: name.into() };
        let arguments = |index, fragment: &str| Delta::ToolCallArguments { index, fragment: fragment.into() };
        vec![
            Delta::Thinking("hm".into()),
            Delta::ThinkingSignature("s".into()),
            Delta::RedactedThinking("r".into()),
            Delta::Text("a".into()),
            Delta::Text("b".into()),
            call(0, "f"),
            arguments(0, "{\"x\""),
            arguments(0, ":1}"),
            call(1, "g"),
            arguments(1, "{}"),
            Delta::Usage(Usage { input: 3, cached_read: 2, output: 5, reasoning: 1, ..Usage::default() }),
            Delta::Stop(StopReason::ToolCalls),
        ]
    }

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let written = check(&all());
        let mut reader = EventReader::default();
        let mut read = Vec::new();
        for frame in written.split_inclusive("\n\n") {
            reader.read(&bytes::Bytes::copy_from_slice(frame.as_bytes()), &mut read).expect("an event");
        }
        let said = |deltas: Vec<Delta>| {
            deltas
                .into_iter()
                .filter(|d| !matches!(d, Delta::Start { .. } | Delta::Usage(_)))
                .collect::<Vec<_>>()
        };
        assert_eq!(said(read.clone()), said(all()));
        assert_eq!(read.first(), Some(&Delta::Start { id: "msg_1".into() }));
        let usage = read.iter().rev().find_map(|d| if let Delta::Usage(u) = d { Some(*u) } else { None });
        assert_eq!(usage.map(|u| (u.input, u.cached_read, u.output, u.reasoning)), Some((3, 2, 5, 1)));
    }

    #[test]
    fn nothing_is_written_before_something_is_said() {
        assert_eq!(check(&[Delta::Usage(Usage::default())]), "");
    }

    #[test]
    fn arguments_that_come_late_go_to_their_own_block() {
        let written = check(&[
            Delta::ToolCallStart { index: 0, id: "a".into(), name: "f".into() },
            Delta::ToolCallStart { index: 1, id: "b".into(), name: "g".into() },
            Delta::ToolCallArguments { index: 0, fragment: "{}".into() },
        ]);
        assert!(written.ends_with(
            "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n\n"
        ), "{written}");
    }

    #[test]
    fn a_whole_answer_and_a_stream_say_the_same_stop_reason() {
        for stop in [StopReason::End, StopReason::Length, StopReason::ToolCalls, StopReason::Refused] {
            let stream = check(&[Delta::Stop(stop.clone())]);
            let reply =
                Reply { id: "1".into(), parts: vec![], logprobs: vec![], stop, usage: Usage::default() };
            let whole = super::super::message::write_message(&reply, &header());
            let whole: serde_json::Value = serde_json::from_slice(&whole).expect("JSON");
            assert!(stream.contains(&format!("\"stop_reason\":{}", whole["stop_reason"])), "{stream}");
        }
    }
}
