//! What is asked for a token, and what an answer says (RFC 6749, sections 5.1 and 5.2, and what Baidu makes of it).

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Deserialize;

use super::{Answer, Question, TokenError, Wanted, google};
use crate::provider::{
    grant::{Grant, azure_parts, baidu_parts},
    signing::SigningError,
};

const FORM: &str = "application/x-www-form-urlencoded";
/// What Azure's models want to see in a token.
const AZURE_SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// The life of a token of which nothing is said.
const UNSAID_LIFE: Duration = Duration::from_secs(600);
/// No token is longer, in bytes.
const LONGEST_TOKEN: usize = 16 << 10;

/// A token, and how long it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) token: String,
    pub(super) life: Duration,
}

/// What to ask.
///
/// # Errors
/// [`TokenError::Refused`] where the credential cannot even be asked with.
pub(super) fn question(wanted: &Wanted, now: SystemTime) -> Result<Question, TokenError> {
    let of_form = |error: SigningError| TokenError::Refused(error.to_string());
    let credential = wanted.credential.expose();
    let (uri, fields) = match wanted.grant {
        Grant::Google => google::fields(credential, now)?,
        Grant::Azure => {
            let [tenant, id, secret, login] = azure_parts(credential).map_err(of_form)?;
            let fields = [
                ("grant_type", "client_credentials"),
                ("client_id", id),
                ("client_secret", secret),
                ("scope", AZURE_SCOPE),
            ];
            (format!("{login}/{tenant}/oauth2/v2.0/token"), form(&fields))
        }
        Grant::Baidu => {
            let [key, secret] = baidu_parts(credential).map_err(of_form)?;
            let fields =
                [("grant_type", "client_credentials"), ("client_id", key), ("client_secret", secret)];
            let base = wanted.base_url.as_deref().unwrap_or("https://aip.baidubce.com");
            // It reads the query alone.
            (format!("{base}/oauth/2.0/token?{}", form(&fields)), String::new())
        }
    };
    let uri = uri.parse().map_err(|_| TokenError::Refused("it names no address for tokens".to_owned()))?;
    Ok(Question { uri, content_type: FORM, body: Bytes::from(fields) })
}

#[derive(Deserialize)]
struct Body {
    access_token: Option<String>,
    expires_in: Option<Seconds>,
    error: Option<serde_json::Value>,
    error_description: Option<String>,
}

/// Some write a number as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

/// Reads an answer.
///
/// # Errors
/// [`TokenError`] where it holds no token.
pub(super) fn read(answer: &Answer) -> Result<Granted, TokenError> {
    let Ok(body) = serde_json::from_slice::<Body>(&answer.body) else {
        return Err(of_status(answer.status, "something else than JSON".to_owned()));
    };
    match (answer.status, body.access_token, body.error) {
        (200..300, Some(token), None) if (1..=LONGEST_TOKEN).contains(&token.trim().len()) => {
            let seconds = match body.expires_in {
                None => Some(UNSAID_LIFE.as_secs_f64()),
                Some(Seconds::Number(n)) => Some(n),
                Some(Seconds::Text(text)) => text.trim().parse().ok(),
            };
            match seconds.filter(|s| *s >= 1.0).map(|s| Duration::from_secs(s.min(1e9) as u64)) {
                Some(life) => Ok(Granted { token: token.trim().to_owned(), life }),
                None => Err(TokenError::Unavailable("the token that came has ended already".to_owned())),
            }
        }
        (status, _, Some(error)) => {
            let word = error.as_str().unwrap_or("an error");
            let why = match body.error_description {
                Some(more) => format!("{word}: {more}"),
                None => word.to_owned(),
            };
            let passing = ["server_error", "temporarily_unavailable", "internal_failure", "slow_down"];
            match passing.contains(&word) {
                true => Err(TokenError::Unavailable(shown(&why))),
                false if (200..300).contains(&status) => Err(TokenError::Refused(shown(&why))),
                false => Err(of_status(status, why)),
            }
        }
        (status, ..) => Err(of_status(status, "no token".to_owned())),
    }
}

