//! Whole answers: `Response` of the official SDKs, written and read.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    NAME, WireUsage,
    items::{Annotation, Content, Item, Summary, item_id},
};
use crate::{
    conversation::{Alternative, Citation, Logprob, Part, Reply, Source, StopReason, ToolCall},
    dialect::{
        AnswerHeader, ReadError,
        openai::{self, Likely},
        proof,
    },
};

/// The id of the response that answers a call. It is ours, since whoever asks for it later asks us.
pub(super) fn response_id(call_id: &str) -> String {
    format!("resp_{}", call_id.replace('-', ""))
}

/// How an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    /// Why it is not complete.
    Incomplete(&'static str),
}

impl Status {
    pub(super) fn of(stop: &StopReason) -> Self {
        match stop {
            StopReason::Length | StopReason::Paused => Self::Incomplete("max_output_tokens"),
            StopReason::Refused => Self::Incomplete("content_filter"),
            StopReason::End | StopReason::StopSequence | StopReason::ToolCalls | StopReason::Other(_) => {
                Self::Completed
            }
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
        }
    }
}

/// What a response says of itself, beside its output.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) id: String,
    created: u64,
    model: String,
    echo: String,
}

impl Frame {
    pub(super) fn new(header: &AnswerHeader<'_>) -> Self {
        let echo = header.echo.and_then(|members| std::str::from_utf8(members).ok()).unwrap_or_default();
        Self {
            id: response_id(header.call_id),
            created: header.created,
            model: header.model.to_owned(),
            echo: echo.to_owned(),
        }
    }

    /// The response as it stands.
    pub(super) fn response(&self, status: Status, output: &[Item], usage: Option<&Usage>) -> String {
        let json = |value: &str| serde_json::Value::from(value).to_string();
        let incomplete = match status {
            Status::Incomplete(reason) => format!("{{\"reason\":{}}}", json(reason)),
            Status::InProgress | Status::Completed => "null".to_owned(),
        };
        let output = serde_json::to_string(output).expect("plain structs of text and numbers");
        let usage = usage.map_or("null".to_owned(), |usage| {
            serde_json::to_string(&WireUsage::from(usage)).expect("plain numbers")
        });
        format!(
            "{{\"id\":{},\"object\":\"response\",\"created_at\":{},\"status\":\"{}\",\"error\":null,\"incomplete_details\":{incomplete},{}\"model\":{},\"output\":{output},\"usage\":{usage}}}",
            json(&self.id),
            self.created,
            status.word(),
            self.echo,
            json(&self.model),
        )
    }
}

/// Writes a whole answer.
pub(super) fn write_response(reply: &Reply, header: &AnswerHeader<'_>) -> Bytes {
    let frame = Frame::new(header);
    let mut output: Vec<Item> = Vec::new();
    let bare = frame.id.trim_start_matches("resp_").to_owned();
    for part in &reply.parts {
        let number = output.len();
        let id = |letters: &str| item_id(letters, &bare, number);
        let item = match part {
            Part::Text { text, .. } if text.is_empty() => continue,
            Part::Text { text, citations, .. } => {
                let annotations = citations.iter().map(Annotation::from).collect();
                let logprobs = reply.logprobs.iter().map(Likely::from).collect();
                let content = Content::OutputText { text: text.clone(), annotations, logprobs };
                match output.last_mut() {
                    Some(Item::Message { content: said, .. }) => {
                        said.push(content);
                        continue;
                    }
                    _ => message(id("msg"), content),
                }
            }
            Part::Refusal(text) => {
                let content = Content::Refusal { refusal: text.clone() };
                match output.last_mut() {
                    Some(Item::Message { content: said, .. }) => {
                        said.push(content);
                        continue;
                    }
                    _ => message(id("msg"), content),
                }
            }
            Part::Thinking { text, signature } => Item::Reasoning {
                id: id("rs"),
                summary: if text.is_empty() {
                    Vec::new()
                } else {
                    vec![Summary::SummaryText { text: text.clone() }]
                },
                encrypted_content: signature.clone(),
                status: "completed",
            },
            Part::RedactedThinking { data } => Item::Reasoning {
                id: id("rs"),
                summary: Vec::new(),
                encrypted_content: Some(proof::mark(REDACTED, data)),
                status: "completed",
            },
            Part::ToolCall(call) => Item::FunctionCall {
                id: id("fc"),
                call_id: call.id.clone(),
                name: call.name.clone(),
                arguments: if call.arguments.is_empty() { "{}".to_owned() } else { call.arguments.clone() },
                status: "completed",
            },
            Part::Image { source: Source::Base64 { media_type, data }, .. } => {
                image(id("ig"), media_type, data.clone())
            }
            Part::Image { .. } | Part::File { .. } | Part::Audio { .. } | Part::ToolResult { .. } => continue,
        };
        output.push(item);
    }
    frame.response(Status::of(&reply.stop), &output, Some(&reply.usage)).into()
}

