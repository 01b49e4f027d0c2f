//! AWS' Signature Version 4, for the service `bedrock` ("Create a signed AWS API request", IAM User Guide).

use std::time::SystemTime;

use super::{CONTENT_TYPE, Headers, SigningError, Unsigned, hex, hmac, host, rfc3339, sha256_hex};

const SERVICE: &str = "bedrock";
const FORM: &str = "ACCESS_KEY|SECRET_KEY, ACCESS_KEY|SECRET_KEY|REGION, \
    ACCESS_KEY|SECRET_KEY|REGION|SESSION_TOKEN, or one Bedrock API key";

/// What a credential holds.
pub(super) enum Keys<'a> {
    /// A Bedrock API key.
    Bearer(&'a str),
    /// Keys to sign with.
    Pair { access: &'a str, secret: &'a str, region: Option<&'a str>, token: Option<&'a str> },
}

impl<'a> Keys<'a> {
    pub(super) fn parse(credential: &'a str) -> Result<Self, SigningError> {
        let parts: Vec<_> = credential.split('|').map(str::trim).collect();
        let filled = |at: usize| parts.get(at).copied().filter(|part| !part.is_empty());
        match (parts.len(), filled(0), filled(1)) {
            (1, Some(key), None) => Ok(Self::Bearer(key)),
            (2..=4, Some(access), Some(secret)) => {
                Ok(Self::Pair { access, secret, region: filled(2), token: filled(3) })
            }
            _ => Err(SigningError::Form(FORM)),
        }
    }
}

pub(super) fn sign(
    credential: &str,
    request: &Unsigned<'_>,
    now: SystemTime,
) -> Result<Headers, SigningError> {
    let (access, secret, region, token) = match Keys::parse(credential)? {
        Keys::Bearer(key) => return Ok(vec![("authorization", format!("Bearer {key}"))]),
        Keys::Pair { access, secret, region, token } => (access, secret, region, token),
    };
    // The address decides where the request goes, so the settings' region wins.
    let region = request.region.or(region).ok_or(SigningError::NoRegion)?;
    let time: String = rfc3339(now).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let date = &time[..8];
    let mut headers = vec![
        ("content-type", CONTENT_TYPE.to_owned()),
        ("host", host(request.uri).to_owned()),
        ("x-amz-date", time.clone()),
    ];
    headers.extend(token.map(|token| ("x-amz-security-token", token.to_owned())));
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let canonical = format!(
        "POST\n{}\n{}\n{lines}\n{names}\n{}",
        encoded(request.uri.path(), b"/"),
        query(request.uri.query().unwrap_or_default()),
        sha256_hex(request.body)
    );
    let scope = format!("{date}/{region}/{SERVICE}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let steps = [date, region, SERVICE, "aws4_request", &to_sign];
    let key = format!("AWS4{secret}").into_bytes();
    let signature = steps.iter().fold(key, |key, step| hmac(&key, step.as_bytes()).as_ref().to_vec());
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, Signature={}",
        hex(&signature)
    );
    // Type and host are sent anyway.
    headers.drain(..2);
    headers.push(("authorization", authorization));
    Ok(headers)
}

/// Percent-encodes once more what stands on the wire, as every service but S3 wants it.
fn encoded(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ if kept.contains(&byte) => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

/// The query's pairs in order, as they stand.
fn query(query: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some(_) => pair.to_owned(),
        None => format!("{pair}="),
    };
    let mut pairs: Vec<_> = query.split('&').filter(|p| !p.is_empty()).map(pair).collect();
    pairs.sort_unstable();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{
        super::{Scheme, tests::NOW},
        *,
    };

    fn signed(uri: &str, body: &[u8], credential: &str, region: Option<&str>) -> Headers {
        let uri = uri.parse().expect("an address");
        let now = UNIX_EPOCH + Duration::from_millis(NOW * 1000 + 999);
        Scheme::SigV4
            .sign(credential, &Unsigned { uri: &uri, body, region }, now)
            .expect("it is signed")
            .headers
    }

    /// Signatures are botocore 1.44.5's for the same requests.
    #[test]
    fn signatures_are_those_of_botocore() {
        let keys = "AKIDEXAMPLE|wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        for (uri, body, more, region, signature) in [
            (
                "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse",
                &b"{\"a\":1}"[..],
                "",
                Some("us-east-1"),
                "f68f1b7d9ceaa192dc84967a339749af67d287d5c2753380d58e361f98d734c5",
            ),
            (
                "https://bedrock-runtime.eu-west-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Ax%2Fy/converse-stream",
                b"",
                "|eu-west-1|TOKEN+/=",
                None,
                "e4af5cb2f9f47224c15e08eff2afee674864c1e37a00efb735f1421780c393b5",
            ),
            (
                "http://127.0.0.1:8080/model/m/invoke?b=2&a=%2F1&a=",
                b"\xc3\xa9",
                "|us-west-9",
                Some("us-east-1"),
                "21178ae13102dc9bc51e000fe21b3ebaeadd91d41e5ec0a30d2f82f2f5451f85",
            ),
        ] {
            let headers = signed(uri, body, &format!("{keys}{more}"), region);
            assert_eq!(headers[0], ("x-amz-date", "20261122T030405Z".to_owned()));
            let (name, authorization) = headers.last().expect("headers");
            assert_eq!(*name, "authorization");
            assert!(authorization.ends_with(&format!("Signature={signature}")), "{uri}: {authorization}");
            assert_eq!(
                headers.iter().any(|(name, _)| *name == "x-amz-security-token"),
                more.contains("TOKEN")
            );
        }
    }

    #[test]
    fn a_bedrock_api_key_is_shown_and_a_pair_needs_a_region() {
        let headers = signed("https://h/", b"", "bedrock-api-key", None);
        assert_eq!(headers, [("authorization", "Bearer bedrock-api-key".to_owned())]);
        let uri = "https://h/".parse().expect("an address");
        let unsigned = Unsigned { uri: &uri, body: b"", region: None };
        assert_eq!(Scheme::SigV4.sign("A|S", &unsigned, UNIX_EPOCH), Err(SigningError::NoRegion));
    }
}