fn of_status(status: u16, what: String) -> TokenError {
    let what = shown(&what);
    match status {
        400 | 401 | 403 | 404 => TokenError::Refused(format!("status {status}, {what}")),
        _ => TokenError::Unavailable(format!("the answer has status {status} and holds {what}")),
    }
}

/// A stranger's words as far as they belong into a log.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Fields as forms are written.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    out.push(char::from(byte));
                }
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use penstock_actors::domain::Credential;

    use super::*;

    fn asked(grant: Grant, credential: &str) -> (String, String) {
        let credential = Credential::new(credential);
        let base_url = Some("http://127.0.0.1:1".into());
        let wanted = Wanted { grant, credential, base_url, proxy: None };
        let question = question(&wanted, UNIX_EPOCH).expect("a question");
        (question.uri.to_string(), String::from_utf8(question.body.to_vec()).expect("text"))
    }

    #[test]
    fn each_grant_is_asked_as_its_documents_say() {
        assert_eq!(
            asked(Grant::Azure, "tenant|id|s&cret"),
            (
                "https://login.microsoftonline.com/tenant/oauth2/v2.0/token".to_owned(),
                "grant_type=client_credentials&client_id=id&client_secret=s%26cret&\
                 scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default"
                    .to_owned()
            )
        );
        assert_eq!(
            asked(Grant::Baidu, "ak|sk"),
            (
                "http://127.0.0.1:1/oauth/2.0/token?grant_type=client_credentials&client_id=ak&client_secret=sk"
                    .to_owned(),
                String::new()
            )
        );
        let user = r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r/1","token_uri":"http://h/t"}"#;
        assert_eq!(
            asked(Grant::Google, user),
            (
                "http://h/t".to_owned(),
                "grant_type=refresh_token&client_id=i&client_secret=s&refresh_token=r%2F1".to_owned()
            )
        );
    }

    #[test]
    fn answers_are_read_and_failures_told_apart() {
        let read =
            |status, body: &'static str| read(&Answer { status, body: Bytes::from_static(body.as_bytes()) });
        let granted =
            |token: &str, life| Ok(Granted { token: token.to_owned(), life: Duration::from_secs(life) });
        assert_eq!(
            read(200, r#"{"access_token":"t","expires_in":3599,"token_type":"Bearer"}"#),
            granted("t", 3599)
        );
        assert_eq!(read(200, r#"{"access_token":"t","expires_in":"60"}"#), granted("t", 60));
        assert_eq!(read(200, r#"{"access_token":"t"}"#), granted("t", 600));
        assert_eq!(read(200, r#"{"access_token":"t","expires_in":1e30}"#), granted("t", 1_000_000_000));
        for (status, body, refused, words) in [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#,
                true,
                "Invalid JWT",
            ),
            (401, r#"{"error":"invalid_client","error_description":"AADSTS7000215"}"#, true, "AADSTS7000215"),
            (
                200,
                r#"{"error":"invalid_client","error_description":"unknown client id"}"#,
                true,
                "unknown client",
            ),
            (400, r#"{"error":"temporarily_unavailable"}"#, false, "temporarily"),
            (400, r#"{"error":{"code":400}}"#, true, "an error"),
            (500, r#"{"error":"x\u0000y"}"#, false, "xy"),
            (503, "<html>", false, "status 503"),
            (200, "", false, "something else than JSON"),
            (200, r#"{"access_token":"","expires_in":1}"#, false, "no token"),
            (200, r#"{"access_token":"t","expires_in":0}"#, false, "has ended"),
            (200, r#"{"access_token":"t","expires_in":-5}"#, false, "has ended"),
            (200, r#"{"access_token":"t","expires_in":"soon"}"#, false, "has ended"),
            (302, "{}", false, "status 302"),
        ] {
            let error = read(status, body).expect_err(body);
            assert_eq!(matches!(error, TokenError::Refused(_)), refused, "{body}: {error}");
            assert!(error.to_string().contains(words), "{body}: {error}");
        }
    }
}
