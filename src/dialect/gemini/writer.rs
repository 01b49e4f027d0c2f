//! Writes a streamed answer as chunks of `GenerateContentResponse`: events, or elements of an array.

use bytes::{BufMut as _, BytesMut};
use penstock_actors::domain::Usage;

use super::{
    answer::{Candidate, Content, Inline, Response, WirePart, WireUsage, grounding, logprobs},
    error::error_body,
    finish_reason,
    offsets::Offsets,
};
use crate::{
    conversation::{Delta, StopReason},
    dialect::{AnswerHeader, DeltaWriter, Failure, StreamForm},
};

/// Writes the deltas of one answer. A call goes out once its arguments are whole: the dialect has no pieces of
/// them. The last chunk has the finish reason and the usage.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    model: String,
    id: String,
    form: StreamForm,
    elements: u64,
    usage: Usage,
    /// A proof that waits for the part it belongs to.
    proof: Option<String>,
    /// Calls that are not out yet: index, id, name, arguments.
    calls: Vec<(u32, String, String, String)>,
    refusal: Option<String>,
    offsets: Offsets,
}

impl ChunkWriter {
    pub(super) fn new(header: &AnswerHeader<'_>) -> Self {
        Self {
            model: header.model.to_owned(),
            id: String::new(),
            form: header.form,
            elements: 0,
            usage: Usage::default(),
            proof: None,
            calls: Vec::new(),
            refusal: None,
            offsets: Offsets::default(),
        }
    }

    fn part(&mut self, part: WirePart<'_>, out: &mut BytesMut) {
        let part = part.proven(self.proof.take().as_deref());
        self.candidate(of_parts(vec![part]), None, out);
    }

    fn candidate(&mut self, candidate: Candidate<'_>, usage: Option<WireUsage>, out: &mut BytesMut) {
        self.open(out);
        let response = Response {
            candidates: [candidate],
            usage_metadata: usage,
            model_version: &self.model,
            response_id: &self.id,
        };
        serde_json::to_writer((&mut *out).writer(), &response)
            .expect("plain structs of text, numbers and JSON");
        if self.form == StreamForm::Events {
            out.put_slice(b"\r\n\r\n");
        }
    }

    /// What stands before a chunk.
    fn open(&mut self, out: &mut BytesMut) {
        out.put_slice(match (self.form, self.elements) {
            (StreamForm::Events, _) => b"data: ",
            (StreamForm::Array, 0) => b"[",
            (StreamForm::Array, _) => b",\r\n",
        });
        self.elements += 1;
    }

    /// Sends the calls that are whole.
    fn flush(&mut self, out: &mut BytesMut) {
        for (_, id, name, arguments) in std::mem::take(&mut self.calls) {
            self.part(WirePart::call(&id, &name, &arguments), out);
        }
    }

    fn stop(&mut self, reason: &StopReason, out: &mut BytesMut) {
        self.flush(out);
        let part = WirePart::text("").proven(self.proof.take().as_deref());
        let reason = if self.refusal.is_some() { &StopReason::Refused } else { reason };
        let candidate = Candidate {
            finish_reason: Some(finish_reason(reason)),
            finish_message: self.refusal.take(),
            ..of_parts(vec![part])
        };
        let usage = WireUsage::from(&self.usage);
        self.candidate(candidate, Some(usage), out);
        if self.form == StreamForm::Array {
            out.put_slice(b"]");
        }
    }
}

