//! OpenAI and everyone who speaks as it does: bodies pass through, edited in place.

use penstock_actors::domain::Delivery;

use super::{
    Adapter, AnswerHead, AnswerReader, Ask, AskBody, BodyNeed, Failure, Next, Quirk, UpstreamBody,
    UpstreamRequest,
    convert::{self, Converting},
    model_edit, quirk,
};
use crate::dialect::{
    Dialect,
    openai::{self, StreamReader},
    passing::{ErrorReader, WholeReader},
};

/// The adapter of OpenAI's own dialect.
#[derive(Clone, Copy, Debug)]
pub struct OpenAi;

impl Adapter for OpenAi {
    fn body_need(&self, _ask: &Ask<'_>) -> BodyNeed {
        BodyNeed::Scan
    }

    fn request(&self, ask: &Ask<'_>, body: AskBody<'_>) -> Result<UpstreamRequest, Failure> {
        let AskBody::Scan(top) = body else {
            return Err(Failure::gateway(
                500,
                "internal_error",
                "The request was prepared for another provider.",
            ));
        };
        let mut edits = Vec::new();
        quirk::edits(ask, top, &mut edits);
        edits.extend(model_edit(ask, top));
        // What is inserted where something else is dropped comes first.
        edits.sort_by_key(|e| (e.start, e.end));
        Ok(UpstreamRequest {
            headers: Vec::new(),
            body: UpstreamBody::Edited(edits),
            echo: None,
            tools: Vec::new(),
        })
    }

    fn reader(&self, ask: &Ask<'_>, head: &AnswerHead<'_>) -> Result<Box<dyn AnswerReader>, Failure> {
        if convert::changes_answers(ask) {
            return Converting::new(Dialect::OpenAi).reader(ask, head);
        }
        let content_type = head.content_type.trim_start().to_ascii_lowercase();
        let is_stream = content_type.starts_with("text/event-stream");
        let is_json = content_type.starts_with("application/json");
        match (ask.delivery, is_stream) {
            (Delivery::Stream, true) => {
                // Hidden only where the gateway itself asked for it.
                let hide = !ask.usage_wanted && ask.quirks.contains(&Quirk::RequestStreamUsage);
                Ok(Box::new(StreamReader::new(ask.model, ask.max_event, !hide)))
            }
            (Delivery::Whole, false) => {
                Ok(Box::new(WholeReader::new(&openai::WHOLE, ask.model, head.framing)))
            }
            // It streams always, or never.
            (Delivery::Stream, false) if is_json && ask.endpoint.is_chat() => {
                Converting::new(Dialect::OpenAi).reader(ask, head)
            }
            (Delivery::Whole, true) if ask.endpoint.is_chat() => {
                Converting::new(Dialect::OpenAi).reader(ask, head)
            }
            (Delivery::Stream, false) => {
                let failure = unexpected("a stream was asked for, and something else came");
                match is_json {
                    true => Ok(Box::new(ErrorReader::new(&openai::WHOLE, failure))),
                    false => Err(failure),
                }
            }
            (Delivery::Whole, true) => Err(unexpected("no stream was asked for, and one came")),
        }
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        let mut failure = openai::failure(head.status, body);
        failure.retry_after = head.retry_after;
        failure
    }
}

fn unexpected(what: &str) -> Failure {
    let message = format!("The provider's answer cannot be used: {what}.");
    Failure::upstream(502, "unexpected_response_format", Next::FailoverUncertain, message)
}

#[cfg(test)]
mod tests {
    use crate::dialect::{StreamForm, media::Fetched};
    use penstock_actors::domain::Endpoint;

    use super::*;
    use crate::{dialect::openai::REQUEST, wire::json::Scanner};

    /// The body that goes out for `body`.
    fn sent(body: &str, upstream_model: &str, usage_wanted: bool) -> String {
        let mut scanner = Scanner::new(REQUEST);
        scanner.push(body.as_bytes()).expect("valid");
        let top = scanner.finish().expect("complete");
        let stream = top.field("stream").is_some_and(|f| f.raw == b"true");
        let ask = Ask {
            endpoint: Endpoint::ChatCompletions,
            face: Dialect::OpenAi,
            model: "m",
            upstream_model,
            delivery: if stream { Delivery::Stream } else { Delivery::Whole },
            usage_wanted,
            quirks: &[Quirk::RequestStreamUsage],
            params: &[],
            max_event: 1 << 20,
            created: 0,
            call_id: "c",
            form: StreamForm::Events,
            echo: None,
            tools: &[],
            media: Fetched::NONE,
        };
        let request = OpenAi.request(&ask, AskBody::Scan(&top)).expect("a request");
        let UpstreamBody::Edited(edits) = request.body else { panic!("edits") };
        let mut out = String::new();
        let mut at = 0;
        for edit in edits {
            assert!(edit.start as usize >= at && edit.end >= edit.start);
            out.push_str(&body[at..edit.start as usize]);
            out.push_str(std::str::from_utf8(&edit.with).expect("text"));
            at = edit.end as usize;
        }
        out + &body[at..]
    }

    #[test]
    fn bytes_pass_unchanged_but_for_the_model_name() {
        let body = "{ \"x\":[1, 2],\"model\" : \"m\" ,\"messages\":[]}";
        assert_eq!(sent(body, "m", false), body);
        assert_eq!(sent(body, "up", false), body.replace("\"m\"", "\"up\""));
    }

    #[test]
    fn usage_is_asked_for_in_streams() {
        for (body, wanted) in [
            (
                r#"{"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":null}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options":{"a":1,"include_usage":false},"model":"m","stream":true}"#,
                r#"{"stream_options":{"a":1,"include_usage":true},"model":"m","stream":true}"#,
            ),
        ] {
            assert_eq!(sent(body, "m", false), wanted);
        }
        let asked = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        assert_eq!(sent(asked, "m", true), asked);
    }

    #[test]
    fn a_missing_model_is_added() {
        assert_eq!(sent(r#"{"input":"x"}"#, "up", false), r#"{"model":"up","input":"x"}"#);
        assert_eq!(sent("{}", "up", false), r#"{"model":"up"}"#);
    }
}
