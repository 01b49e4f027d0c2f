//! Recognises what must be known of requests and answers that pass through.

use bytes::Bytes;
use penstock_actors::{billing::Foreseen, domain::Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    error::{ErrorBody, error_body, read_error},
    failure::of_error,
    usage::{Tally, WireUsage},
};
use crate::{
    dialect::{
        Failure, Next,
        passing::{End, Recognise, Seen, Shape, place_in},
    },
    wire::json::{TopLevel, Watch},
};

/// The request fields the gateway must know.
pub const REQUEST: &[Watch] = &[
    Watch::kept("model", 1024),
    Watch::kept("stream", 16),
    Watch::place("messages"),
    Watch::place("system"),
    Watch::place("tools"),
    Watch::kept("max_tokens", 64),
];

/// What the request tells of its cost.
pub fn foreseen(top: &TopLevel) -> Foreseen {
    let length = |name: &str| top.field(name).map_or(0, |field| field.end - field.start);
    Foreseen {
        prompt_bytes: length("messages") + length("system") + length("tools"),
        max_input: None,
        max_output: top.field("max_tokens").and_then(|field| serde_json::from_slice(&field.raw).ok()),
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
    let mut tally = Tally::default();
    tally.report(&read);
    Some(tally.usage())
}

fn failure_inside(raw: &[u8]) -> Failure {
    let wrapped = [b"{\"error\":".as_slice(), raw, b"}"].concat();
    of_error(read_error(&wrapped).unwrap_or_else(unexplained))
}

fn unexplained() -> ErrorBody {
    ErrorBody {
        kind: "api_error".to_owned(),
        code: None,
        message: "The model's provider failed without an explanation.".to_owned(),
        request_id: None,
    }
}

/// Recognises the events of a stream.
#[derive(Debug, Default)]
pub struct Events {
    tally: Tally,
    begun: bool,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    message: Option<Started<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Started<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

impl Recognise for Events {
    const TEXTS: &'static [&'static str] = &["\"text\":", "\"thinking\":", "\"partial_json\":"];

    fn event(&mut self, name: &[u8], data: &[u8]) -> Seen {
        // Most events; they hold nothing of use.
        if name == b"content_block_delta" || data.starts_with(b"{\"type\":\"content_block_delta\"") {
            return Seen::default();
        }
        let Ok(event) = serde_json::from_slice::<Typed<'_>>(data) else { return Seen::default() };
        let mut seen = Seen::default();
        let reported = event.usage.or(event.message.as_ref().and_then(|message| message.usage));
        if let Some(usage) = reported.and_then(|raw| serde_json::from_str::<WireUsage>(raw.get()).ok()) {
            self.tally.report(&usage);
            seen.usage = Some(self.tally.usage());
        }
        seen.model = event.message.and_then(|message| place_in(data, message.model?));
        match event.kind.as_deref() {
            Some("message_stop") => seen.end = Some(End::Done),
            Some("error") => {
                let mut failure = of_error(read_error(data).unwrap_or_else(unexplained));
                // Once the answer has begun the provider may bill for it.
                if self.begun && failure.next == Next::Failover {
                    failure.next = Next::FailoverUncertain;
                }
                seen.end = Some(End::Failed(failure));
            }
            _ => {}
        }
        self.begun = true;
        seen
    }

    fn last_words(&mut self, failure: &Failure, call_id: &str) -> Bytes {
        [b"event: error\ndata: ".as_slice(), &error_body(failure, call_id), b"\n\n"].concat().into()
    }
}
