//! Who exchanges credentials for tokens: Google, Microsoft Entra, Baidu. As strict as they are: signatures,
//! claims and secrets are checked.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use ring::signature::{self, KeyPair as _};
use serde_json::{Value, json};

use super::{SECRET, Seen};

/// The token that Google gives.
pub const GOOGLE: &str = "ya29.penstock-mock-google-token";
/// The one of Microsoft's.
pub const AZURE: &str = "eyJ0.penstock-mock-azure-token";
/// The one of Baidu's.
pub const BAIDU: &str = "24.penstock-mock-baidu-token";

/// The key file of the service account that the mock knows.
const ACCOUNT: &str = include_str!("service-account.json");

/// The key file of the service account that the mock accepts, with the mock's own address for tokens.
pub fn service_account(address: &str) -> String {
    let mut account: Value = serde_json::from_str(ACCOUNT).unwrap_or_default();
    account["token_uri"] = format!("{address}/token").into();
    account.to_string()
}

/// An answer: status and body.
pub type Told = (u16, Bytes);

/// Answers where a path is one of tokens.
pub fn answer(seen: &Seen<'_>, method: &str, body: &[u8], now: u64) -> Option<Told> {
    let form = String::from_utf8_lossy(body);
    let checked = match seen.path {
        "/token" => google(&form, now).map(|()| (GOOGLE, 3599)),
        "/oauth/2.0/token" => baidu(seen.query).map(|()| (BAIDU, 2_592_000)),
        path if path.ends_with("/oauth2/v2.0/token") => azure(&form).map(|()| (AZURE, 3599)),
        _ => return None,
    };
    let is_form = seen.header("content-type").is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let checked = match method == "POST" && is_form {
        true => checked,
        false => Err(("invalid_request", "a form must be posted")),
    };
    Some(match checked {
        Ok((token, life)) => {
            let body = json!({"access_token": token, "expires_in": life, "token_type": "Bearer"});
            (200, body.to_string().into())
        }
        Err((error, why)) => {
            let status = if error == "invalid_client" { 401 } else { 400 };
            (status, json!({"error": error, "error_description": why}).to_string().into())
        }
    })
}

type Wrong = (&'static str, &'static str);

/// A field of a form, decoded.
fn field(form: &str, name: &str) -> Option<String> {
    let value = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
                digit(rest.next()?)? * 16 + digit(rest.next()?)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn google(form: &str, now: u64) -> Result<(), Wrong> {
    let grant = field(form, "grant_type").unwrap_or_default();
    match grant.as_str() {
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            assertion(&field(form, "assertion").unwrap_or_default(), now)
        }
        "refresh_token" if field(form, "refresh_token").as_deref() == Some(SECRET) => Ok(()),
        "refresh_token" => Err(("invalid_grant", "Token has been expired or revoked.")),
        _ => Err(("unsupported_grant_type", "Invalid grant_type")),
    }
}

fn assertion(jwt: &str, now: u64) -> Result<(), Wrong> {
    let bad = |why| Err(("invalid_grant", why));
    let Some((signed, signature)) = jwt.rsplit_once('.') else { return bad("Bad Request") };
    let account: Value = serde_json::from_str(ACCOUNT).unwrap_or_default();
    let pem = account["private_key"].as_str().unwrap_or_default();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = STANDARD.decode(der).ok().and_then(|der| signature::RsaKeyPair::from_pkcs8(&der).ok());
    let Some(key) = key else { return bad("the mock has no key") };
    let public =
        signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    if public.verify(signed.as_bytes(), &signature).is_err() {
        return bad("Invalid JWT Signature.");
    }
    let claims = signed.split_once('.').and_then(|(_, claims)| URL_SAFE_NO_PAD.decode(claims).ok());
    let claims: Value = claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default();
    let seconds = |name: &str| claims[name].as_u64().unwrap_or(0);
    if claims["iss"] != account["client_email"] {
        return bad("Invalid issuer");
    }
    if !claims["aud"].as_str().is_some_and(|aud| aud.ends_with("/token")) {
        return bad("Invalid JWT: Failed audience check.");
    }
    if seconds("iat") > now + 60 || seconds("exp") < now || seconds("exp") - seconds("iat") > 3600 {
        return bad(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
        );
    }
    match claims["scope"].as_str() {
        Some("https://www.googleapis.com/auth/cloud-platform") => Ok(()),
        _ => Err(("invalid_scope", "Invalid OAuth scope or ID token audience provided.")),
    }
}

fn azure(form: &str) -> Result<(), Wrong> {
    if field(form, "grant_type").as_deref() != Some("client_credentials") {
        return Err(("unsupported_grant_type", "AADSTS70003"));
    }
    if field(form, "scope").as_deref() != Some("https://cognitiveservices.azure.com/.default") {
        return Err(("invalid_scope", "AADSTS70011"));
    }
    match field(form, "client_secret").as_deref() {
        Some(SECRET) => Ok(()),
        _ => Err(("invalid_client", "AADSTS7000215: Invalid client secret provided.")),
    }
}

fn baidu(query: &str) -> Result<(), Wrong> {
    match (field(query, "grant_type").as_deref(), field(query, "client_secret").as_deref()) {
        (Some("client_credentials"), Some(SECRET)) => Ok(()),
        (Some("client_credentials"), _) => Err(("invalid_client", "Client authentication failed")),
        _ => Err(("unsupported_grant_type", "The authorization grant type is not supported")),
    }
}
