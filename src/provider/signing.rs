//! Requests that are signed: the headers a scheme adds to one, made of the credential, the request and the time.
//!
//! Pure: whoever sends tells the time. HMAC and SHA-256 are ring's.

mod sigv4;
mod spark;
mod tc3;
mod zhipu;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Uri;
use ring::{digest, hmac};

/// How requests of a provider are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// AWS' Signature Version 4; the credential is `ACCESS_KEY|SECRET_KEY`, `...|REGION` or
    /// `...|REGION|SESSION_TOKEN`. One without a bar is a Bedrock API key, shown as a bearer.
    SigV4,
    /// Tencent Cloud's TC3-HMAC-SHA256; the credential is `SECRET_ID|SECRET_KEY` or `APP_ID|SECRET_ID|SECRET_KEY`.
    Tc3,
    /// Zhipu's token, made of the credential `ID.SECRET` for each request.
    ZhipuJwt,
    /// iFlytek's signed address; the credential is `APP_ID|API_SECRET|API_KEY`, as in One API.
    SparkUrl,
}

/// A request that wants to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// Where it goes.
    pub uri: &'a Uri,
    /// What it carries; its type is JSON.
    pub body: &'a [u8],
    /// The region of the channel, where its provider has regions.
    pub region: Option<&'a str>,
}

/// Why a request cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The credential is not of the scheme's form.
    #[error("the credential must be written as {0}")]
    Form(&'static str),
    /// Neither credential nor settings name a region.
    #[error("no region is named")]
    NoRegion,
    /// The clock stands before 1970.
    #[error("the clock stands before 1970")]
    Clock,
}

/// Headers to add.
pub type Headers = Vec<(&'static str, String)>;

/// What signs a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Headers to add.
    pub headers: Headers,
    /// What the address is to be asked with, where the signature stands in it.
    pub query: Option<String>,
    /// The body, where a part of the credential stands in it.
    pub body: Option<Bytes>,
}

impl From<Headers> for Signature {
    fn from(headers: Headers) -> Self {
        Self { headers, ..Self::default() }
    }
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::SigV4, Self::Tc3, Self::ZhipuJwt, Self::SparkUrl];

    /// The name in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::SigV4 => "aws-sigv4",
            Self::Tc3 => "tencent-tc3",
            Self::ZhipuJwt => "zhipu-jwt",
            Self::SparkUrl => "spark-url",
        }
    }

    /// Checks a credential's form.
    ///
    /// # Errors
    /// [`SigningError::Form`], which says how it must be written.
    pub fn check(self, credential: &str) -> Result<(), SigningError> {
        match self {
            Self::SigV4 => sigv4::Keys::parse(credential).map(|_| ()),
            Self::Tc3 => tc3::keys(credential).map(|_| ()),
            Self::ZhipuJwt => zhipu::keys(credential).map(|_| ()),
            Self::SparkUrl => spark::Keys::parse(credential).map(|_| ()),
        }
    }

    /// What signs a request.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn sign(
        self,
        credential: &str,
        request: &Unsigned<'_>,
        now: SystemTime,
    ) -> Result<Signature, SigningError> {
        let since = now.duration_since(UNIX_EPOCH).map_err(|_| SigningError::Clock)?;
        match self {
            Self::SigV4 => sigv4::sign(credential, request, now).map(Signature::from),
            Self::Tc3 => tc3::sign(credential, request, since, now).map(Signature::from),
            Self::ZhipuJwt => zhipu::sign(credential, since).map(Signature::from),
            Self::SparkUrl => spark::sign(credential, request, now),
        }
    }

    /// Whether a signature covers the body, so that it must be whole.
    pub fn covers_body(self) -> bool {
        match self {
            // Or stands in it.
            Self::SigV4 | Self::Tc3 | Self::SparkUrl => true,
            Self::ZhipuJwt => false,
        }
    }

    /// What of a credential must never be told: its parts, for each is quoted on its own.
    pub fn secrets(self, credential: &str) -> impl Iterator<Item = &str> + Clone {
        let border = if self == Self::ZhipuJwt { '.' } else { '|' };
        credential.split(border).filter(|part| part.len() >= 8)
    }
}

/// The type every signed request has.
const CONTENT_TYPE: &str = "application/json";

fn host(uri: &Uri) -> &str {
    uri.authority().map_or("", |authority| authority.as_str())
}

fn hmac(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// `2026-11-22T03:04:05Z`.
fn rfc3339(now: SystemTime) -> String {
    // Whole seconds: the formatter of seconds is told no fraction.
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(since.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sunday, 22 November 2026, 03:04:05 UTC.
    pub(super) const NOW: u64 = 1_795_316_645;

    #[test]
    fn credentials_of_another_form_are_refused_with_the_form_that_is_wanted() {
        for (scheme, good, bad) in [
            (
                Scheme::SigV4,
                &["AK|SK", "AK|SK|us-east-1", "AK|SK|us-east-1|T", "bedrock-api-key"][..],
                &["", "AK|", "|SK", "a|b|c|d|e"][..],
            ),
            (Scheme::Tc3, &["ID|KEY", "1|ID|KEY"], &["", "ID", "ID|", "a|b|c|d"]),
            (Scheme::ZhipuJwt, &["id.secret"], &["", "id", "id.", ".x", "a.b.c"]),
            (Scheme::SparkUrl, &["app|secret|key"], &["", "a|b", "a||c", "a|b|c|d"]),
        ] {
            for credential in good {
                assert_eq!(scheme.check(credential), Ok(()), "{}: {credential}", scheme.name());
            }
            for credential in bad {
                assert!(matches!(scheme.check(credential), Err(SigningError::Form(_))), "{credential}");
            }
        }
    }

    #[test]
    fn each_part_of_a_credential_is_a_secret() {
        let secrets: Vec<_> = Scheme::SigV4.secrets("AKIDEXAMPLE|wJalrXUtnFEMI|eu").collect();
        assert_eq!(secrets, ["AKIDEXAMPLE", "wJalrXUtnFEMI"]);
    }
}