/// Marks encrypted thoughts among proofs.
pub(super) const REDACTED: &str = "redacted";

fn message(id: String, content: Content) -> Item {
    Item::Message { id, role: "assistant", status: "completed", content: vec![content] }
}

pub(super) fn image(id: String, media_type: &str, result: String) -> Item {
    let output_format = media_type.trim_start_matches("image/").to_owned();
    Item::ImageGenerationCall { id, status: "completed", result, output_format }
}

#[derive(Deserialize)]
struct Response<'a> {
    id: Option<String>,
    status: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    incomplete_details: Option<Incomplete>,
    #[serde(borrow)]
    output: Option<Vec<&'a RawValue>>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

/// An output item of any type.
#[derive(Deserialize)]
pub(super) struct ItemRead {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    summary: Vec<TextRead>,
    content: Option<Vec<ContentRead>>,
    pub(super) encrypted_content: Option<String>,
    pub(super) call_id: Option<String>,
    pub(super) name: Option<String>,
    arguments: Option<String>,
    pub(super) result: Option<String>,
    pub(super) output_format: Option<String>,
}

#[derive(Deserialize)]
struct TextRead {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct ContentRead {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
    #[serde(default)]
    annotations: Vec<AnnotationRead>,
    #[serde(default)]
    logprobs: Vec<LikelyRead>,
}

#[derive(Deserialize)]
pub(super) struct AnnotationRead {
    url: Option<String>,
    title: Option<String>,
    start_index: Option<u64>,
    end_index: Option<u64>,
}

impl AnnotationRead {
    pub(super) fn citation(self) -> Option<Citation> {
        let place = self.start_index.zip(self.end_index);
        Some(Citation { url: self.url?, title: self.title, quote: None, place })
    }
}

#[derive(Deserialize)]
pub(super) struct LikelyRead {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<TopRead>,
}

#[derive(Deserialize)]
struct TopRead {
    token: Option<String>,
    logprob: Option<f64>,
}

impl From<LikelyRead> for Logprob {
    fn from(read: LikelyRead) -> Self {
        let top = read.top_logprobs.into_iter();
        Self {
            chosen: Alternative { token: read.token, logprob: read.logprob },
            top: top.filter_map(|t| Some(Alternative { token: t.token?, logprob: t.logprob? })).collect(),
        }
    }
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] when the body is an error or no response.
pub(super) fn read_response(body: &[u8]) -> Result<Reply, ReadError> {
    let response: Response<'_> = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not a response: {error}")))?;
    if let Some(error) = response.error.filter(|raw| raw.get() != "null") {
        return Err(ReadError::Failed(openai::failure_inside(error.get().as_bytes())));
    }
    let (mut parts, mut logprobs) = (Vec::new(), Vec::new());
    for raw in response.output.into_iter().flatten() {
        // Items of the provider's own tools are left out.
        if let Ok(item) = serde_json::from_str::<ItemRead>(raw.get()) {
            read_item(item, &mut parts, &mut logprobs);
        }
    }
    let reason = response.incomplete_details.and_then(|details| details.reason);
    let stop = stop(response.status.as_deref(), reason.as_deref(), has_calls(&parts));
    let stop = stop.ok_or_else(|| ReadError::garbage("the answer is not complete"))?;
    let id = response.id.unwrap_or_default();
    Ok(Reply {
        id: id.strip_prefix("resp_").unwrap_or(&id).to_owned(),
        parts,
        logprobs,
        stop,
        usage: response.usage.map(Usage::from).unwrap_or_default(),
    })
}

fn has_calls(parts: &[Part]) -> bool {
    parts.iter().any(|part| matches!(part, Part::ToolCall(_)))
}

/// Why an answer of this status ended; `None` where it did not.
pub(super) fn stop(status: Option<&str>, reason: Option<&str>, has_calls: bool) -> Option<StopReason> {
    match (status, reason) {
        (None | Some("completed"), _) if has_calls => Some(StopReason::ToolCalls),
        (None | Some("completed"), _) => Some(StopReason::End),
        (Some("incomplete"), Some("content_filter")) => Some(StopReason::Refused),
        (Some("incomplete"), _) => Some(StopReason::Length),
        _ => None,
    }
}

fn read_item(item: ItemRead, parts: &mut Vec<Part>, logprobs: &mut Vec<Logprob>) {
    match item.kind.as_str() {
        "reasoning" => {
            let summary = item.summary.into_iter().map(|one| one.text).collect::<Vec<_>>().join("\n\n");
            let said = item.content.into_iter().flatten().filter_map(|one| one.text).collect::<String>();
            let text = if summary.is_empty() { said } else { summary };
            let signature = item.encrypted_content.map(|proof| proof::mark(NAME, &proof));
            if !text.is_empty() || signature.is_some() {
                parts.push(Part::Thinking { text, signature });
            }
        }
        "message" => {
            for content in item.content.into_iter().flatten() {
                match content.kind.as_str() {
                    "output_text" => {
                        let cited = content.annotations.into_iter();
                        let citations = cited.filter_map(AnnotationRead::citation).collect();
                        logprobs.extend(content.logprobs.into_iter().map(Logprob::from));
                        let text = content.text.unwrap_or_default();
                        parts.push(Part::Text { text, citations, cache: None });
                    }
                    "refusal" => parts.extend(content.refusal.map(Part::Refusal)),
                    _ => {}
                }
            }
        }
        "function_call" => parts.push(Part::ToolCall(ToolCall {
            id: item.call_id.unwrap_or_default(),
            name: item.name.unwrap_or_default(),
            arguments: item.arguments.unwrap_or_default(),
        })),
        "image_generation_call" => {
            if let Some(data) = item.result {
                let media_type = format!("image/{}", item.output_format.as_deref().unwrap_or("png"));
                let source = Source::Base64 { media_type, data };
                parts.push(Part::Image { source, detail: None, cache: None });
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::StreamForm;

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let call = ToolCall { id: "t".into(), name: "f".into(), arguments: r#"{"z":1.50}"#.into() };
        let citation =
            Citation { url: "https://x".into(), title: Some("t".into()), quote: None, place: Some((0, 1)) };
        let parts = vec![
            Part::Thinking { text: "hm".into(), signature: None },
            Part::Text { text: "a".into(), citations: vec![citation], cache: None },
            Part::Refusal("no".into()),
            Part::ToolCall(call),
        ];
        let usage = Usage { input: 1, cached_read: 2, output: 5, reasoning: 6, ..Usage::default() };
        let logprobs = vec![Logprob {
            chosen: Alternative { token: "a".into(), logprob: -0.5 },
            top: vec![Alternative { token: "b".into(), logprob: -1.0 }],
        }];
        let reply = Reply { id: "c1".into(), parts, logprobs, stop: StopReason::ToolCalls, usage };
        let header = AnswerHeader {
            model: "m",
            created: 7,
            call_id: "c-1",
            usage_wanted: true,
            form: StreamForm::Events,
            echo: super::super::echo::echo(b"{}").as_deref().map(|b| b.to_vec().leak() as &[u8]),
        };
        let written = write_response(&reply, &header);
        assert_eq!(read_response(&written), Ok(reply));
        let value: serde_json::Value = serde_json::from_slice(&written).expect("JSON");
        assert_eq!((value["id"].as_str(), value["status"].as_str()), (Some("resp_c1"), Some("completed")));
        assert_eq!(value["tools"], serde_json::json!([]));
    }

    #[test]
    fn answers_that_failed_or_did_not_end_are_told_apart() {
        let failed = read_response(
            br#"{"id":"r","status":"failed","error":{"code":"server_error","message":"no"},"output":[]}"#,
        );
        assert!(matches!(failed, Err(ReadError::Failed(f)) if f.message == "no"));
        assert!(matches!(
            read_response(br#"{"id":"r","status":"queued","output":[]}"#),
            Err(ReadError::Garbage(_))
        ));
        let cut = read_response(br#"{"id":"r","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}"#);
        assert_eq!(cut.map(|reply| reply.stop), Ok(StopReason::Length));
    }
}
