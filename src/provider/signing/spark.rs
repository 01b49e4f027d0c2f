//! The signed address of iFlytek's Spark: its query holds an HMAC of host, date and request line.
//!
//! The application, a part of the credential, stands in the body's `header`, which is added here.

use std::time::SystemTime;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{Signature, SigningError, Unsigned, hmac, host};

/// What a credential `APP_ID|API_SECRET|API_KEY` holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys<'a> {
    app_id: &'a str,
    secret: &'a str,
    key: &'a str,
}

impl<'a> Keys<'a> {
    /// Takes a credential apart.
    ///
    /// # Errors
    /// [`SigningError::Form`].
    pub(super) fn parse(credential: &'a str) -> Result<Self, SigningError> {
        let parts: Vec<_> = credential.split('|').map(str::trim).collect();
        match parts[..] {
            [app_id, secret, key] if ![app_id, secret, key].contains(&"") => Ok(Self { app_id, secret, key }),
            _ => Err(SigningError::Form("APP_ID|API_SECRET|API_KEY")),
        }
    }
}

pub(super) fn sign(
    credential: &str,
    request: &Unsigned<'_>,
    now: SystemTime,
) -> Result<Signature, SigningError> {
    let keys = Keys::parse(credential)?;
    let (host, date) = (host(request.uri), httpdate::fmt_http_date(now));
    let signed = format!("host: {host}\ndate: {date}\nGET {} HTTP/1.1", request.uri.path());
    let signature = STANDARD.encode(hmac(keys.secret.as_bytes(), signed.as_bytes()));
    let authorization = format!(
        "api_key=\"{}\", algorithm=\"hmac-sha256\", headers=\"host date request-line\", signature=\"{signature}\"",
        keys.key
    );
    let fields = [("authorization", &*STANDARD.encode(authorization)), ("date", &date), ("host", host)];
    let fields = fields.map(|(name, value)| format!("{name}={}", form_encoded(value)));
    Ok(Signature {
        headers: Vec::new(),
        query: Some(fields.join("&")),
        body: Some(with_app(request.body, keys.app_id)),
    })
}

/// The body with a header that names the application, as its first member.
fn with_app(body: &[u8], app_id: &str) -> Bytes {
    let app = serde_json::to_string(app_id).unwrap_or_default();
    let rest = body.strip_prefix(b"{").unwrap_or(body);
    let comma = if rest.first() == Some(&b'}') { "" } else { "," };
    [format!("{{\"header\":{{\"app_id\":{app}}}{comma}").as_bytes(), rest].concat().into()
}

/// Writes a value as forms do: a space is a plus.
fn form_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{super::tests::NOW, *};

    /// The query is the one that `create_url` of `sparkai.spark_proxy.spark_auth` (spark-ai-python 0.4.5) makes.
    #[test]
    fn an_address_is_signed_and_the_body_names_the_application() {
        let uri = "https://spark-api.xf-yun.com/v3.5/chat".parse().expect("an address");
        let request = Unsigned { uri: &uri, body: br#"{"payload":1}"#, region: None };
        let signature =
            sign("app|secret|key", &request, UNIX_EPOCH + Duration::from_secs(NOW)).expect("signed");
        assert_eq!(
            signature.query.as_deref(),
            Some(
                "authorization=YXBpX2tleT0ia2V5IiwgYWxnb3JpdGhtPSJobWFjLXNoYTI1NiIsIGhlYWRlcnM9Imhvc3QgZGF0ZSByZXF1ZXN0LWxpbmUiLCBzaWduYXR1cmU9IlhFNGhBU0pSWURvVGJxU0tTV3Bick1hZllrUEVZUW56bjRtcWhKRUM5cDQ9Ig%3D%3D&date=Sun%2C+22+Nov+2026+03%3A04%3A05+GMT&host=spark-api.xf-yun.com"
            )
        );
        assert_eq!(&signature.body.expect("a body")[..], br#"{"header":{"app_id":"app"},"payload":1}"#);
        assert_eq!(&with_app(b"{}", "a")[..], br#"{"header":{"app_id":"a"}}"#);
    }
}
