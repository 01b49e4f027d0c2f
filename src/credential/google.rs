//! What Google wants for a token: a service account's signed assertion (RFC 7523), or a user's refresh token.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{rand::SystemRandom, signature};

use super::{TokenError, exchange::form};
use crate::provider::grant::{GoogleKey, google_key};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The life of an assertion, in seconds: the longest that is taken.
const LIFE: u64 = 3600;

/// The address, and the fields of the form.
///
/// # Errors
/// [`TokenError::Refused`] where the key is none.
pub(super) fn fields(credential: &str, now: SystemTime) -> Result<(String, String), TokenError> {
    match google_key(credential).map_err(|error| TokenError::Refused(error.to_string()))? {
        GoogleKey::ServiceAccount { client_email, private_key, private_key_id, token_uri } => {
            let iat = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let header = serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": private_key_id});
            let claims = serde_json::json!({
                "iss": client_email, "scope": SCOPE, "aud": token_uri, "iat": iat, "exp": iat + LIFE,
            });
            let encoded = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
            let signed = format!("{}.{}", encoded(header), encoded(claims));
            let signature = URL_SAFE_NO_PAD.encode(sign(&private_key, signed.as_bytes())?);
            let assertion = format!("{signed}.{signature}");
            let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            Ok((token_uri, form(&[("grant_type", grant), ("assertion", &assertion)])))
        }
        GoogleKey::AuthorizedUser { client_id, client_secret, refresh_token, token_uri } => {
            let fields = [
                ("grant_type", "refresh_token"),
                ("client_id", &client_id),
                ("client_secret", &client_secret),
                ("refresh_token", &refresh_token),
            ];
            Ok((token_uri, form(&fields)))
        }
    }
}

/// Signs by RSA with SHA-256 (RSASSA-PKCS1-v1_5).
fn sign(pem: &str, message: &[u8]) -> Result<Vec<u8>, TokenError> {
    let refused = |why: &str| TokenError::Refused(format!("its private_key {why}"));
    let lines = pem.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("-----"));
    let der = STANDARD.decode(lines.collect::<String>()).map_err(|_| refused("is no PEM"))?;
    let key = match pem.contains("BEGIN RSA PRIVATE KEY") {
        true => signature::RsaKeyPair::from_der(&der),
        false => signature::RsaKeyPair::from_pkcs8(&der),
    };
    let key = key.map_err(|_| refused("is no RSA key of at least 2048 bits"))?;
    let mut signed = vec![0; key.public().modulus_len()];
    key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signed)
        .map_err(|_| refused("cannot sign"))?;
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    const ACCOUNT: &str = include_str!("../mock/foreign/service-account.json");

    /// What google-auth 2.62.2 makes of this account on 22 November 2026, 03:04:05 UTC.
    const THEIRS: &str = "eyJ0eXAiOiAiSldUIiwgImFsZyI6ICJSUzI1NiIsICJraWQiOiAicGVuc3RvY2stbW9jay0xIn0.eyJpYXQiOiAxNzk1MzE2NjQ1LCAiZXhwIjogMTc5NTMyMDI0NSwgImlzcyI6ICJtb2NrQHBlbnN0b2NrLW1vY2suaWFtLmdzZXJ2aWNlYWNjb3VudC5jb20iLCAiYXVkIjogImh0dHBzOi8vb2F1dGgyLmdvb2dsZWFwaXMuY29tL3Rva2VuIiwgInNjb3BlIjogImh0dHBzOi8vd3d3Lmdvb2dsZWFwaXMuY29tL2F1dGgvY2xvdWQtcGxhdGZvcm0ifQ.V8qx4EgW1pTvcHUR2QE-7xAVeVMEj2chI94KA9dznxosElATC9peGc3livLB2ikX2V9dD634ZtdIxYAEzbKV_UqsXvG_U-f1haS6pMANsfFxVG7-_XlbTIN3l0aE4dVDXSJcXYT0ufZXPmYqrj0eD9NQ_BVTMalv4UmsEBE0NXliad35bLuZe0B2V_6FmGkeTkBBI13GYwb6mPRKuNDWBJ1-PZzh4BLm1fyQPl5ersI-cWzjvBSZ0F1ziy4EV5Xa6zvhfNOEM7oizTTbZ8U6WVtWlm88VWEOuzyv6gY62-k9Vjw-bZJ8jcvvkfXdci6y5ODyZeoXEPQI-Pz0Ctq28Q";

    fn part(jwt: &str, n: usize) -> Value {
        let part = jwt.split('.').nth(n).expect("a part");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    }

    #[test]
    fn assertions_and_signatures_are_those_of_googles_own_library() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_316_645);
        let (uri, form) = fields(ACCOUNT, now).expect("a question");
        assert_eq!(uri, "https://oauth2.googleapis.com/token");
        let ours = form
            .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
            .expect("the fields");
        for n in [0, 1] {
            assert_eq!(part(ours, n), part(THEIRS, n));
        }
        let account: Value = serde_json::from_str(ACCOUNT).expect("JSON");
        let key = account["private_key"].as_str().expect("a key");
        for jwt in [ours, THEIRS] {
            let (signed, signature) = jwt.rsplit_once('.').expect("three parts");
            let wanted = URL_SAFE_NO_PAD.encode(sign(key, signed.as_bytes()).expect("signed"));
            assert_eq!(signature, wanted);
        }
    }

    #[test]
    fn keys_that_are_none_are_refused_without_their_text() {
        for key in ["PRIVATE KEY", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let error = sign(key, b"x").expect_err("no key").to_string();
            assert!(error.contains("private_key") && !error.contains("AAAA"), "{error}");
        }
    }
}
