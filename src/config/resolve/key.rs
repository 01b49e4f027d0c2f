//! API keys of the file and of the environment.

use std::collections::BTreeSet;

use super::{DEFAULT_GROUP, Resolver, is_name};
use crate::{
    api_key::{self, KeySpec},
    config::{Notice, Problem, problem::At, raw},
};

/// The variable whose keys are separated by commas.
const API_KEYS: &str = "API_KEYS";
const ROOT_TOKEN: &str = "INITIAL_ROOT_TOKEN";
const TOO_WEAK: &str = "a key must have at least 16 characters without spaces";

impl Resolver<'_> {
    /// The keys, those of the environment last.
    pub(super) fn keys(&mut self, raw: Vec<raw::Key>, root_token: Option<String>) -> Vec<KeySpec> {
        let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
        let (mut keys, mut parents) = (Vec::<KeySpec>::new(), Vec::new());
        for (index, key) in raw.into_iter().enumerate() {
            let at = |field: &str| At::Key(index, key.name.clone(), field.to_owned());
            if !is_name(&key.name) || !names.insert(key.name.clone()) {
                self.refuse(&at("name"), "must be a name that no other key has");
            }
            let group = key.group.clone().unwrap_or_else(|| DEFAULT_GROUP.to_owned());
            if !is_name(&group) {
                self.refuse(&at("group"), "must be a name");
            }
            let expires_ms = key.expires.as_deref().and_then(|written| {
                moment(written).map_err(|problem| self.refuse(&at("expires"), problem)).ok()
            });
            let Some(digest) = self.digest(index, &key) else { continue };
            if !digests.insert(digest) {
                self.refuse(&at("secret"), "another key has the same secret");
            }
            keys.push(KeySpec {
                name: key.name,
                digest,
                group,
                models: key.models,
                may_pin: key.may_pin,
                may_see_routing: key.may_see_routing,
                quota: key.quota.map(|quota| quota.0),
                expires_ms,
                parent: key.parent,
            });
            parents.push(index);
        }
        self.check_parents(&keys, &parents);
        for (variable, name, secret, may) in self.of_environment(root_token) {
            if !api_key::is_strong(&secret) {
                self.problems.push(Problem::variable(variable, format!("{name}: {TOO_WEAK}")));
                continue;
            }
            if !names.insert(name.clone()) {
                let problem = format!("the file has a key of the name {name} already");
                self.problems.push(Problem::variable(variable, problem));
                continue;
            }
            let digest = api_key::digest(&secret);
            if !digests.insert(digest) {
                let text = format!("{variable}: {name} is a key that is known already; the first one stays");
                self.notices.push(Notice::info(text));
                continue;
            }
            keys.push(KeySpec {
                name,
                digest,
                group: DEFAULT_GROUP.to_owned(),
                models: None,
                may_pin: may == May::PinAndSee,
                may_see_routing: may == May::PinAndSee,
                quota: None,
                expires_ms: None,
                parent: None,
            });
        }
        keys
    }

    /// Refuses keys that stand under themselves. A parent that is not in the file may be in the store.
    fn check_parents(&mut self, keys: &[KeySpec], indices: &[usize]) {
        for (key, index) in keys.iter().zip(indices) {
            let above = |name: &str| keys.iter().find(|k| k.name == name)?.parent.as_deref();
            let mut next = key.parent.as_deref();
            for _ in 0..=keys.len() {
                match next {
                    Some(name) if name == key.name => {
                        let at = At::Key(*index, key.name.clone(), "parent".to_owned());
                        self.refuse(&at, "the key stands under itself");
                        break;
                    }
                    Some(name) => next = above(name),
                    None => break,
                }
            }
        }
    }

    fn digest(&mut self, index: usize, key: &raw::Key) -> Option<api_key::KeyDigest> {
        let at = |field: &str| At::Key(index, key.name.clone(), field.to_owned());
        match (&key.secret, &key.sha256) {
            (Some(_), Some(_)) => self.refuse(&at("secret"), "give either secret or sha256, not both"),
            (None, None) => {
                self.refuse(&at("secret"), "give secret (the key itself, env:NAME, file:PATH) or sha256");
            }
            (Some(written), None) => {
                let secret = self.secret(&at("secret"), written)?;
                if api_key::is_strong(&secret) {
                    return Some(api_key::digest(&secret));
                }
                self.refuse(&at("secret"), TOO_WEAK);
            }
            (None, Some(hex)) => {
                if let Some(digest) = api_key::parse_digest(hex) {
                    return Some(digest);
                }
                self.refuse(&at("sha256"), "must be 64 hexadecimal digits");
            }
        }
        None
    }

    /// Variable, name, secret and rights of each key of the environment.
    fn of_environment(&self, root_token: Option<String>) -> Vec<(&'static str, String, String, May)> {
        let listed = self.environment.get(API_KEYS).unwrap_or_default().split(',').map(str::trim);
        let listed = listed.filter(|secret| !secret.is_empty()).enumerate();
        let listed = listed.map(|(index, secret)| {
            (API_KEYS, format!("api-keys-{}", index + 1), secret.to_owned(), May::Call)
        });
        let root =
            root_token.map(|secret| (ROOT_TOKEN, "initial-root-token".to_owned(), secret, May::PinAndSee));
        listed.chain(root).collect()
    }
}

/// Reads a moment, as milliseconds since 1970.
fn moment(written: &str) -> Result<i64, String> {
    const FORM: &str =
        "must be a moment in UTC, \"2027-01-31T12:00:00Z\" or \"2027-01-31\" for its beginning";
    let whole = if written.len() == 10 { format!("{written}T00:00:00Z") } else { written.to_owned() };
    let at = humantime::parse_rfc3339(&whole).map_err(|_| FORM.to_owned())?;
    let since = at.duration_since(std::time::UNIX_EPOCH).map_err(|_| FORM.to_owned())?;
    i64::try_from(since.as_millis()).map_err(|_| FORM.to_owned())
}

/// What a key of the environment may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    Call,
    PinAndSee,
}
