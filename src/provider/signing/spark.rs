//! The signed address of iFlytek's Spark websocket ("General URL authentication" of its documents).

use std::time::SystemTime;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{SigningError, hmac};

/// What a credential `APP_ID|API_SECRET|API_KEY` holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SparkKeys<'a> {
    /// The application, which stands in the request.
    pub app_id: &'a str,
    secret: &'a str,
    key: &'a str,
}

impl<'a> SparkKeys<'a> {
    /// Takes a credential apart.
    ///
    /// # Errors
    /// [`SigningError::Form`].
    pub fn parse(credential: &'a str) -> Result<Self, SigningError> {
        let parts: Vec<_> = credential.split('|').map(str::trim).collect();
        match parts[..] {
            [app_id, secret, key] if ![app_id, secret, key].contains(&"") => Ok(Self { app_id, secret, key }),
            _ => Err(SigningError::Form("APP_ID|API_SECRET|API_KEY")),
        }
    }
}

/// The query that signs a websocket's address.
pub fn signed_url(keys: &SparkKeys<'_>, host: &str, path: &str, now: SystemTime) -> String {
    let date = httpdate::fmt_http_date(now);
    let signed = format!("host: {host}\ndate: {date}\nGET {path} HTTP/1.1");
    let signature = STANDARD.encode(hmac(keys.secret.as_bytes(), signed.as_bytes()));
    let authorization = format!(
        "hmac username=\"{}\", algorithm=\"hmac-sha256\", headers=\"host date request-line\", signature=\"{signature}\"",
        keys.key
    );
    let fields = [("host", host), ("date", &date), ("authorization", &STANDARD.encode(authorization))];
    let fields = fields.map(|(name, value)| format!("{name}={}", form_encoded(value)));
    format!("{path}?{}", fields.join("&"))
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

    /// Worked out with Python's hmac and urllib from the provider's description.
    #[test]
    fn an_address_is_signed() {
        let keys = SparkKeys::parse("app|secret|key").expect("a credential");
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        assert_eq!(
            signed_url(&keys, "spark-api.xf-yun.com", "/v1.1/chat", now),
            "/v1.1/chat?host=spark-api.xf-yun.com&date=Sun%2C+22+Nov+2026+03%3A04%3A05+GMT&authorization=aG1hYyB1c2VybmFtZT0ia2V5IiwgYWxnb3JpdGhtPSJobWFjLXNoYTI1NiIsIGhlYWRlcnM9Imhvc3QgZGF0ZSByZXF1ZXN0LWxpbmUiLCBzaWduYXR1cmU9IjN6ZkRtVHl4MnBjZjN3UlBmUzJ4MU1UWUFxam5yRUtxRzJaMFRtNFZ0TWs9Ig%3D%3D"
        );
        for credential in ["", "a|b", "a||c", "a|b|c|d"] {
            assert!(SparkKeys::parse(credential).is_err(), "{credential}");
        }
    }
}
