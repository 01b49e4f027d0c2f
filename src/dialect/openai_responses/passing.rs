//! Recognises what must be known of requests and answers that pass through.

use bytes::Bytes;
use penstock_actors::{
    billing::Foreseen,
    domain::{Endpoint, Usage},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::WireUsage;
use crate::{
    dialect::{
        Failure, RequestFacts, StreamForm,
        openai::{failure_inside, request_facts},
        passing::{End, Recognise, Seen, Shape, place_in},
    },
    wire::json::{TopLevel, Watch},
};

/// The request fields the gateway must know.
pub const REQUEST: &[Watch] = &[
    Watch::kept("model", 1024),
    Watch::kept("stream", 16),
    Watch::place("input"),
    Watch::place("instructions"),
    Watch::place("tools"),
    Watch::kept("max_output_tokens", 64),
    Watch::kept("store", 16),
    Watch::kept("previous_response_id", 1024),
];

/// Reads the facts of a request.
///
/// # Errors
/// A [`Failure`] with the parameter that is missing or of a wrong type.
pub fn facts(endpoint: Endpoint, top: &TopLevel) -> Result<RequestFacts, Failure> {
    let facts = request_facts(endpoint, top)?;
    Ok(RequestFacts { usage_wanted: true, form: StreamForm::Events, ..facts })
}

/// What the request tells of its cost.
pub fn foreseen(top: &TopLevel) -> Foreseen {
    let length = |name: &str| top.field(name).map_or(0, |field| field.end - field.start);
    Foreseen {
        prompt_bytes: length("input") + length("instructions") + length("tools"),
        max_input: None,
        max_output: top.field("max_output_tokens").and_then(|field| serde_json::from_slice(&field.raw).ok()),
        learned: None,
        choices: 1,
    }
}

/// Where whole answers say what must be known.
pub static WHOLE: Shape = Shape {
    watches: &[Watch::kept("model", 1024), Watch::kept("error", 16384)],
    model: "model",
    prefix: "",
    usage_key: "\"usage\"",
    usage,
    failure: failure_inside,
};

/// Reads a usage object, which bytes may follow.
fn usage(raw: &[u8]) -> Option<Usage> {
    let read: WireUsage = serde_json::Deserializer::from_slice(raw).into_iter().next()?.ok()?;
    Some(read.into())
}

/// Recognises the events of a stream.
#[derive(Debug, Default)]
pub struct Events {
    /// Events so far, which are numbered.
    number: u64,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    response: Option<Response<'a>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    usage: Option<WireUsage>,
}

impl Recognise for Events {
    // Events that end something tell all of it once more.
    const TEXTS: &'static [&'static str] = &["\"delta\":"];

    fn event(&mut self, name: &[u8], data: &[u8]) -> Seen {
        self.number += 1;
        // Most events; they hold nothing of use.
        if name.ends_with(b".delta") {
            return Seen::default();
        }
        let Ok(event) = serde_json::from_slice::<Typed<'_>>(data) else { return Seen::default() };
        let mut seen = Seen::default();
        let kind = event.kind.as_deref().unwrap_or_default();
        if kind == "error" {
            seen.end = Some(End::Failed(failure_inside(data)));
            return seen;
        }
        let Some(response) = event.response else { return seen };
        seen.model = response.model.and_then(|raw| place_in(data, raw));
        seen.usage = response.usage.map(Usage::from);
        seen.end = match kind {
            "response.completed" | "response.incomplete" => Some(End::Done),
            "response.failed" => {
                let error = response.error.map_or("null", RawValue::get);
                Some(End::Failed(failure_inside(error.as_bytes())))
            }
            _ => None,
        };
        seen
    }

    fn last_words(&mut self, failure: &Failure, call_id: &str) -> Bytes {
        let event = json!({
            "type": "error",
            "sequence_number": self.number,
            "code": failure.code,
            "message": format!("{} (request id: {call_id})", failure.message),
            "param": failure.param,
        });
        format!("event: error\ndata: {event}\n\n").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_stream_tells_usage_and_names_the_model() {
        let mut events = Events::default();
        let data = br#"{"type":"response.completed","response":{"id":"r","model":"up","usage":{"input_tokens":3,"output_tokens":2}}}"#;
        let seen = events.event(b"response.completed", data);
        assert_eq!(seen.model.map(|place| &data[place]), Some(&b"\"up\""[..]));
        assert_eq!(seen.usage, Some(Usage { input: 3, output: 2, ..Usage::default() }));
        assert!(matches!(seen.end, Some(End::Done)));
        let words = events.last_words(&Failure::gateway(500, "x", "Broken."), "c");
        assert!(
            words.starts_with(b"event: error\ndata: {\"code\":\"x\",\"message\":\"Broken. (request id: c)\"")
        );
    }

    #[test]
    fn a_stream_is_wanted_where_it_is_asked_for() {
        let mut scanner = crate::wire::json::Scanner::new(REQUEST);
        scanner.push(br#"{"model":"m","input":"a","stream":true}"#).expect("JSON");
        let top = scanner.finish().expect("whole");
        let facts = facts(Endpoint::Responses, &top).expect("facts");
        assert_eq!(facts.delivery, penstock_actors::domain::Delivery::Stream);
    }
}
