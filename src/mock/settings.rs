//! What the mock is told to do, for the whole process or, by headers, for one request.
//!
//! [`KNOBS`] is the one list of it: headers, their values and their meaning come from there.

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr, time::Duration};

use actix_web::http::header::HeaderMap;
use serde::{Deserialize, Serialize};

/// What every header that turns a knob for one request begins with.
pub const HEADER_PREFIX: &str = "x-penstock-mock-";

/// Bytes that a header may ask for in one line: enough to pass every reader's cap.
const HUGEST_LINE: u32 = 64 << 20;

/// How the mock behaves. The default is a prompt, healthy, strict provider.
///
/// Each field is also a header of one request, named as in [`KNOBS`]; the header wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MockSettings {
    /// Milliseconds before the head.
    #[arg(long, default_value_t = 0)]
    pub latency_ms: u64,
    /// Milliseconds between the head and the first token.
    #[arg(long, default_value_t = 0)]
    pub ttft_ms: u64,
    /// Milliseconds between tokens.
    #[arg(long, default_value_t = 0)]
    pub pace_ms: u64,
    /// Say this many words instead of the echo.
    #[arg(long)]
    pub tokens: Option<u32>,
    /// Answer with this error status.
    #[arg(long)]
    pub status: Option<u16>,
    /// Let `status` strike only each Nth request.
    #[arg(long)]
    pub status_every: Option<u64>,
    /// The `retry-after` header of error answers, in seconds.
    #[arg(long)]
    pub retry_after: Option<u64>,
    /// The `retry-after-ms` header of error answers.
    #[arg(long)]
    pub retry_after_ms: Option<u64>,
    /// Where to close the connection.
    #[arg(long, value_name = "WHERE", help = takes("Where to close the connection", Cut::VALUES))]
    pub cut: Option<Cut>,
    /// Where to fall silent.
    #[arg(long, value_name = "WHERE", help = takes("Where to fall silent", Stall::VALUES))]
    pub stall: Option<Stall>,
    /// Nonsense to answer with.
    #[arg(long, value_name = "KIND", help = takes("Nonsense to answer with", Garbage::VALUES))]
    pub garbage: Option<Garbage>,
    /// End streams without `[DONE]` or `message_stop`.
    #[arg(long)]
    pub no_done: bool,
    /// Leave out usage.
    #[arg(long)]
    pub no_usage: bool,
    /// Answer with `connection: close`.
    #[arg(long)]
    pub close: bool,
    /// The model named in answers, instead of the one asked for.
    #[arg(long)]
    pub answer_model: Option<String>,
    /// Accept unknown top-level parameters.
    #[arg(long)]
    pub lenient: bool,
}

fn takes(what: &str, values: &str) -> String {
    format!("{what}: {values}")
}

/// Where the connection is closed without a proper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Cut {
    /// No byte is answered.
    BeforeHead,
    /// After half of the frames; after half of the bytes where the answer is no stream.
    MidBody,
    /// In the middle of the middle frame.
    MidFrame,
    /// After this many frames of a stream.
    AfterFrames(u32),
}

/// Where the answer stops, the connection staying open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Stall {
    /// No byte is answered.
    BeforeHead,
    /// Only the head is.
    AfterHead,
    /// The head and this many frames are.
    AfterFrames(u32),
}

/// Answers that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Garbage {
    /// A web page with status 200.
    Html,
    /// Every byte value, with the content type of a proper answer.
    Binary,
    /// An error object with status 200.
    Error200,
    /// JSON that stops half way, in a body or frame that ends properly.
    TruncatedJson,
    /// A proper answer whose only word has this many bytes.
    HugeLine(u32),
}

/// A value that a setting does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is none of: {values}")]
pub struct BadValue {
    value: String,
    values: &'static str,
}

