//! The requests: bodies made once, heads written call by call. No I/O but the file of keys.

use std::fmt::Write as _;

use bytes::Bytes;
use rand::Rng;

use super::{mix, mix::Mix, options::BenchOptions};
use crate::mock;

/// Whether a call is a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answered whole.
    Whole,
    /// Answered event by event.
    Stream,
}

/// What calls are drawn from.
pub struct Requests {
    /// The head up to the key.
    before: String,
    keys: Option<Mix<String>>,
    /// By model and size, the pair of whole and stream.
    bodies: Mix<Mix<[Bytes; 2]>>,
    streams: f64,
    /// The text of every answer, where it is known.
    expected: Option<String>,
}

impl Requests {
    /// Makes every body there is to be.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub fn prepare(options: &BenchOptions, authority: &str, path: &str) -> Result<Self, String> {
        let keys = match (&options.key, &options.keys) {
            (Some(key), _) => {
                let key = match key.strip_prefix("env:") {
                    Some(name) => {
                        std::env::var(name).map_err(|_| format!("--key {key}: {name} is not set"))?
                    }
                    None => key.clone(),
                };
                Some(Mix::of([(key, 1)]).map_err(|error| format!("--key: {error}"))?)
            }
            (None, Some(file)) => {
                let bad = |error: String| format!("--keys {}: {error}", file.display());
                let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
                Some(mix::keys(&text).map_err(|error| bad(error.to_string()))?)
            }
            (None, None) => None,
        };
        if let Some(keys) = &keys
            && keys.items().any(|key| !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err("a key holds a character that no header may hold".into());
        }
        let before = head(options, authority, path)?;
        let max_tokens = options.max_tokens;
        let bodies = options.model.0.clone().map(|model| {
            let pair = |size| [false, true].map(|stream| body(&model, size, stream, max_tokens));
            options.size.0.clone().map(pair)
        });
        let expected = options.mock_tokens.map(mock::filler);
        Ok(Self { before, keys, bodies, streams: options.streams / 100.0, expected })
    }

    /// Draws a call: writes its head, gives its body and what kind of answer it wants.
    pub fn draw(&self, rng: &mut impl Rng, head: &mut Vec<u8>) -> (Bytes, Kind) {
        let body = self.bodies.pick(rng).pick(rng);
        let is_stream = self.streams >= 1.0 || self.streams > 0.0 && rng.random::<f64>() < self.streams;
        let (body, kind) = if is_stream { (&body[1], Kind::Stream) } else { (&body[0], Kind::Whole) };
        head.clear();
        head.extend_from_slice(self.before.as_bytes());
        if let Some(keys) = &self.keys {
            head.extend_from_slice(b"authorization: Bearer ");
            head.extend_from_slice(keys.pick(rng).as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        (body.clone(), kind)
    }

    /// The text of every answer, where it is known.
    pub fn expected(&self) -> Option<&str> {
        self.expected.as_deref()
    }
}

fn head(options: &BenchOptions, authority: &str, path: &str) -> Result<String, String> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: penstock-bench/{}\r\naccept: */*\r\n\
         content-type: application/json\r\n",
        env!("CARGO_PKG_VERSION")
    );
    for header in &options.header {
        let (name, value) =
            header.split_once(':').ok_or_else(|| format!("--header {header}: has no colon"))?;
        let is_name = http::HeaderName::from_bytes(name.trim().as_bytes()).is_ok();
        if !is_name || http::HeaderValue::from_str(value.trim()).is_err() {
            return Err(format!("--header {name}: is no header"));
        }
        let _ = write!(head, "{}: {}\r\n", name.trim(), value.trim());
    }
    let knobs = [
        ("tokens", options.mock_tokens.map(u64::from)),
        ("pace-ms", options.mock_pace_ms),
        ("ttft-ms", options.mock_ttft_ms),
        ("latency-ms", options.mock_latency_ms),
    ];
    for (knob, value) in knobs {
        if let Some(value) = value {
            let _ = write!(head, "{}{knob}: {value}\r\n", mock::HEADER_PREFIX);
        }
    }
    Ok(head)
}

/// A chat request of `size` bytes, or of as few as it takes. The text has an escape now and then, as texts do.
fn body(model: &str, size: usize, stream: bool, max_tokens: Option<u32>) -> Bytes {
    let model = serde_json::Value::from(model);
    let most = max_tokens.map(|most| format!("\"max_tokens\":{most},")).unwrap_or_default();
    let before = format!(
        "{{\"model\":{model},\"stream\":{stream},{most}\"messages\":[{{\"role\":\"user\",\"content\":\""
    );
    let after = "\"}]}";
    let room = size.saturating_sub(before.len() + after.len()).max(1);
    let words = "The quick brown fox said \\\"hello\\\" to the lazy dog and went on.\\n";
    let mut text = words.repeat(room / words.len());
    text.push_str(&"x".repeat(room - text.len()));
    Bytes::from(before + &text + after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_the_size_asked_for() {
        for size in [200, 4096, 150_000] {
            let body = body("a \"model\"", size, true, Some(3));
            assert_eq!(body.len(), size);
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&json["model"], &json["stream"]), (&"a \"model\"".into(), &true.into()));
            assert_eq!(json["max_tokens"], 3);
        }
        assert!(serde_json::from_slice::<serde_json::Value>(&body("m", 0, false, None)).is_ok());
    }
}
