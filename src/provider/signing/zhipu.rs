//! Zhipu's token: a JWT of the key's two halves, as its SDK up to 2.1 makes it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Headers, SigningError, hmac};

const HEADER: &str = r#"{"alg":"HS256","sign_type":"SIGN","typ":"JWT"}"#;
/// How long a token is good for. It is made anew for each request.
const LIFE: Duration = Duration::from_secs(600);

/// Id and secret.
pub(super) fn keys(credential: &str) -> Result<(&str, &str), SigningError> {
    let halves = credential.split_once('.');
    halves
        .filter(|(id, secret)| !id.is_empty() && !secret.is_empty() && !secret.contains('.'))
        .ok_or(SigningError::Form("ID.SECRET"))
}

pub(super) fn sign(credential: &str, since: Duration) -> Result<Headers, SigningError> {
    let (id, secret) = keys(credential)?;
    let (exp, stamp) = ((since + LIFE).as_millis(), since.as_millis());
    let id = serde_json::to_string(id).unwrap_or_default();
    let claims = format!(r#"{{"api_key":{id},"exp":{exp},"timestamp":{stamp}}}"#);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(hmac(secret.as_bytes(), signed.as_bytes()));
    Ok(vec![("authorization", format!("{signed}.{signature}"))])
}

#[cfg(test)]
mod tests {
    use super::{super::tests::NOW, *};

    /// The token is the one that PyJWT 2.8 makes of the same header and claims.
    #[test]
    fn the_token_is_a_jwt_of_the_keys_halves() {
        let headers = sign("id.secret", Duration::from_secs(NOW)).expect("it is signed");
        assert_eq!(headers, [("authorization", "eyJhbGciOiJIUzI1NiIsInNpZ25fdHlwZSI6IlNJR04iLCJ0eXAiOiJKV1QifQ.eyJhcGlfa2V5IjoiaWQiLCJleHAiOjE3OTUzMTcyNDUwMDAsInRpbWVzdGFtcCI6MTc5NTMxNjY0NTAwMH0._GQBrYCBkjsrzwJmzWzAL3NsTP45s6_4FeV99zc-e7o".to_owned())]);
    }
}
