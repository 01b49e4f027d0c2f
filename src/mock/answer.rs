//! What the dialects' files are given and what they give back.

use bytes::Bytes;

use super::{
    body::{Part, frames},
    check::Strictness,
    settings::{Garbage, MockSettings},
    text::Words,
};

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Its body.
    pub body: &'a [u8],
    /// How to behave.
    pub settings: &'a MockSettings,
    /// Its number, for the ids in the answer.
    pub serial: u64,
    /// Seconds since 1970.
    pub now: u64,
}

/// An answer that is no refusal.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Tokens that were read.
    pub prompt_tokens: u64,
    /// What is sent.
    pub said: Said,
}

/// The two ways to answer.
#[derive(Clone, Debug)]
pub enum Said {
    /// One body of JSON, and its tokens.
    Whole(Bytes, u32),
    /// Server-sent events.
    Stream(Vec<Part>),
}

impl Ask<'_> {
    /// Whether unknown parameters are refused.
    pub fn strictness(&self) -> Strictness {
        if self.settings.lenient { Strictness::Lenient } else { Strictness::Strict }
    }

    /// The model to name in the answer.
    pub fn model<'m>(&'m self, asked: &'m str) -> &'m str {
        self.settings.answer_model.as_deref().unwrap_or(asked)
    }

    /// What to say where nothing but the settings binds it: `text` by default.
    pub fn words(&self, text: impl FnOnce() -> String, most: Option<u32>) -> Words {
        match (self.settings.garbage, self.settings.tokens) {
            (Some(Garbage::HugeLine(bytes)), _) => Words::huge(bytes),
            (_, Some(tokens)) => Words::filler(tokens).limited(most),
            _ => Words::of(text()).limited(most),
        }
    }
}

impl Answer {
    /// Tokens that were read and will be said.
    pub fn tokens(&self) -> u64 {
        let said = match &self.said {
            Said::Whole(_, tokens) => *tokens,
            Said::Stream(parts) => frames(parts),
        };
        self.prompt_tokens.saturating_add(said.into())
    }

    /// A body that is no stream and says nothing.
    pub fn plain(body: impl Into<Bytes>, prompt_tokens: u64) -> Self {
        Self { prompt_tokens, said: Said::Whole(body.into(), 0) }
    }
}

/// A model's name as it stands inside a JSON string, quotes included.
pub fn quoted(text: &str) -> String {
    let mut out = bytes::BytesMut::with_capacity(text.len() + 2);
    out.extend_from_slice(b"\"");
    super::text::escape(text, &mut out);
    out.extend_from_slice(b"\"");
    String::from_utf8_lossy(&out).into_owned()
}
