//! Media that a request names by address: which of them a provider wants as bytes, and how the bytes that were
//! fetched take the addresses' places. What is in bytes is told by [`sniff`]; nothing here fetches.

pub mod sniff;

use std::collections::BTreeMap;

use super::upstream::Upstream;
use crate::conversation::{Conversation, Part, Source};

/// What a medium is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A picture.
    Image,
    /// A document, or whatever else is called a file.
    File,
}

/// A medium that must be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Where it is, as the client wrote it.
    pub url: String,
    /// What it is to be.
    pub kind: Kind,
    /// Where the client named it, for errors: `messages[2].content`.
    pub param: String,
}

/// A medium that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// What it is.
    pub media_type: String,
    /// Its bytes in base64.
    pub data: String,
}

/// The media of a call that were fetched so far, by their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched(BTreeMap<String, Medium>);

impl Fetched {
    /// No media.
    pub const NONE: &Self = &Self(BTreeMap::new());

    /// Adds one.
    pub fn insert(&mut self, url: String, medium: Medium) {
        self.0.insert(url, medium);
    }

    /// Whether the medium at an address is here.
    pub fn has(&self, url: &str) -> bool {
        self.0.contains_key(url)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Who gets bytes.
#[derive(Clone, Copy)]
pub struct Taker<'a> {
    /// The provider's dialect.
    pub upstream: &'a dyn Upstream,
    /// Which addresses it is given.
    pub taking: Taking,
}

/// Which addresses a provider is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// Those that its dialect has a place for.
    AsTheDialect,
    /// None: it gets bytes.
    Bytes,
}

impl Taker<'_> {
    /// Whether the provider wants the bytes of what is at this address.
    fn wants(&self, kind: Kind, url: &str) -> bool {
        is_http(url) && (self.taking == Taking::Bytes || !self.upstream.takes(kind, url))
    }
}

fn is_http(url: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| url.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))
}

/// The media that must be fetched before a conversation can be written for a provider; each address once.
pub fn addresses(conversation: &Conversation, taker: Taker<'_>) -> Vec<Address> {
    let mut all: Vec<Address> = Vec::new();
    for message in &conversation.messages {
        for (kind, source) in message.parts.iter().flat_map(sources) {
            if let Source::Url(url) = source
                && taker.wants(kind, url)
                && all.iter().all(|known| known.url != *url)
            {
                all.push(Address { url: url.clone(), kind, param: format!("{}.content", message.path) });
            }
        }
    }
    all
}

fn sources(part: &Part) -> Vec<(Kind, &Source)> {
    match part {
        Part::Image { source, .. } => vec![(Kind::Image, source)],
        Part::File { source, .. } => vec![(Kind::File, source)],
        Part::ToolResult { content, .. } => content.iter().flat_map(sources).collect(),
        _ => Vec::new(),
    }
}

/// Puts what was fetched where the addresses stand, for a provider that wants bytes.
pub fn put_in(conversation: &mut Conversation, fetched: &Fetched, taker: Taker<'_>) {
    if !fetched.is_empty() {
        conversation.messages.iter_mut().for_each(|message| put_in_parts(&mut message.parts, fetched, taker));
    }
}

fn put_in_parts(parts: &mut [Part], fetched: &Fetched, taker: Taker<'_>) {
    let found = |kind, source: &Source| match source {
        Source::Url(url) if taker.wants(kind, url) => fetched.0.get(url).cloned(),
        _ => None,
    };
    for part in parts {
        match part {
            Part::Image { source, .. } => {
                if let Some(Medium { media_type, data }) = found(Kind::Image, source) {
                    *source = Source::Base64 { media_type, data };
                }
            }
            Part::File { source, name, cache } => {
                if let Some(medium) = found(Kind::File, source) {
                    let Source::Url(url) = &*source else { continue };
                    let name = name.take().or_else(|| name_of(url));
                    *part = file(medium, name, *cache);
                }
            }
            Part::ToolResult { content, .. } => put_in_parts(content, fetched, taker),
            _ => {}
        }
    }
}

/// What was called a file is a picture or a recording where its bytes are.
fn file(medium: Medium, name: Option<String>, cache: Option<crate::conversation::CacheHint>) -> Part {
    let Medium { media_type, data } = medium;
    match media_type.as_str() {
        "audio/wav" => Part::Audio { format: "wav".to_owned(), data },
        "audio/mpeg" => Part::Audio { format: "mp3".to_owned(), data },
        kind if kind.starts_with("image/") => {
            Part::Image { source: Source::Base64 { media_type, data }, detail: None, cache }
        }
        _ => Part::File { source: Source::Base64 { media_type, data }, name, cache },
    }
}

