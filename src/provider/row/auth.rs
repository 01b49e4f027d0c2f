//! How a provider wants to be shown the credential.

use std::sync::Arc;

use http::{HeaderName, header};

use crate::provider::{grant::Grant, signing::Scheme};

/// How a provider wants to be shown the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer ...`, if there is a credential.
    Bearer,
    /// `Authorization: WORD ...`.
    Word(Arc<str>),
    /// The credential bare in a header of this name.
    Header(Arc<str>),
    /// Not itself: each request is signed with it.
    Signed(Scheme),
    /// Not itself: a token is got for it, again and again.
    Token(Grant),
    /// It takes none.
    None,
}

impl Auth {
    /// The header that shows a credential as it is; `None` where it is not shown so.
    pub fn header(&self, credential: &str) -> Option<(HeaderName, String)> {
        match self {
            Self::Bearer => Some((header::AUTHORIZATION, format!("Bearer {credential}"))),
            Self::Word(word) => Some((header::AUTHORIZATION, format!("{word} {credential}"))),
            Self::Header(name) => {
                Some((HeaderName::from_bytes(name.as_bytes()).ok()?, credential.to_owned()))
            }
            Self::Signed(_) | Self::Token(_) | Self::None => None,
        }
    }

    /// The name of the header that shows the credential or what is made of it.
    pub fn header_name(&self) -> &str {
        match self {
            Self::Header(name) => name,
            _ => header::AUTHORIZATION.as_str(),
        }
    }

    /// Reads what a row says.
    ///
    /// # Errors
    /// A sentence, where it is none of the words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "bearer" => return Ok(Self::Bearer),
            "none" => return Ok(Self::None),
            _ => {}
        }
        if let Some(scheme) = Scheme::ALL.into_iter().find(|scheme| scheme.name() == text) {
            return Ok(Self::Signed(scheme));
        }
        if let Some(grant) = Grant::ALL.into_iter().find(|grant| grant.name() == text) {
            return Ok(Self::Token(grant));
        }
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if let Some(word) = text.strip_prefix("word:").filter(|word| is_word(word)) {
            return Ok(Self::Word(word.into()));
        }
        if let Some(name) = text.strip_prefix("header:") {
            return Ok(Self::Header(name.into()));
        }
        let names = Scheme::ALL.map(Scheme::name).into_iter().chain(Grant::ALL.map(Grant::name));
        let names: Vec<_> = names.map(|name| format!("\"{name}\"")).collect();
        Err(format!(
            "\"{text}\" must be \"bearer\", \"none\", \"header:NAME\", \"word:WORD\", {}",
            names.join(", ")
        ))
    }
}

impl std::fmt::Display for Auth {
    /// As rows write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bearer => f.write_str("bearer"),
            Self::Word(word) => write!(f, "word:{word}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Signed(scheme) => f.write_str(scheme.name()),
            Self::Token(grant) => f.write_str(grant.name()),
            Self::None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_read_as_it_is_written() {
        for text in [
            "bearer",
            "none",
            "header:x-api-key",
            "word:DeepL-Auth-Key",
            "aws-sigv4",
            "google-oauth",
            "azure-ad",
            "baidu-oauth",
        ] {
            assert_eq!(Auth::parse(text).expect(text).to_string(), text);
        }
        for text in ["", "basic", "word:", "word:two words", "Bearer"] {
            assert!(Auth::parse(text).is_err(), "{text}");
        }
        let shown = Auth::parse("word:Key").expect("a word").header("k");
        assert_eq!(shown, Some((header::AUTHORIZATION, "Key k".to_owned())));
    }
}
