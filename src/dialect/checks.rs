//! What the tests of dialects that only providers speak have in common.

use bytes::Bytes;
use penstock_actors::domain::{Delivery, Usage};

use super::{AnswerHead, Failure, Framing, ReadError, Upstream, Wanted, openai_chat};
use crate::conversation::{Delta, StopReason};

/// A request with everything that most providers know: tools, results, a picture, sampling.
pub const EVERYTHING: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstreams/request.openai.json"));

/// The same without the picture, for dialects that are text alone.
pub fn wordy() -> String {
    let picture = r#",
      { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } }"#;
    let text = EVERYTHING.replace(picture, "");
    assert_ne!(text, EVERYTHING);
    text
}

/// What an OpenAI request becomes, or the parameter that cannot be said.
pub fn written(
    upstream: &dyn Upstream,
    request: &str,
    model: &str,
    delivery: Delivery,
) -> Result<String, String> {
    let conversation = openai_chat::parse_request(request.as_bytes()).map_err(|e| e.param)?;
    let written =
        upstream.write(&conversation, &Wanted { model, delivery, params: &[] }).map_err(|e| e.param)?;
    Ok(String::from_utf8(written.body.to_vec()).expect("UTF-8"))
}

/// What a stream says: all of it joined, its usage, and how it ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// The answer's id.
    pub id: String,
    /// The text.
    pub text: String,
    /// The reasoning.
    pub thinking: String,
    /// Proofs of reasoning.
    pub proofs: Vec<String>,
    /// Tool calls: id, name, arguments.
    pub calls: Vec<(String, String, String)>,
    /// What was consumed.
    pub usage: Usage,
    /// Why it stopped, once.
    pub stop: Option<StopReason>,
    /// Why it broke off.
    pub error: Option<ReadError>,
}

/// Hears a stream that comes in these pieces.
pub fn heard<'a>(upstream: &dyn Upstream, pieces: impl IntoIterator<Item = &'a [u8]>) -> Heard {
    let mut reader = upstream.reader(1 << 20);
    let (mut out, mut read) = (Vec::new(), Ok(()));
    for piece in pieces {
        read = reader.push(Bytes::copy_from_slice(piece), &mut out);
        if read.is_err() {
            break;
        }
    }
    if read.is_ok() && !out.iter().any(|delta| matches!(delta, Delta::Stop(_))) {
        read = reader.finish(&mut out);
    }
    let mut heard = Heard { error: read.err(), ..Heard::default() };
    for (n, delta) in out.into_iter().enumerate() {
        assert!(heard.stop.is_none(), "something follows the end: {delta:?}");
        assert_eq!(n == 0, matches!(delta, Delta::Start { .. }), "the start comes once, first: {delta:?}");
        match delta {
            Delta::Start { id } => heard.id = id,
            Delta::Text(text) => heard.text.push_str(&text),
            Delta::Thinking(text) => heard.thinking.push_str(&text),
            Delta::ThinkingSignature(proof) | Delta::RedactedThinking(proof) => heard.proofs.push(proof),
            Delta::ToolCallStart { index, id, name } => {
                assert_eq!(index as usize, heard.calls.len());
                heard.calls.push((id, name, String::new()));
            }
            Delta::ToolCallArguments { index, fragment } => heard.calls[index as usize].2.push_str(&fragment),
            Delta::Usage(usage) => heard.usage = usage,
            Delta::Stop(stop) => heard.stop = Some(stop),
            Delta::Citation(_) | Delta::Logprobs(_) | Delta::Media { .. } | Delta::Refusal(_) => {}
        }
    }
    heard
}

/// Hears a whole stream, and checks that it says the same wherever it is cut in two or byte by byte, and that
/// it never ends well where its last bytes are missing; `slack` bytes at the end may be.
pub fn hear(upstream: &dyn Upstream, stream: &[u8], slack: usize) -> Heard {
    let whole = heard(upstream, [stream]);
    for cut in 0..=stream.len() {
        assert_eq!(heard(upstream, [&stream[..cut], &stream[cut..]]), whole, "cut at {cut}");
        if cut + slack < stream.len() {
            let broken = heard(upstream, [&stream[..cut]]);
            assert!(broken.stop.is_none() && broken.error.is_some(), "ended at {cut}: {broken:?}");
        }
    }
    assert_eq!(heard(upstream, stream.chunks(1)), whole);
    whole
}

/// The failure of a bad status: its status, its code, and whether the client is told at once.
pub fn refusal(upstream: &dyn Upstream, status: u16, body: &str) -> Failure {
    let head =
        AnswerHead { status, content_type: "application/json", retry_after: None, framing: Framing::Framed };
    upstream.failure(&head, body.as_bytes())
}
