//! Admission: from a secret to a caller, and whether that caller may have the model. Pure.

use std::{sync::Arc, time::Duration};

use penstock_actors::router::Pinned;

use crate::{
    api_key::{Caller, KeyTable},
    provider::{Failure, Next},
};

/// Who calls, and the channel the key insists on.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The caller.
    pub caller: Arc<Caller>,
    /// A pinned channel.
    pub pin: Option<Pinned>,
}

/// Finds the caller of a key; `KEY-NUMBER` pins a channel.
///
/// Keys may hold dashes themselves, so the key is looked up whole before it is split at its last dash.
///
/// # Errors
/// 401 where there is no such key or it has ended, 403 where it may not pin.
pub fn caller(keys: &KeyTable, secret: &str, now_ms: i64) -> Result<Admitted, Failure> {
    if secret.len() > 512 || !secret.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(unauthorized("The API key is malformed."));
    }
    let live = |caller: &Arc<Caller>| match caller.is_expired(now_ms) {
        true => Err(expired()),
        false => Ok(Arc::clone(caller)),
    };
    if let Some(caller) = keys.find(secret) {
        return Ok(Admitted { caller: live(caller)?, pin: None });
    }
    let invalid = || unauthorized("The API key is not valid.");
    let (key, number) = secret.rsplit_once('-').ok_or_else(invalid)?;
    let caller = live(keys.find(key).ok_or_else(invalid)?)?;
    if !caller.may_pin {
        return Err(forbidden("pin_not_allowed", "This API key may not name a channel."));
    }
    let pin = number.parse().map_err(|_| {
        Failure::invalid_request("invalid_channel_id", None, "The channel named in the key is not a number.")
    })?;
    Ok(Admitted { caller, pin: Some(Pinned(pin)) })
}

/// Checks the key's own list of models; an alias may stand for the model it names.
///
/// # Errors
/// 403 where the list does not hold the model.
pub fn may_use(caller: &Caller, asked: &str, resolved: &str) -> Result<(), Failure> {
    if caller.may_use(asked) || caller.may_use(resolved) {
        return Ok(());
    }
    Err(forbidden("model_not_allowed", &format!("This API key may not use the model '{asked}'.")))
}

/// 401: no key, or one that opens nothing.
pub fn unauthorized(message: &str) -> Failure {
    let mut failure = Failure::invalid_request("invalid_api_key", None, message);
    failure.status = 401;
    failure.kind = "authentication_error".to_owned();
    failure
}

/// 401: a key that opened once.
fn expired() -> Failure {
    let mut failure = unauthorized("The API key has expired.");
    failure.code = "api_key_expired".to_owned();
    failure
}

/// 403: a caller who may not do this.
pub fn forbidden(code: &str, message: &str) -> Failure {
    let mut failure = Failure::invalid_request(code, None, message);
    failure.status = 403;
    failure.kind = "permission_error".to_owned();
    failure
}

/// 503: the gateway ends; another one, or this one started again, will serve.
pub fn shutting_down() -> Failure {
    let mut failure = Failure::gateway(503, "gateway_shutting_down", "The gateway is shutting down.");
    failure.retry_after = Some(Duration::from_secs(1));
    failure
}

/// 503: too many bytes of request bodies are held.
pub fn too_many_bytes() -> Failure {
    let message = "The gateway holds too many request bodies at the moment.";
    let mut failure = Failure::gateway(503, "gateway_overloaded", message);
    failure.retry_after = Some(Duration::from_secs(1));
    failure
}

/// 413: a body over a cap.
pub fn too_large(cap: u64) -> Failure {
    let message = format!("The request body is larger than the {cap} bytes allowed.");
    let mut failure = Failure::invalid_request("request_too_large", None, message);
    failure.status = 413;
    failure
}

/// 404 with OpenAI's words for a model that nobody serves.
pub fn model_not_found(model: &str) -> Failure {
    let shown: String = model.chars().take(128).collect();
    let message = format!("The model '{shown}' does not exist or you do not have access to it.");
    let mut failure = Failure::invalid_request("model_not_found", Some("model"), message);
    failure.status = 404;
    debug_assert_eq!(failure.next, Next::Tell);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_actors::domain::{AccountChain, KeyId};

    use crate::api_key::digest;

    fn keys() -> KeyTable {
        let key = |name: &str, secret: &str, may_pin: bool, expires_ms| {
            let caller = Caller {
                id: KeyId(1),
                key: name.to_owned(),
                accounts: AccountChain(Vec::new()),
                group: "default".into(),
                models: (!may_pin).then(|| vec!["m".to_owned()]),
                may_pin,
                may_see_routing: false,
                expires_ms,
                limits: None,
                above: Arc::default(),
            };
            (digest(secret), caller)
        };
        KeyTable::default().next([
            key("plain", "sk-plainplainplainplain", false, None),
            key("uuid", "0193-aaaa-bbbb-7", true, Some(1_000)),
        ])
    }

    #[test]
    fn a_key_that_has_ended_is_told_so() {
        for secret in ["0193-aaaa-bbbb-7", "sk-0193-aaaa-bbbb-7-42"] {
            assert!(caller(&keys(), secret, 999).is_ok());
            let refused = caller(&keys(), secret, 1_000).map(|_| ()).map_err(|f| (f.status, f.code));
            assert_eq!(refused, Err((401, "api_key_expired".to_owned())));
        }
    }

    #[test]
    fn a_key_is_looked_up_whole_before_it_is_split() {
        for (secret, found) in [
            ("sk-plainplainplainplain", Ok(("plain", None))),
            ("plainplainplainplain", Ok(("plain", None))),
            ("0193-aaaa-bbbb-7", Ok(("uuid", None))),
            ("sk-0193-aaaa-bbbb-7-42", Ok(("uuid", Some(42)))),
            ("0193-aaaa-bbbb-7-0", Ok(("uuid", Some(0)))),
            ("0193-aaaa-bbbb-7-x", Err((400, "invalid_channel_id"))),
            ("0193-aaaa-bbbb-7--1", Err((401, "invalid_api_key"))),
            ("0193-aaaa-bbbb", Err((401, "invalid_api_key"))),
            ("plainplainplainplain-1", Err((403, "pin_not_allowed"))),
            ("plainplainplainplain-", Err((403, "pin_not_allowed"))),
            ("", Err((401, "invalid_api_key"))),
            ("sk-", Err((401, "invalid_api_key"))),
            ("-", Err((401, "invalid_api_key"))),
            ("nope", Err((401, "invalid_api_key"))),
            ("sk-plain plain", Err((401, "invalid_api_key"))),
            ("sk-pl\u{e4}in", Err((401, "invalid_api_key"))),
        ] {
            let got = caller(&keys(), secret, 0)
                .map(|a| (a.caller.key.clone(), a.pin.map(|p| p.0)))
                .map_err(|f| (f.status, f.code));
            let wanted = found.map(|(k, p)| (k.to_owned(), p)).map_err(|(s, c)| (s, c.to_owned()));
            assert_eq!(got, wanted, "{secret}");
        }
    }

    #[test]
    fn the_keys_own_list_rules_over_names_and_aliases() {
        let plain = caller(&keys(), "plainplainplainplain", 0).expect("known").caller;
        assert!(may_use(&plain, "m", "m").is_ok());
        assert!(may_use(&plain, "alias", "m").is_ok());
        assert_eq!(may_use(&plain, "x", "y").map_err(|f| f.status), Err(403));
    }
}
