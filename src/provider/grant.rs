//! Credentials that are exchanged for tokens: their forms, and how a token is shown.
//!
//! Who asks for tokens, and when, is `credential`'s business.

use super::signing::SigningError;

/// Where tokens are got for a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    /// Google's, for a service account's or a user's key file in JSON.
    Google,
    /// Microsoft Entra's, for `TENANT|CLIENT_ID|CLIENT_SECRET`, or `...|LOGIN` with another address than
    /// `https://login.microsoftonline.com`.
    Azure,
    /// Baidu's, for `API_KEY|SECRET_KEY`.
    Baidu,
}

/// How a token is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// `Authorization: Bearer ...`
    Bearer,
    /// In the address' query, under this name.
    Query(&'static str),
}

/// A key file of Google's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GoogleKey {
    /// Of a service account.
    ServiceAccount {
        /// Who asks.
        client_email: String,
        /// PEM.
        private_key: String,
        /// The key's name.
        #[serde(default)]
        private_key_id: String,
        /// Who answers.
        #[serde(default = "google_token_uri")]
        token_uri: String,
    },
    /// Of a user who logged in with gcloud.
    AuthorizedUser {
        /// gcloud's own.
        client_id: String,
        /// gcloud's own.
        client_secret: String,
        /// The user's.
        refresh_token: String,
        /// Who answers.
        #[serde(default = "google_token_uri")]
        token_uri: String,
    },
}

fn google_token_uri() -> String {
    "https://oauth2.googleapis.com/token".to_owned()
}

const GOOGLE_FORM: &str =
    "the JSON of a service account's key (\"file:key.json\"), with client_email and private_key";
const AZURE_FORM: &str = "TENANT|CLIENT_ID|CLIENT_SECRET or TENANT|CLIENT_ID|CLIENT_SECRET|https://LOGIN";
const BAIDU_FORM: &str = "API_KEY|SECRET_KEY";

impl Grant {
    /// Every grant.
    pub const ALL: [Self; 3] = [Self::Google, Self::Azure, Self::Baidu];

    /// The name in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Google => "google-oauth",
            Self::Azure => "azure-ad",
            Self::Baidu => "baidu-oauth",
        }
    }

    /// How its tokens are shown.
    pub fn place(self) -> TokenPlace {
        match self {
            Self::Google | Self::Azure => TokenPlace::Bearer,
            Self::Baidu => TokenPlace::Query("access_token"),
        }
    }

    /// Checks a credential's form.
    ///
    /// # Errors
    /// [`SigningError::Form`], which says how it must be written.
    pub fn check(self, credential: &str) -> Result<(), SigningError> {
        match self {
            Self::Google => google_key(credential).map(|_| ()),
            Self::Azure => azure_parts(credential).map(|_| ()),
            Self::Baidu => baidu_parts(credential).map(|_| ()),
        }
    }

    /// What of a credential must never be told.
    pub fn secrets(self, credential: &str) -> Vec<String> {
        match self {
            Self::Google => match google_key(credential) {
                Ok(GoogleKey::ServiceAccount { private_key, client_email, private_key_id, .. }) => {
                    vec![private_key, client_email, private_key_id]
                }
                Ok(GoogleKey::AuthorizedUser { client_id, client_secret, refresh_token, .. }) => {
                    vec![client_id, client_secret, refresh_token]
                }
                Err(_) => Vec::new(),
            },
            Self::Azure | Self::Baidu => credential
                .split('|')
                .map(str::trim)
                .filter(|part| part.len() >= 8)
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// Reads a key file of Google's.
///
/// # Errors
/// [`SigningError::Form`].
pub fn google_key(credential: &str) -> Result<GoogleKey, SigningError> {
    let key: GoogleKey = serde_json::from_str(credential).map_err(|_| SigningError::Form(GOOGLE_FORM))?;
    let (GoogleKey::ServiceAccount { token_uri, .. } | GoogleKey::AuthorizedUser { token_uri, .. }) = &key;
    let named = token_uri.parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some());
    let filled = match &key {
        GoogleKey::ServiceAccount { client_email, private_key, .. } => {
            !client_email.is_empty() && private_key.contains("PRIVATE KEY")
        }
        GoogleKey::AuthorizedUser { client_id, refresh_token, .. } => {
            !client_id.is_empty() && !refresh_token.is_empty()
        }
    };
    if named && filled { Ok(key) } else { Err(SigningError::Form(GOOGLE_FORM)) }
}

/// Tenant, id, secret, and where it logs in.
///
/// # Errors
/// [`SigningError::Form`].
pub fn azure_parts(credential: &str) -> Result<[&str; 4], SigningError> {
    let parts: Vec<_> = credential.split('|').map(str::trim).collect();
    let (tenant, id, secret, login) = match parts[..] {
        [tenant, id, secret] => (tenant, id, secret, "https://login.microsoftonline.com"),
        [tenant, id, secret, login] if login.starts_with("http") => (tenant, id, secret, login),
        _ => return Err(SigningError::Form(AZURE_FORM)),
    };
    let is_tenant = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    match is_tenant(tenant) && ![tenant, id, secret].contains(&"") {
        true => Ok([tenant, id, secret, login.trim_end_matches('/')]),
        false => Err(SigningError::Form(AZURE_FORM)),
    }
}

/// Key and secret.
///
/// # Errors
/// [`SigningError::Form`].
pub fn baidu_parts(credential: &str) -> Result<[&str; 2], SigningError> {
    match credential.split_once('|').map(|(key, secret)| [key.trim(), secret.trim()]) {
        Some(parts) if !parts.contains(&"") && !parts[1].contains('|') => Ok(parts),
        _ => Err(SigningError::Form(BAIDU_FORM)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_checked_and_what_is_wrong_is_told_without_the_secret() {
        let account = r#"{"type":"service_account","client_email":"a@b","private_key":"-----BEGIN PRIVATE KEY-----\n"}"#;
        let user = r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r"}"#;
        for (grant, good, bad) in [
            (
                Grant::Google,
                &[account, user][..],
                &["", "{}", "ya29.x", r#"{"type":"service_account"}"#, r#"{"type":"external_account"}"#][..],
            ),
            (
                Grant::Azure,
                &["t-1|id|secret", "t.example|id|secret|http://127.0.0.1:1"],
                &["", "t|id", "t/x|id|s", "t|id|", "t|i|s|ftp://x", "a|b|c|d|e"],
            ),
            (Grant::Baidu, &["ak|sk"], &["", "ak", "ak|", "|sk", "a|b|c"]),
        ] {
            for credential in good {
                assert_eq!(grant.check(credential), Ok(()), "{}: {credential}", grant.name());
            }
            for credential in bad {
                assert!(matches!(grant.check(credential), Err(SigningError::Form(_))), "{credential}");
            }
        }
        assert_eq!(Grant::Google.secrets(user), ["i", "s", "r"]);
        assert_eq!(Grant::Baidu.secrets("longer-key|longer-secret").len(), 2);
    }
}