/// Makes the text form of a setting's type: words, and words with a number.
macro_rules! words {
    ($type:ident, $values:literal, { $($word:literal => $unit:ident),* }, { $($key:literal => $with:ident),* }) => {
        impl $type {
            const VALUES: &'static str = $values;
        }

        impl FromStr for $type {
            type Err = BadValue;

            fn from_str(value: &str) -> Result<Self, BadValue> {
                match value.split_once('=') {
                    $(None if value == $word => return Ok(Self::$unit),)*
                    $(Some(($key, n)) => if let Ok(n) = n.parse() { return Ok(Self::$with(n)) },)*
                    _ => {}
                }
                Err(BadValue { value: value.to_owned(), values: Self::VALUES })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$unit => f.write_str($word),)*
                    $(Self::$with(n) => write!(f, "{}={n}", $key),)*
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadValue;

            fn try_from(value: String) -> Result<Self, BadValue> {
                value.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

words!(Cut, "before-head, mid-body, mid-frame, after-frames=N",
    { "before-head" => BeforeHead, "mid-body" => MidBody, "mid-frame" => MidFrame },
    { "after-frames" => AfterFrames });
words!(Stall, "before-head, after-head, after-frames=N",
    { "before-head" => BeforeHead, "after-head" => AfterHead }, { "after-frames" => AfterFrames });
words!(Garbage, "html, binary, error-200, truncated-json, huge-line=BYTES (at most 64 MiB)",
    { "html" => Html, "binary" => Binary, "error-200" => Error200, "truncated-json" => TruncatedJson },
    { "huge-line" => HugeLine });

/// One thing that can be told: a field of [`MockSettings`], and the header of the same name.
#[derive(Debug)]
pub struct Knob {
    /// The name, in a header after [`HEADER_PREFIX`].
    pub name: &'static str,
    /// The values it takes.
    pub values: &'static str,
    set: fn(&mut MockSettings, &str) -> Option<()>,
}

/// Every knob. Where a setting can be absent, the value `off` takes it away for one request.
pub const KNOBS: &[Knob] = &[
    Knob {
        name: "latency-ms",
        values: "milliseconds, at most a day",
        set: |s, v| put_ms(&mut s.latency_ms, v),
    },
    Knob { name: "ttft-ms", values: "milliseconds, at most a day", set: |s, v| put_ms(&mut s.ttft_ms, v) },
    Knob { name: "pace-ms", values: "milliseconds, at most a day", set: |s, v| put_ms(&mut s.pace_ms, v) },
    Knob {
        name: "tokens",
        values: "a number up to 100000",
        set: |s, v| put_option(&mut s.tokens, v, |n| *n <= 100_000),
    },
    Knob {
        name: "status",
        values: "400 to 599",
        set: |s, v| put_option(&mut s.status, v, |n| (400..=599).contains(n)),
    },
    Knob {
        name: "status-every",
        values: "a number from 1",
        set: |s, v| put_option(&mut s.status_every, v, |n| *n > 0),
    },
    Knob { name: "retry-after", values: "seconds", set: |s, v| put_option(&mut s.retry_after, v, |_| true) },
    Knob {
        name: "retry-after-ms",
        values: "milliseconds",
        set: |s, v| put_option(&mut s.retry_after_ms, v, |_| true),
    },
    Knob { name: "cut", values: Cut::VALUES, set: |s, v| put_option(&mut s.cut, v, |_| true) },
    Knob { name: "stall", values: Stall::VALUES, set: |s, v| put_option(&mut s.stall, v, |_| true) },
    Knob {
        name: "garbage",
        values: Garbage::VALUES,
        set: |s, v| put_option(&mut s.garbage, v, |g| !matches!(g, Garbage::HugeLine(n) if *n > HUGEST_LINE)),
    },
    Knob { name: "no-done", values: "1 or 0", set: |s, v| put_flag(&mut s.no_done, v) },
    Knob { name: "no-usage", values: "1 or 0", set: |s, v| put_flag(&mut s.no_usage, v) },
    Knob { name: "close", values: "1 or 0", set: |s, v| put_flag(&mut s.close, v) },
    Knob {
        name: "answer-model",
        values: "a name",
        set: |s, v| put_option(&mut s.answer_model, v, |name| !name.is_empty()),
    },
    Knob { name: "lenient", values: "1 or 0", set: |s, v| put_flag(&mut s.lenient, v) },
];

fn put_ms(field: &mut u64, value: &str) -> Option<()> {
    *field = value.parse().ok().filter(|ms| *ms <= 86_400_000)?;
    Some(())
}

fn put_option<T: FromStr>(field: &mut Option<T>, value: &str, holds: impl Fn(&T) -> bool) -> Option<()> {
    *field = match value {
        "off" => None,
        _ => Some(value.parse().ok().filter(holds)?),
    };
    Some(())
}

fn put_flag(field: &mut bool, value: &str) -> Option<()> {
    *field = match value {
        "1" | "true" => true,
        "0" | "false" => false,
        _ => return None,
    };
    Some(())
}

/// A header of ours that is unknown or whose value is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// There is no such knob.
    #[error("there is no header '{0}'")]
    Unknown(String),
    /// The value is none of those it takes.
    #[error("the value of the header '{HEADER_PREFIX}{name}' is none of: {values}")]
    Value {
        /// The knob.
        name: &'static str,
        /// What it takes.
        values: &'static str,
    },
}

impl MockSettings {
    /// The settings of one request, where its headers change any.
    ///
    /// # Errors
    /// [`BadHeader`] names the header.
    pub fn turned_by(&self, headers: &HeaderMap) -> Result<Option<Self>, BadHeader> {
        let mut turned: Option<Self> = None;
        for (header, value) in headers {
            let Some(name) = header.as_str().strip_prefix(HEADER_PREFIX) else { continue };
            let knob = KNOBS
                .iter()
                .find(|knob| knob.name == name)
                .ok_or_else(|| BadHeader::Unknown(header.as_str().to_owned()))?;
            let settings = turned.get_or_insert_with(|| self.clone());
            value
                .to_str()
                .ok()
                .and_then(|text| (knob.set)(settings, text.trim()))
                .ok_or(BadHeader::Value { name: knob.name, values: knob.values })?;
        }
        Ok(turned)
    }

    /// How long an answer of so many tokens takes before its head, when it is sent whole.
    pub(super) fn time_for(&self, tokens: u32) -> Duration {
        let pauses = u64::from(tokens.saturating_sub(1));
        Duration::from_millis(self.ttft_ms.saturating_add(self.pace_ms.saturating_mul(pauses)))
    }
}