fn of_parts(parts: Vec<WirePart<'_>>) -> Candidate<'_> {
    let mut content = Content::default();
    content.parts = parts;
    Candidate { content, ..Candidate::default() }
}

impl DeltaWriter for ChunkWriter {
    fn write(&mut self, delta: &Delta, out: &mut BytesMut) {
        match delta {
            Delta::Start { id } => self.id.clone_from(id),
            Delta::Usage(usage) => self.usage = *usage,
            Delta::ThinkingSignature(proof) => self.proof = Some(proof.clone()),
            // Another provider's secret has no place here.
            Delta::RedactedThinking(_) => {}
            Delta::Refusal(text) => self.refusal.get_or_insert_default().push_str(text),
            Delta::Text(text) => {
                self.flush(out);
                self.offsets.push(text);
                self.part(WirePart::text(text), out);
            }
            // A proof belongs to what the model does next, not to a thought.
            Delta::Thinking(text) => self.candidate(of_parts(vec![WirePart::thought(text)]), None, out),
            Delta::Citation(citation) => {
                let all = std::slice::from_ref(citation);
                let grounding_metadata = grounding(all, &self.offsets);
                let candidate = Candidate { grounding_metadata, ..of_parts(vec![WirePart::text("")]) };
                self.candidate(candidate, None, out);
            }
            Delta::Logprobs(likely) => {
                let candidate =
                    Candidate { logprobs_result: logprobs(likely), ..of_parts(vec![WirePart::text("")]) };
                self.candidate(candidate, None, out);
            }
            Delta::Media { media_type, data } => {
                let inline_data = Some(Inline { mime_type: media_type, data });
                self.part(WirePart { inline_data, ..WirePart::default() }, out);
            }
            Delta::ToolCallStart { index, id, name } => {
                self.calls.push((*index, id.clone(), name.clone(), String::new()));
            }
            Delta::ToolCallArguments { index, fragment } => {
                if let Some((.., arguments)) = self.calls.iter_mut().find(|(at, ..)| at == index) {
                    arguments.push_str(fragment);
                }
            }
            Delta::Stop(reason) => self.stop(reason, out),
        }
    }

    fn break_off(&mut self, failure: &Failure, call_id: &str, out: &mut BytesMut) {
        self.open(out);
        out.put_slice(&error_body(failure, call_id));
        out.put_slice(if self.form == StreamForm::Events { b"\r\n\r\n" } else { b"]" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::gemini::{answer::write_answer, deltas::read_reply};

    fn write(form: StreamForm, deltas: &[Delta]) -> String {
        let header =
            AnswerHeader { model: "m", created: 7, call_id: "c", usage_wanted: true, form, echo: None };
        let mut writer = ChunkWriter::new(&header);
        let mut out = BytesMut::new();
        for delta in deltas {
            writer.write(delta, &mut out);
        }
        String::from_utf8(out.to_vec()).expect("UTF-8")
    }

    fn all() -> Vec<Delta> {
        let arguments = |index, fragment: &str| Delta::ToolCallArguments { index, fragment: fragment.into() };
        vec![
            Delta::Start { id: "r".into() },
            Delta::Thinking("hm".into()),
            Delta::ThinkingSignature("sig".into()),
            Delta::Text("a".into()),
            Delta::ToolCallStart { index: 0, id: "t0".into(), name: "f".into() },
            arguments(0, "{\"x\""),
            arguments(0, ":1.50}"),
            Delta::ToolCallStart { index: 1, id: "t1".into(), name: "g".into() },
            Delta::Usage(Usage { input: 3, cached_read: 1, output: 2, reasoning: 5, ..Usage::default() }),
            Delta::Stop(StopReason::ToolCalls),
        ]
    }

    #[test]
    fn an_array_is_json_with_the_same_chunks_as_the_events() {
        let array: Vec<serde_json::Value> =
            serde_json::from_str(&write(StreamForm::Array, &all())).expect("an array");
        let events = write(StreamForm::Events, &all());
        let events: Vec<serde_json::Value> = events
            .split_terminator("\r\n\r\n")
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("JSON"))
            .collect();
        assert_eq!(array, events);
        assert_eq!(array.len(), 5);
        assert_eq!(array[1]["candidates"][0]["content"]["parts"][0]["thoughtSignature"], "c2ln");
        assert_eq!(array[2]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"]["x"], 1.5);
        assert_eq!(array[4]["candidates"][0]["finishReason"], "STOP");
        assert_eq!(array[4]["usageMetadata"]["promptTokenCount"], 4);
        assert_eq!(array[4]["usageMetadata"]["thoughtsTokenCount"], 5);
    }

    #[test]
    fn a_whole_answer_is_read_back_as_it_was() {
        let body = br#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true},{"text":"a"},{"functionCall":{"id":"t","name":"f","args":{"z":1.50}}}],"role":"model"},"finishReason":"STOP","logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-0.5}],"topCandidates":[{"candidates":[{"token":"b","logProbability":-1.5}]}]},"index":0}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":22,"cachedContentTokenCount":4,"thoughtsTokenCount":7},"modelVersion":"m","responseId":"r"}"#;
        let reply = read_reply(body).expect("an answer");
        let header = AnswerHeader {
            model: "m",
            created: 7,
            call_id: "c",
            usage_wanted: true,
            form: StreamForm::Events,
            echo: None,
        };
        assert_eq!(std::str::from_utf8(&write_answer(&reply, &header)), std::str::from_utf8(body));
    }
}
