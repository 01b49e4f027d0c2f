//! Writes a streamed answer as the events of `ResponseStreamEvent`.

use bytes::{BufMut as _, BytesMut};
use penstock_actors::domain::Usage;
use serde_json::{Value, json};

use super::{
    items::{Annotation, Content, Item, Summary, item_id},
    response::{Frame, REDACTED, Status, image},
};
use crate::{
    conversation::{Delta, StopReason},
    dialect::{AnswerHeader, DeltaWriter, Failure, openai::Likely, proof},
};

/// Writes the deltas of one answer.
///
/// `response.created` goes with the first delta that says something. The dialect repeats each item when it is
/// done, and all of them at the end, so they are kept.
#[derive(Debug)]
pub(super) struct EventWriter {
    frame: Frame,
    number: u64,
    usage: Usage,
    output: Vec<Item>,
    open: Open,
    /// The item of each tool call.
    calls: Vec<usize>,
    likely: Vec<Likely>,
}

/// What goes on: always in the last item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Refusal,
    Reasoning,
    Call,
}

impl EventWriter {
    pub(super) fn new(header: &AnswerHeader<'_>) -> Self {
        Self {
            frame: Frame::new(header),
            number: 0,
            usage: Usage::default(),
            output: Vec::new(),
            open: Open::Nothing,
            calls: Vec::new(),
            likely: Vec::new(),
        }
    }

    fn event(&mut self, name: &str, mut members: Value, out: &mut BytesMut) {
        members["type"] = name.into();
        members["sequence_number"] = self.number.into();
        self.number += 1;
        put(name, &members.to_string(), out);
    }

    fn start(&mut self, out: &mut BytesMut) {
        for name in ["response.created", "response.in_progress"] {
            self.whole(name, Status::InProgress, out);
        }
    }

    /// An event that holds the response.
    fn whole(&mut self, name: &str, status: Status, out: &mut BytesMut) {
        let usage = Some(&self.usage).filter(|_| status != Status::InProgress);
        let response = self.frame.response(status, &self.output, usage);
        let data =
            format!("{{\"type\":\"{name}\",\"sequence_number\":{},\"response\":{response}}}", self.number);
        self.number += 1;
        put(name, &data, out);
    }

    fn last(&self) -> (usize, Value) {
        let at = self.output.len().saturating_sub(1);
        (at, self.output.last().map_or(Value::Null, |item| json!(item)["id"].clone()))
    }

    /// Ends what is open and begins an item.
    fn begin(&mut self, open: Open, item: Item, out: &mut BytesMut) {
        if self.number == 0 {
            self.start(out);
        }
        self.close(out);
        let mut added = json!(item);
        if added.get("status").is_some() {
            added["status"] = "in_progress".into();
        }
        for empty in ["content", "summary"] {
            if added.get(empty).is_some() {
                added[empty] = json!([]);
            }
        }
        let index = self.output.len();
        self.output.push(item);
        self.open = open;
        self.event("response.output_item.added", json!({ "output_index": index, "item": added }), out);
    }

    /// Opens a part of a message, in the last item if that is a message.
    fn open_part(&mut self, open: Open, out: &mut BytesMut) {
        if self.open == open {
            return;
        }
        let content = match open {
            Open::Refusal => Content::Refusal { refusal: String::new() },
            _ => Content::OutputText { text: String::new(), annotations: Vec::new(), logprobs: Vec::new() },
        };
        if matches!(self.open, Open::Text | Open::Refusal) {
            self.close_part(out);
        } else {
            let id = self.id("msg");
            let item = Item::Message { id, role: "assistant", status: "completed", content: Vec::new() };
            self.begin(open, item, out);
        }
        self.open = open;
        let part = json!(content);
        let mut at = 0;
        if let Some(Item::Message { content: all, .. }) = self.output.last_mut() {
            at = all.len();
            all.push(content);
        }
        let (index, id) = self.last();
        let members = json!({ "item_id": id, "output_index": index, "content_index": at, "part": part });
        self.event("response.content_part.added", members, out);
    }

    fn id(&self, letters: &str) -> String {
        item_id(letters, self.frame.id.trim_start_matches("resp_"), self.output.len())
    }

    /// Where the open part of the last item stands.
    fn place(&self) -> Value {
        let (index, id) = self.last();
        let at = match self.output.last() {
            Some(Item::Message { content, .. }) => content.len().saturating_sub(1),
            _ => 0,
        };
        json!({ "item_id": id, "output_index": index, "content_index": at })
    }