/// The last part of an address' path, where it looks like a file's name.
fn name_of(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, below) = path.split_once("://")?.1.split_once('/')?;
    let name = below.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (name.contains('.') && name.len() <= 100 && name.chars().all(plain)).then(|| name.to_owned())
}

/// Whether a body may name media by address, told from its bytes alone: a text that begins as an address does,
/// behind a key that ends as those of addresses do. Keys that are written with escapes are not known.
pub fn may_name_any(body: &[u8]) -> bool {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let behind_a_key = |at: usize| {
        let mut before = body[..at].iter().rev().skip_while(|b| is_space(b));
        if before.next() != Some(&b':') {
            return false;
        }
        let key: Vec<u8> = before.skip_while(|b| is_space(b)).take(4).map(u8::to_ascii_lowercase).collect();
        key == *b"\"lru" || key == *b"\"iru"
    };
    memchr::memmem::find_iter(body, b"\"http").any(behind_a_key)
        || memchr::memmem::find_iter(body, b"\"HTTP").any(behind_a_key)
}

/// Whether a text is base64 as every provider reads it (RFC 4648, section 4): padded, without white space.
///
/// # Errors
/// What is wrong; it ends the sentence that the field's name begins.
pub fn check_base64(data: &str) -> Result<(), &'static str> {
    let bytes = data.as_bytes();
    let padding = bytes.iter().rev().take_while(|b| **b == b'=').count();
    let said = &bytes[..bytes.len() - padding];
    if let Some(odd) = said.iter().find(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))) {
        return Err(match odd {
            b'-' | b'_' => "is in the alphabet of base64 for URLs; write + and / for - and _",
            b' ' | b'\t' | b'\r' | b'\n' => "has white space in its base64; leave it out",
            b'=' => "has padding in the middle of its base64; send each file by itself",
            _ => "is not base64",
        });
    }
    match (said.len() % 4, padding) {
        (0, 0) if said.is_empty() => Err("holds no bytes"),
        (0, 0) | (2, 2) | (3, 1) => Ok(()),
        (2 | 3, 0) => Err("has no padding behind its base64; end it with ="),
        _ => Err("is not whole base64: its length is wrong"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conversation::{Message, Role},
        dialect::Dialect,
    };

    fn image(url: &str) -> Part {
        Part::Image { source: Source::Url(url.to_owned()), detail: None, cache: None }
    }

    fn file(url: &str) -> Part {
        Part::File { source: Source::Url(url.to_owned()), name: None, cache: None }
    }

    fn said(parts: Vec<Part>) -> Conversation {
        let message = Message { role: Role::User, parts, name: None, path: "messages[0]".to_owned() };
        Conversation { messages: vec![message], ..Conversation::default() }
    }

    fn taker(dialect: Dialect, taking: Taking) -> Taker<'static> {
        Taker { upstream: dialect.upstream(), taking }
    }

    #[test]
    fn a_provider_gets_bytes_only_where_its_dialect_has_no_place_for_the_address() {
        let picture = "https://h.example/a.png";
        for (dialect, part, wanted) in [
            (Dialect::OpenAi, image(picture), false),
            (Dialect::OpenAi, file("https://h.example/a.pdf"), true),
            (Dialect::OpenAiResponses, file("https://h.example/a.pdf"), false),
            (Dialect::AnthropicMessages, image(picture), false),
            (Dialect::AnthropicMessages, file("https://h.example/a.pdf"), false),
            (Dialect::VertexClaude, image(picture), true),
            (Dialect::BedrockClaude, file("https://h.example/a.pdf"), true),
            (Dialect::BedrockConverse, image(picture), true),
            (Dialect::BedrockConverse, image("s3://bucket/a.png"), false),
            (Dialect::Ollama, image("HTTP://h.example/a.png"), true),
            (Dialect::Gemini, image(picture), true),
            (Dialect::Gemini, file("https://www.youtube.com/watch?v=x"), false),
            (Dialect::Gemini, file("https://youtu.be/x"), false),
            (Dialect::Gemini, file("https://generativelanguage.googleapis.com/v1beta/files/x"), false),
            (Dialect::Gemini, file("https://evil.example/?generativelanguage.googleapis.com/"), true),
            (Dialect::Gemini, image("gs://bucket/a.png"), false),
        ] {
            let conversation = said(vec![part.clone()]);
            let wants = !addresses(&conversation, taker(dialect, Taking::AsTheDialect)).is_empty();
            assert_eq!(wants, wanted, "{} {part:?}", dialect.name());
        }
        let conversation = said(vec![image(picture)]);
        assert_eq!(addresses(&conversation, taker(Dialect::OpenAi, Taking::Bytes)).len(), 1);
    }

    #[test]
    fn addresses_are_found_in_results_of_tools_too_and_each_once() {
        let result = Part::ToolResult {
            call_id: "1".into(),
            content: vec![image("https://h.example/b.png"), image("https://h.example/a.png")],
            failed: false,
            cache: None,
        };
        let conversation = said(vec![image("https://h.example/a.png"), result]);
        let found = addresses(&conversation, taker(Dialect::Ollama, Taking::AsTheDialect));
        let urls: Vec<_> = found.iter().map(|a| a.url.as_str()).collect();
        assert_eq!(urls, ["https://h.example/a.png", "https://h.example/b.png"]);
        assert_eq!(found[0].param, "messages[0].content");
    }

    #[test]
    fn what_was_fetched_takes_the_place_of_its_address_and_is_what_its_bytes_are() {
        let mut fetched = Fetched::default();
        for (url, media_type) in [
            ("https://h.example/a", "image/png"),
            ("https://h.example/v/b.mp3", "audio/mpeg"),
            ("https://h.example/v/c.pdf?x=1", "application/pdf"),
        ] {
            fetched.insert(
                url.to_owned(),
                Medium { media_type: media_type.to_owned(), data: "QQ==".to_owned() },
            );
        }
        let mut conversation = said(vec![
            image("https://h.example/a"),
            file("https://h.example/a"),
            file("https://h.example/v/b.mp3"),
            file("https://h.example/v/c.pdf?x=1"),
            image("https://h.example/other"),
        ]);
        put_in(&mut conversation, &fetched, taker(Dialect::Gemini, Taking::AsTheDialect));
        let bytes = |media_type: &str| Source::Base64 { media_type: media_type.into(), data: "QQ==".into() };
        let picture = Part::Image { source: bytes("image/png"), detail: None, cache: None };
        let sound = Part::Audio { format: "mp3".into(), data: "QQ==".into() };
        let paper = Part::File { source: bytes("application/pdf"), name: Some("c.pdf".into()), cache: None };
        let other = image("https://h.example/other");
        assert_eq!(conversation.messages[0].parts, [picture.clone(), picture, sound, paper, other]);
        let mut untouched = said(vec![image("https://h.example/a")]);
        put_in(&mut untouched, &fetched, taker(Dialect::OpenAi, Taking::AsTheDialect));
        assert_eq!(untouched, said(vec![image("https://h.example/a")]), "who takes addresses gets them");
    }

    #[test]
    fn a_body_that_may_name_media_is_told_from_its_bytes() {
        for (body, wanted) in [
            (r#"{"image_url":{"url":"https://x/y"}}"#, true),
            (r#"{"image_url" : { "url" :  "http://x" }}"#, true),
            ("{\"url\"\n:\t\"https:\\/\\/x\"}", true),
            (r#"{"input":[{"image_url":"HTTPS://x"}]}"#, true),
            (r#"{"fileUri":"https://x"}"#, true),
            (r#"{"file_uri":"https://x"}"#, true),
            (r#"{"image_url":{"url":"data:image/png;base64,QQ=="}}"#, false),
            (r#"{"content":"http://x"}"#, false),
            (r#"{"content":"say {\"url\":\"http://x\"}"}"#, false),
            (r#"["http://x"]"#, false),
            (r#""http"#, false),
            ("", false),
        ] {
            assert_eq!(may_name_any(body.as_bytes()), wanted, "{body}");
        }
    }

    #[test]
    fn base64_is_whole_padded_and_of_the_usual_alphabet() {
        for (data, wanted) in [
            ("QQ==", None),
            ("QUI=", None),
            ("QUJD", None),
            ("+/+/", None),
            ("", Some("no bytes")),
            ("QQ", Some("no padding")),
            ("QUI", Some("no padding")),
            ("Q", Some("length")),
            ("Q===", Some("length")),
            ("QUJD=", Some("length")),
            ("QUJDR", Some("length")),
            ("====", Some("length")),
            ("QQ==QQ==", Some("middle")),
            ("QU-_", Some("for URLs")),
            ("QU JD", Some("white space")),
            ("QUJD\n", Some("white space")),
            ("Q\u{e9}==", Some("not base64")),
            ("{}()", Some("not base64")),
        ] {
            match (check_base64(data), wanted) {
                (Ok(()), None) => {}
                (Err(why), Some(words)) => assert!(why.contains(words), "{data}: {why}"),
                (got, _) => panic!("{data}: {got:?}"),
            }
        }
    }
}
