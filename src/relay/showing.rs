//! How a channel's credentials get into its requests.
//!
//! One that is shown as it is stands in the headers that every request carries; what is signed, exchanged for
//! a token, or one of several, is added to each request.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri, header};
use penstock_actors::{
    channel::{ChannelCell, rotation::Rotation},
    domain::{ChannelSpec, Credential, Fault, LearningRules, Pacing, Sign},
};

use super::{evidence, held::HeldPermit};
use crate::{
    credential::{TokenCell, TokenError, Vault, Wanted},
    provider::{
        Failure, UpstreamBody,
        grant::TokenPlace,
        row::{Auth, Row},
        signing::{Scheme, Signature, Unsigned},
    },
    transport::Target,
};

/// Credentials that one call shows at most, each after the last was refused.
const MOST_SHOWN: usize = 4;
/// How long a credential is set aside that is refused or has no money left.
const REFUSED: Duration = Duration::from_secs(600);
/// How long one that may not do this: it may do other things.
const FORBIDDEN: Duration = Duration::from_secs(60);
/// How long one that is throttled, where the provider does not say.
const THROTTLED: Duration = Duration::from_secs(10);
const LONGEST_THROTTLED: Duration = Duration::from_secs(3600);

/// What is done for each request, prepared once for a channel's settings.
pub(super) struct Showing {
    /// One for each credential; none where nothing is added.
    ways: Vec<Way>,
    /// Where there are several.
    rotation: Option<Arc<Rotation>>,
    rules: LearningRules,
    region: Option<Arc<str>>,
    /// What may not be told, but for tokens.
    secrets: Vec<String>,
}

enum Way {
    Header(HeaderName, HeaderValue),
    Signed(Scheme, Credential),
    Token(Arc<TokenCell>, TokenPlace),
}

/// What is added to one request.
pub(super) struct Shown {
    /// Where it goes: the address may hold a token.
    pub(super) target: Rc<Target>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The body that shows it, where the adapter's does not.
    pub(super) body: Option<Bytes>,
    /// The number of the token, where there is one.
    token: Option<u64>,
}

/// Why nothing can be shown.
pub(super) enum Unshown {
    /// The channel is set up wrongly.
    Misconfigured(String),
    /// There is no token.
    Token(TokenError),
}

/// Which credentials a call has shown to a channel.
#[derive(Default)]
pub(super) struct Tried {
    pub(super) all: Vec<usize>,
}

