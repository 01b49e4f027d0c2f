//! Tencent Cloud's TC3-HMAC-SHA256, for Hunyuan's chat ("Signature v3" of its API documents).

use std::time::{Duration, SystemTime};

use super::{CONTENT_TYPE, Headers, SigningError, Unsigned, hex, hmac, host, rfc3339, sha256_hex};

const SERVICE: &str = "hunyuan";
const ACTION: &str = "ChatCompletions";
const VERSION: &str = "2023-09-01";
const FORM: &str = "SECRET_ID|SECRET_KEY or APP_ID|SECRET_ID|SECRET_KEY";

/// Id and key.
pub(super) fn keys(credential: &str) -> Result<(&str, &str), SigningError> {
    let parts: Vec<_> = credential.split('|').map(str::trim).collect();
    match parts[..] {
        [id, key] | [_, id, key] if !id.is_empty() && !key.is_empty() => Ok((id, key)),
        _ => Err(SigningError::Form(FORM)),
    }
}

pub(super) fn sign(
    credential: &str,
    request: &Unsigned<'_>,
    since: Duration,
    now: SystemTime,
) -> Result<Headers, SigningError> {
    let (id, key) = keys(credential)?;
    let canonical = format!(
        "POST\n{}\n{}\ncontent-type:{CONTENT_TYPE}\nhost:{}\n\ncontent-type;host\n{}",
        request.uri.path(),
        request.uri.query().unwrap_or_default(),
        host(request.uri),
        sha256_hex(request.body)
    );
    let (time, stamp) = (rfc3339(now), since.as_secs());
    let date = &time[..10];
    let scope = format!("{date}/{SERVICE}/tc3_request");
    let to_sign = format!("TC3-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let steps = [date, SERVICE, "tc3_request", &to_sign];
    let key = format!("TC3{key}").into_bytes();
    let signature = steps.iter().fold(key, |key, step| hmac(&key, step.as_bytes()).as_ref().to_vec());
    let authorization = format!(
        "TC3-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=content-type;host, Signature={}",
        hex(&signature)
    );
    Ok(vec![
        ("x-tc-action", ACTION.to_owned()),
        ("x-tc-version", VERSION.to_owned()),
        ("x-tc-timestamp", stamp.to_string()),
        ("authorization", authorization),
    ])
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::{
        super::{Scheme, tests::NOW},
        *,
    };

    /// The signature is that of tencentcloud-sdk-python 3.1.195 for the same request.
    #[test]
    fn the_signature_is_that_of_the_providers_own_sdk() {
        let uri = "https://hunyuan.tencentcloudapi.com/".parse().expect("an address");
        let request = Unsigned { uri: &uri, body: b"{\"Model\": \"hunyuan-lite\"}", region: None };
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        for credential in ["AKIDEXAMPLE|SECRETEXAMPLE", "1234|AKIDEXAMPLE|SECRETEXAMPLE"] {
            let headers = Scheme::Tc3.sign(credential, &request, now).expect("it is signed").headers;
            let wanted = "TC3-HMAC-SHA256 Credential=AKIDEXAMPLE/2026-11-22/hunyuan/tc3_request, \
                SignedHeaders=content-type;host, \
                Signature=eb6adec02a21a0280613d94c1c0c37537b0e2e7a3b2e699b7d88b2cd0a657e53";
            assert_eq!(headers[3], ("authorization", wanted.to_owned()));
            assert_eq!(headers[2], ("x-tc-timestamp", "1795316645".to_owned()));
        }
    }
}