    fn close_part(&mut self, out: &mut BytesMut) {
        let likely = std::mem::take(&mut self.likely);
        let Some(Item::Message { content, .. }) = self.output.last_mut() else { return };
        let Some(part) = content.last_mut() else { return };
        let (name, key, said) = match part {
            Content::OutputText { text, logprobs, .. } => {
                *logprobs = likely;
                ("response.output_text.done", "text", text.clone())
            }
            Content::Refusal { refusal } => ("response.refusal.done", "refusal", refusal.clone()),
        };
        let part = json!(part);
        let mut done = self.place();
        done[key] = said.into();
        if key == "text" {
            done["logprobs"] = part["logprobs"].clone();
        }
        self.event(name, done, out);
        let mut done = self.place();
        done["part"] = part;
        self.event("response.content_part.done", done, out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => return,
            Open::Text | Open::Refusal => self.close_part(out),
            Open::Reasoning => self.close_summary(out),
            Open::Call => {
                if let Some(Item::FunctionCall { arguments, .. }) = self.output.last_mut() {
                    if arguments.is_empty() {
                        arguments.push_str("{}");
                    }
                    let arguments = arguments.clone();
                    let (index, id) = self.last();
                    let members = json!({ "item_id": id, "output_index": index, "arguments": arguments });
                    self.event("response.function_call_arguments.done", members, out);
                }
            }
        }
        let index = self.output.len().saturating_sub(1);
        let item = json!(self.output.last());
        self.event("response.output_item.done", json!({ "output_index": index, "item": item }), out);
    }

    fn close_summary(&mut self, out: &mut BytesMut) {
        let Some(Item::Reasoning { summary, .. }) = self.output.last() else { return };
        let Some(Summary::SummaryText { text }) = summary.last() else { return };
        let text = text.clone();
        let (index, id) = self.last();
        let place = json!({ "item_id": id, "output_index": index, "summary_index": 0 });
        let mut done = place.clone();
        done["text"] = text.clone().into();
        self.event("response.reasoning_summary_text.done", done, out);
        let mut done = place;
        done["part"] = json!({ "type": "summary_text", "text": text });
        self.event("response.reasoning_summary_part.done", done, out);
    }

    fn thinking(&mut self, more: &str, out: &mut BytesMut) {
        if self.open != Open::Reasoning {
            self.reasoning(None, out);
        }
        let (index, id) = self.last();
        let place = json!({ "item_id": id, "output_index": index, "summary_index": 0 });
        let mut begins = false;
        if let Some(Item::Reasoning { summary, .. }) = self.output.last_mut() {
            match summary.last_mut() {
                Some(Summary::SummaryText { text }) => text.push_str(more),
                None => {
                    begins = true;
                    summary.push(Summary::SummaryText { text: more.to_owned() });
                }
            }
        }
        if begins {
            let mut added = place.clone();
            added["part"] = json!({ "type": "summary_text", "text": "" });
            self.event("response.reasoning_summary_part.added", added, out);
        }
        let mut delta = place;
        delta["delta"] = more.into();
        self.event("response.reasoning_summary_text.delta", delta, out);
    }

    fn reasoning(&mut self, encrypted_content: Option<String>, out: &mut BytesMut) {
        let item = Item::Reasoning {
            id: self.id("rs"),
            summary: Vec::new(),
            encrypted_content,
            status: "completed",
        };
        self.begin(Open::Reasoning, item, out);
    }

    fn stop(&mut self, reason: &StopReason, out: &mut BytesMut) {
        if self.number == 0 {
            self.start(out);
        }
        self.close(out);
        let status = Status::of(reason);
        let name = match status {
            Status::Incomplete(_) => "response.incomplete",
            Status::InProgress | Status::Completed => "response.completed",
        };
        self.whole(name, status, out);
    }
}

fn put(name: &str, data: &str, out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    out.put_slice(data.as_bytes());
    out.put_slice(b"\n\n");
}

