//! Writes a whole answer as a `chat.completion` object.

use bytes::Bytes;
use serde::Serialize;

use super::{
    AnswerHeader, CompletionUsage, answer_id,
    attached::{Annotation, Likelihoods, Picture},
    finish_reason,
};
use crate::conversation::{Part, Reply, Source, ToolCall};

#[derive(Serialize)]
struct Completion<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    usage: CompletionUsage,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<Likelihoods>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content_signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted_reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Picture>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// Writes a whole answer. Texts are joined; parts that this dialect has no place for are left out.
pub fn write_completion(reply: &Reply, header: &AnswerHeader<'_>) -> Bytes {
    let completion = Completion {
        id: answer_id(&reply.id),
        object: "chat.completion",
        created: header.created,
        model: header.model,
        choices: [Choice {
            index: 0,
            message: message(&reply.parts),
            logprobs: Likelihoods::of(&reply.logprobs),
            finish_reason: finish_reason(&reply.stop),
        }],
        usage: CompletionUsage::from(&reply.usage),
    };
    serde_json::to_vec(&completion).expect("plain structs of text and numbers are always JSON").into()
}

fn message(parts: &[Part]) -> Message<'_> {
    let mut message = Message {
        role: "assistant",
        content: None,
        refusal: None,
        reasoning_content: None,
        reasoning_content_signature: None,
        redacted_reasoning_content: None,
        annotations: Vec::new(),
        images: Vec::new(),
        tool_calls: Vec::new(),
    };
    let (mut blocks, mut behind) = (0, 0);
    for part in parts {
        match part {
            Part::Text { text, citations, .. } => {
                message.content.get_or_insert_default().push_str(text);
                let length = text.chars().count() as u64;
                message.annotations.extend(citations.iter().map(|c| Annotation::of(c, behind, length)));
                behind += length;
            }
            Part::Image { source: Source::Base64 { media_type, data }, .. } => {
                message.images.push(Picture::of(message.images.len() as u32, media_type, data));
            }
            Part::Refusal(text) => message.refusal.get_or_insert_default().push_str(text),
            Part::Thinking { text, signature } => {
                blocks += 1;
                message.reasoning_content.get_or_insert_default().push_str(text);
                message.reasoning_content_signature = signature.as_deref();
            }
            Part::RedactedThinking { data } => {
                blocks += 1;
                message.redacted_reasoning_content = Some(data);
            }
            Part::ToolCall(ToolCall { id, name, arguments }) => {
                let arguments = if arguments.is_empty() { "{}" } else { arguments.as_str() };
                message.tool_calls.push(Call {
                    id,
                    kind: "function",
                    function: Function { name, arguments },
                });
            }
            Part::Image { .. } | Part::File { .. } | Part::Audio { .. } | Part::ToolResult { .. } => {}
        }
    }
    if blocks > 1 {
        // Joined texts match no signature; see the chunk writer.
        message.reasoning_content_signature = None;
        message.redacted_reasoning_content = None;
    }
    if message.content.is_none() && message.refusal.is_none() && message.tool_calls.is_empty() {
        message.content = Some(String::new());
    }
    message
}

#[cfg(test)]
mod tests {
    use penstock_actors::domain::Usage;

    use super::*;
    use crate::{
        conversation::{Citation, StopReason},
        dialect::StreamForm,
    };

    fn check(parts: Vec<Part>, stop: StopReason) -> String {
        let reply = Reply { id: "1".into(), parts, logprobs: Vec::new(), stop, usage: Usage::default() };
        let bytes = write_completion(
            &reply,
            &AnswerHeader {
                model: "m",
                created: 7,
                call_id: "c",
                usage_wanted: false,
                form: StreamForm::Events,
                echo: None,
            },
        );
        String::from_utf8(bytes.to_vec()).expect("UTF-8")
    }

    #[test]
    fn tool_calls_without_text_have_null_content() {
        let call = ToolCall { id: "t".into(), name: "f".into(), arguments: String::new() };
        let body = check(vec![Part::ToolCall(call)], StopReason::ToolCalls);
        assert!(
            body.contains(
                r#""message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]},"logprobs":null,"finish_reason":"tool_calls""#
            ),
            "{body}"
        );
    }

    #[test]
    fn sources_are_told_by_their_place_in_the_joined_text_and_pictures_beside_it() {
        let cited = |text: &str, place| {
            let citation = Citation { url: "https://x".into(), place, ..Citation::default() };
            Part::Text { text: text.into(), citations: vec![citation], cache: None }
        };
        let source = Source::Base64 { media_type: "image/png".into(), data: "QQ==".into() };
        let picture = Part::Image { source, detail: None, cache: None };
        let parts = vec![Part::text("é"), cited("abc", None), cited("de", Some((1, 2))), picture];
        let body = check(parts, StopReason::End);
        let places = [r#"{"end_index":4,"start_index":1,"#, r#"{"end_index":6,"start_index":5,"#];
        assert!(places.iter().all(|place| body.contains(place)), "{body}");
        assert!(body.contains(r#""images":[{"type":"image_url","index":0,"image_url":{"#), "{body}");
    }

    #[test]
    fn every_stop_reason_has_a_finish_reason() {
        for (stop, finish) in [
            (StopReason::End, "stop"),
            (StopReason::StopSequence, "stop"),
            (StopReason::Length, "length"),
            (StopReason::ToolCalls, "tool_calls"),
            (StopReason::Refused, "content_filter"),
            (StopReason::Paused, "length"),
            (StopReason::Other("new".into()), "stop"),
        ] {
            let body = check(vec![Part::text("a"), Part::text("b")], stop);
            assert!(body.contains(&format!(r#""finish_reason":"{finish}""#)), "{body}");
            assert!(body.contains(r#""content":"ab""#), "{body}");
        }
    }
}