impl Showing {
    /// Prepares a channel; a single credential that is shown as it is goes into `headers`.
    pub(super) fn new(
        spec: &ChannelSpec,
        row: &Row,
        (vault, cell): (&Vault, &ChannelCell),
        headers: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Self, String> {
        let all = spec.credentials.all();
        let mut ways = Vec::new();
        let mut secrets = Vec::new();
        for credential in all {
            let text = credential.expose();
            secrets.push(text.to_owned());
            match &row.auth {
                Auth::Signed(scheme) => {
                    scheme.check(text).map_err(|error| error.to_string())?;
                    secrets.extend(scheme.secrets(text).map(str::to_owned));
                    ways.push(Way::Signed(*scheme, credential.clone()));
                }
                Auth::Token(grant) => {
                    grant.check(text).map_err(|error| error.to_string())?;
                    secrets.extend(grant.secrets(text));
                    ways.push(Way::Token(vault.cell(&Wanted::of(spec, *grant, credential)), grant.place()));
                }
                auth => {
                    let Some((name, value)) = auth.header(text) else { continue };
                    let mut value =
                        HeaderValue::try_from(value).map_err(|_| "the credential fits no header")?;
                    value.set_sensitive(true);
                    match all.len() {
                        1 => headers.push((name, value)),
                        _ => ways.push(Way::Header(name, value)),
                    }
                }
            }
        }
        let rotation = (ways.len() > 1).then(|| cell.rotation(&spec.credentials));
        let region = spec.params.iter().find(|(name, _)| **name == *"region");
        secrets.retain(|secret| !secret.is_empty());
        Ok(Self {
            ways,
            rotation,
            rules: spec.learning,
            region: region.map(|(_, value)| Arc::clone(value)),
            secrets,
        })
    }

    /// Which credential a request shows; `None` where nothing is added.
    pub(super) fn choose(&self, permit: &mut HeldPermit, now: Duration) -> Option<usize> {
        match &self.rotation {
            Some(rotation) => Some(permit.credential_of(rotation, now)),
            None => (!self.ways.is_empty()).then_some(0),
        }
    }

    /// Makes what is added to a request that shows this credential.
    pub(super) async fn show(
        &self,
        which: Option<usize>,
        target: Rc<Target>,
        body: &UpstreamBody,
    ) -> Result<Shown, Unshown> {
        let plain = |target, headers| Ok(Shown { target, headers, body: None, token: None });
        match which.and_then(|which| self.ways.get(which)) {
            None => plain(target, Vec::new()),
            Some(Way::Header(name, value)) => plain(target, vec![(name.clone(), value.clone())]),
            Some(Way::Signed(scheme, credential)) => {
                let signed = self.sign(*scheme, credential, target, body, SystemTime::now());
                signed.map_err(Unshown::Misconfigured)
            }
            Some(Way::Token(cell, place)) => {
                let token = cell.token().await.map_err(Unshown::Token)?;
                let number = Some(token.number);
                match place {
                    TokenPlace::Bearer => {
                        let headers = vec![(header::AUTHORIZATION, token.bearer())];
                        Ok(Shown { target, headers, body: None, token: number })
                    }
                    TokenPlace::Query(name) => {
                        let uri = with_query(target.uri(), name, token.expose());
                        let uri = uri.map_err(Unshown::Misconfigured)?;
                        let target = Rc::new(target.moved(uri));
                        Ok(Shown { target, headers: Vec::new(), body: None, token: number })
                    }
                }
            }
        }
    }

    fn sign(
        &self,
        scheme: Scheme,
        credential: &Credential,
        target: Rc<Target>,
        body: &UpstreamBody,
        now: SystemTime,
    ) -> Result<Shown, String> {
        let unsigned = match body {
            UpstreamBody::Whole(body) => Unsigned { uri: target.uri(), body, region: self.region.as_deref() },
            UpstreamBody::Edited(_) if !scheme.covers_body() => {
                Unsigned { uri: target.uri(), body: b"", region: self.region.as_deref() }
            }
            UpstreamBody::Edited(_) => {
                return Err("a body that passes through cannot be signed".to_owned());
            }
        };
        let Signature { headers, query, body } =
            scheme.sign(credential.expose(), &unsigned, now).map_err(|error| error.to_string())?;
        let headers = headers.into_iter().map(|(name, value)| {
            let mut value = HeaderValue::try_from(value).map_err(|_| "the credential fits no header")?;
            value.set_sensitive(true);
            Ok((HeaderName::from_static(name), value))
        });
        let headers = headers.collect::<Result<_, &str>>()?;
        let target = match query {
            None => target,
            Some(query) => {
                let uri = format!("{}?{query}", target.uri());
                Rc::new(target.moved(uri.parse().map_err(|_| "the signature fits no address")?))
            }
        };
        Ok(Shown { target, headers, body, token: None })
    }

    /// The provider answered with a failure: where it is the credential's, that one is passed over for a time. Says
    /// whether the call may show another.
    pub(super) fn refused(
        &self,
        (which, shown): (Option<usize>, &Shown),
        failure: &Failure,
        tried: &mut Tried,
        now: Duration,
    ) -> bool {
        let (Some(which), Some(time)) = (which, of_credential(failure)) else { return false };
        if failure.status == 401
            && let (Some(Way::Token(cell, _)), Some(number)) = (self.ways.get(which), shown.token)
        {
            cell.refuse(number);
        }
        let Some(rotation) = &self.rotation else { return false };
        let is_throttled = evidence::sign(failure) == Sign::Throttled && self.rules.pacing == Pacing::On;
        if is_throttled {
            rotation.throttle(which, time, self.rules.longest_pause, now);
        } else if rotation.set_aside(which, time, now) {
            let time = humantime::format_duration(time);
            tracing::warn!(credential = which + 1, status = failure.status, %time, "a credential is set aside");
        }
        tried.all.push(which);
        tried.all.len() < self.ways.len().min(MOST_SHOWN)
    }

    /// What a failure tells of the channel: what is one credential's matter tells nothing while others are good.
    pub(super) fn tells(&self, failure: &Failure, now: Duration) -> Sign {
        let is_spent = || self.rotation.as_ref().is_none_or(|rotation| rotation.is_spent(now));
        match evidence::sign(failure) {
            Sign::BadCredential | Sign::OutOfCredit | Sign::Throttled if !is_spent() => Sign::Nothing,
            sign => sign,
        }
    }

    /// Everything that may not be told.
    pub(super) fn secrets(&self) -> Vec<String> {
        let token = |way: &Way| match way {
            Way::Token(cell, _) => cell.known()?.ok().map(|token| token.expose().to_owned()),
            Way::Header(..) | Way::Signed(..) => None,
        };
        self.secrets.iter().cloned().chain(self.ways.iter().filter_map(token)).collect()
    }
}

/// How long a credential is set aside for a failure; `None` where it is not the credential's.
fn of_credential(failure: &Failure) -> Option<Duration> {
    match evidence::sign(failure) {
        Sign::BadCredential | Sign::OutOfCredit => Some(REFUSED),
        Sign::Throttled => Some(failure.retry_after.unwrap_or(THROTTLED).min(LONGEST_THROTTLED)),
        _ if failure.fault == Fault::Upstream && failure.status == 403 => Some(FORBIDDEN),
        _ => None,
    }
}

/// An address with one more field in its query.
fn with_query(uri: &Uri, name: &str, value: &str) -> Result<Uri, String> {
    let border = if uri.query().is_some() { '&' } else { '?' };
    let fits = value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
    let text = format!("{uri}{border}{name}={value}");
    text.parse().ok().filter(|_| fits).ok_or_else(|| "the token fits no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Next;

    #[test]
    fn only_what_is_the_credentials_sets_it_aside() {
        for (status, code, retry_after, wanted) in [
            (401, "x", None, Some(600)),
            (402, "x", None, Some(600)),
            (403, "x", None, Some(60)),
            (429, "insufficient_quota", Some(1), Some(600)),
            (429, "rate_limit_exceeded", Some(7), Some(7)),
            (429, "rate_limit_exceeded", Some(100_000), Some(3600)),
            (429, "rate_limit_exceeded", None, Some(10)),
            (404, "x", None, None),
            (500, "x", None, None),
        ] {
            let mut failure = Failure::upstream(status, code, Next::Failover, "no");
            failure.retry_after = retry_after.map(Duration::from_secs);
            assert_eq!(of_credential(&failure).map(|time| time.as_secs()), wanted, "{status} {code}");
        }
        let own = Failure::invalid_request("x", None, "no");
        assert_eq!(of_credential(&Failure { status: 401, ..own }), None);
    }

    #[test]
    fn a_token_in_an_address_stays_one_field() {
        let uri: Uri = "http://h/a?b=c".parse().expect("an address");
        assert_eq!(with_query(&uri, "t", "24.ab-c").expect("it fits"), "http://h/a?b=c&t=24.ab-c");
        for token in ["a&b", "a b", "a#b", "\u{e9}"] {
            assert!(with_query(&uri, "t", token).is_err(), "{token}");
        }
    }
}