impl DeltaWriter for EventWriter {
    fn write(&mut self, delta: &Delta, out: &mut BytesMut) {
        match delta {
            // The id is ours.
            Delta::Start { .. } => {}
            Delta::Usage(usage) => self.usage = *usage,
            Delta::Text(more) => {
                self.open_part(Open::Text, out);
                if let Some(Item::Message { content, .. }) = self.output.last_mut()
                    && let Some(Content::OutputText { text, .. }) = content.last_mut()
                {
                    text.push_str(more);
                }
                let mut members = self.place();
                members["delta"] = more.as_str().into();
                members["logprobs"] = json!([]);
                self.event("response.output_text.delta", members, out);
            }
            Delta::Refusal(more) => {
                self.open_part(Open::Refusal, out);
                if let Some(Item::Message { content, .. }) = self.output.last_mut()
                    && let Some(Content::Refusal { refusal }) = content.last_mut()
                {
                    refusal.push_str(more);
                }
                let mut members = self.place();
                members["delta"] = more.as_str().into();
                self.event("response.refusal.delta", members, out);
            }
            Delta::Citation(citation) => {
                self.open_part(Open::Text, out);
                let annotation = Annotation::from(citation);
                let mut members = self.place();
                members["annotation"] = json!(annotation);
                if let Some(Item::Message { content, .. }) = self.output.last_mut()
                    && let Some(Content::OutputText { annotations, .. }) = content.last_mut()
                {
                    members["annotation_index"] = annotations.len().into();
                    annotations.push(annotation);
                }
                self.event("response.output_text.annotation.added", members, out);
            }
            Delta::Logprobs(likely) => self.likely.extend(likely.iter().map(Likely::from)),
            Delta::Media { media_type, data } => {
                let item = image(self.id("ig"), media_type, data.clone());
                self.begin(Open::Nothing, item, out);
                let index = self.output.len().saturating_sub(1);
                let item = json!(self.output.last());
                self.event("response.output_item.done", json!({ "output_index": index, "item": item }), out);
            }
            Delta::Thinking(more) => self.thinking(more, out),
            Delta::ThinkingSignature(signature) => {
                if self.open != Open::Reasoning {
                    self.reasoning(None, out);
                }
                if let Some(Item::Reasoning { encrypted_content, .. }) = self.output.last_mut() {
                    *encrypted_content = Some(signature.clone());
                }
                self.close(out);
            }
            Delta::RedactedThinking(data) => {
                self.reasoning(Some(proof::mark(REDACTED, data)), out);
                self.close(out);
            }
            Delta::ToolCallStart { id, name, .. } => {
                let item = Item::FunctionCall {
                    id: self.id("fc"),
                    call_id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                    status: "completed",
                };
                self.begin(Open::Call, item, out);
                self.calls.push(self.output.len() - 1);
            }
            Delta::ToolCallArguments { index, fragment } => {
                let Some(&at) = self.calls.get(*index as usize) else { return };
                let Some(Item::FunctionCall { id, arguments, .. }) = self.output.get_mut(at) else { return };
                arguments.push_str(fragment);
                let members = json!({ "item_id": id, "output_index": at, "delta": fragment });
                self.event("response.function_call_arguments.delta", members, out);
            }
            Delta::Stop(reason) => self.stop(reason, out),
        }
    }

    fn break_off(&mut self, failure: &Failure, call_id: &str, out: &mut BytesMut) {
        if self.number == 0 {
            self.start(out);
        }
        let members = json!({
            "code": failure.code,
            "message": format!("{} (request id: {call_id})", failure.message),
            "param": failure.param,
        });
        self.event("error", members, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{
        StreamForm,
        openai_responses::deltas::EventReader,
        upstream::{DeltaReader as _, SseReader},
    };

    fn write(deltas: &[Delta]) -> String {
        let header = AnswerHeader {
            model: "m",
            created: 7,
            call_id: "c-1",
            usage_wanted: true,
            form: StreamForm::Events,
            echo: None,
        };
        let mut writer = EventWriter::new(&header);
        let mut out = BytesMut::new();
        for delta in deltas {
            writer.write(delta, &mut out);
        }
        String::from_utf8(out.to_vec()).expect("UTF-8")
    }

    fn all() -> Vec<Delta> {
        let call = |index: u32| Delta::ToolCallStart { index, id: format!("t{index}"), name: "f".into() };
        let arguments = |index, fragment: &str| Delta::ToolCallArguments { index, fragment: fragment.into() };
        vec![
            Delta::Thinking("hm".into()),
            Delta::Text("a".into()),
            Delta::Text("b".into()),
            Delta::Refusal("no".into()),
            call(0),
            arguments(0, "{\"x\""),
            arguments(0, ":1}"),
            call(1),
            arguments(1, "{}"),
            Delta::Usage(Usage { input: 3, cached_read: 2, output: 5, reasoning: 1, ..Usage::default() }),
            Delta::Stop(StopReason::ToolCalls),
        ]
    }

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let written = write(&all());
        let mut reader = SseReader::new(EventReader::default(), 1 << 20);
        let mut read = Vec::new();
        reader.push(written.into(), &mut read).expect("events");
        assert_eq!(read.remove(0), Delta::Start { id: "c1".into() });
        assert_eq!(read, all());
    }

    #[test]
    fn numbers_rise_by_one_and_the_last_event_holds_everything() {
        let written = write(&all());
        let events: Vec<Value> = written
            .split_terminator("\n\n")
            .map(|event| serde_json::from_str(event.split_once("\ndata: ").expect("data").1).expect("JSON"))
            .collect();
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], n as u64, "{event}");
        }
        assert_eq!(events[0]["response"]["output"], json!([]), "nothing was said when it began");
        let last = &events[events.len() - 1];
        assert_eq!(last["type"], "response.completed");
        let kinds: Vec<_> = last["response"]["output"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["type"].clone())
            .collect();
        assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
        assert_eq!(last["response"]["usage"]["input_tokens"], 5);
    }

    #[test]
    fn nothing_is_written_before_something_is_said() {
        assert_eq!(write(&[Delta::Start { id: "x".into() }, Delta::Usage(Usage::default())]), "");
    }
}
