//! Media that a request names by address, for a provider that wants bytes: fetched before the channel's permit is
//! taken, so that a slow place holds nobody's slot, and once a call, however many channels are tried.

use std::{cell::RefCell, future::poll_fn, pin::Pin, rc::Rc, task::Poll, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Call, Relay, admit, budget::Held, deadline::within, fault, link::Link, refuse};
use crate::{
    dialect::{
        Dialect,
        media::{self, Address, Fetched, Kind, Medium, sniff},
    },
    provider::{Failure, Quirk, convert},
    transport::{FetchError, FetchLimits, MediaFetcher, TransportError},
};

/// Memory that a fetched byte may take: as it came or in base64, in the conversation, and as it is written.
const HELD_PER_BYTE: u64 = 4;

/// What may be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPolicy {
    /// Whether anything is; otherwise providers get addresses, or requests are refused that cannot be said.
    pub fetching: Fetching,
    /// Media of one call.
    pub max_count: usize,
    /// How long a call may wait for its media.
    pub timeout: Duration,
    /// What each may take.
    pub limits: FetchLimits,
}

/// Whether media are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetching {
    /// They are.
    On,
    /// None is.
    Off,
}

/// The media of one call, as far as they were fetched.
#[derive(Debug, Default)]
pub struct Gathered {
    fetched: RefCell<Rc<Fetched>>,
    /// What they take of the bytes in flight, until the call is dropped.
    held: RefCell<Vec<Held>>,
    /// For whom there is nothing left to fetch: a dialect, and whether its channel wants bytes in any case.
    ready_for: RefCell<Vec<(Dialect, bool)>>,
}

impl Gathered {
    /// What was fetched so far.
    pub(super) fn fetched(&self) -> Rc<Fetched> {
        Rc::clone(&self.fetched.borrow())
    }
}

impl Relay {
    /// Fetches what the call names by address and a channel's provider wants as bytes. Mostly there is nothing.
    ///
    /// # Errors
    /// The failure that ends the call: what the client named cannot be had, whoever is asked for it.
    pub(super) async fn gather(&self, call: &Call, link: &Link) -> Result<(), Failure> {
        match link.fetches_for(call.face) {
            // Apart, so that the future of a call that fetches nothing stays small.
            true => Box::pin(self.gather_missing(call, link)).await,
            false => Ok(()),
        }
    }

    async fn gather_missing(&self, call: &Call, link: &Link) -> Result<(), Failure> {
        let Some(at) = link.endpoint(call.endpoint, call.face) else { return Ok(()) };
        let whom = (at.dialect(), link.quirks.contains(&Quirk::FetchMedia));
        if call.media.ready_for.borrow().contains(&whom) || !at.may_want_bytes(call.face, &link.quirks) {
            return Ok(());
        }
        let policy = self.shared.media.load_full();
        if policy.fetching == Fetching::On {
            let mut missing = self.named(call, whom.0, &link.quirks).await?;
            missing.retain(|address| !call.media.fetched().has(&address.url));
            if missing.len() > policy.max_count {
                return Err(too_many(&missing[policy.max_count], policy.max_count));
            }
            if !missing.is_empty() {
                self.fetch(call, &policy, &missing).await?;
            }
        }
        call.media.ready_for.borrow_mut().push(whom);
        Ok(())
    }

    /// The media that the request names and the provider wants as bytes.
    async fn named(&self, call: &Call, dialect: Dialect, quirks: &[Quirk]) -> Result<Vec<Address>, Failure> {
        if call.body.len() > self.shared.max_whole_body {
            // It is refused where it is to be written.
            return Ok(Vec::new());
        }
        let mut held = self.shared.bytes.hold();
        if !held.grow(call.body.len().saturating_mul(2)) {
            return Err(admit::too_many_bytes());
        }
        let read = call.body.whole().await;
        let body = read.map_err(|e| fault::of_transport(&TransportError::Body(e.to_string())))?;
        match media::may_name_any(&body) {
            true => convert::addresses(dialect, call.face, quirks, &body),
            false => Ok(Vec::new()),
        }
    }

    async fn fetch(&self, call: &Call, policy: &MediaPolicy, missing: &[Address]) -> Result<(), Failure> {
        let fetcher = &self.shared.fetcher;
        let each =
            missing.iter().map(|address| fetch(fetcher, &policy.limits, address, self.shared.bytes.hold()));
        let own = call.left().filter(|left| *left < policy.timeout);
        let fetched = match within(own.unwrap_or(policy.timeout), all(each)).await {
            Ok(fetched) => fetched?,
            Err(_) => {
                return Err(match call.max_wait.filter(|_| own.is_some()) {
                    Some(asked) => refuse::of_own_deadline(asked),
                    None => late(&missing[0], policy.timeout),
                });
            }
        };
        let mut known = (*call.media.fetched()).clone();
        for (address, (medium, held)) in missing.iter().zip(fetched) {
            known.insert(address.url.clone(), medium);
            call.media.held.borrow_mut().push(held);
        }
        *call.media.fetched.borrow_mut() = Rc::new(known);
        Ok(())
    }
}

/// Fetches one medium and looks what it is.
async fn fetch(
    fetcher: &MediaFetcher,
    limits: &FetchLimits,
    address: &Address,
    mut held: Held,
) -> Result<(Medium, Held), Failure> {
    let room = |bytes: u64| held.grow(bytes.saturating_mul(HELD_PER_BYTE));
    let came = fetcher.fetch(&address.url, limits, room).await.map_err(|error| failed(address, &error))?;
    let media_type = sniff::media_type(address.kind, &came.bytes, &came.content_type, &address.url)
        .map_err(|why| refused(address, format!("What lies at {} {why}", shown(&address.url))))?;
    let data = STANDARD.encode(&came.bytes);
    Ok((Medium { media_type: media_type.to_owned(), data }, held))
}

/// Drives all futures at once, to their ends or to the first failure; the others are dropped then.
async fn all<T, E>(each: impl Iterator<Item = impl Future<Output = Result<T, E>>>) -> Result<Vec<T>, E> {
    let mut running: Vec<_> = each.map(|future| (Some(Box::pin(future)), None)).collect();
    poll_fn(|cx| {
        let mut is_pending = false;
        for (future, done) in &mut running {
            let Some(work) = future else { continue };
            match Pin::as_mut(work).poll(cx) {
                Poll::Pending => is_pending = true,
                Poll::Ready(Ok(value)) => (*future, *done) = (None, Some(value)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        if is_pending { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await?;
    Ok(running.into_iter().filter_map(|(_, done)| done).collect())
}

/// As OpenAI names what cannot be fetched.
fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::Image => "invalid_image_url",
        Kind::File => "invalid_file_url",
    }
}

fn refused(address: &Address, why: String) -> Failure {
    let message = format!("{why} (named in '{}').", address.param);
    Failure::invalid_request(code(address.kind), Some(&address.param), message)
}

fn failed(address: &Address, error: &FetchError) -> Failure {
    let why = format!("The address {} {error}", shown(&address.url));
    match error {
        FetchError::NoRoom => admit::too_many_bytes(),
        FetchError::TooLong(_) => Failure {
            status: 413,
            code: "media_too_large".to_owned(),
            ..refused(address, format!("What lies at {} {error}", shown(&address.url)))
        },
        _ => refused(address, why),
    }
}

fn late(address: &Address, after: Duration) -> Failure {
    let after = humantime::format_duration(after);
    refused(address, format!("The address {} could not be fetched in {after}", shown(&address.url)))
}

fn too_many(address: &Address, most: usize) -> Failure {
    let message =
        format!("The request names more than the {most} images and files by address that are fetched.");
    Failure::invalid_request("too_many_media", Some(&address.param), message)
}

/// An address without what may be secret in it: no query, no user.
fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = plain.split_once("://").unwrap_or(("", plain));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let text = format!("{scheme}://{host}{path}");
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_address_holds_no_secret() {
        for (url, wanted) in [
            ("https://h.example/a/b.png?token=x#y", "https://h.example/a/b.png"),
            ("https://u:p@h.example/@b", "https://h.example/@b"),
            ("https://u:p@h.example", "https://h.example"),
            ("https://h.example/a\r\nb", "https://h.example/ab"),
        ] {
            assert_eq!(shown(url), wanted);
        }
        assert_eq!(shown(&format!("https://h/{}", "\u{e9}".repeat(500))).chars().count(), 120);
    }

    #[actix_web::test]
    async fn futures_are_driven_together_and_the_first_failure_ends_all() {
        let after = |ms: u64, result: Result<u64, &'static str>| async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            result
        };
        tokio::time::pause();
        let done = all([after(30, Ok(1)), after(10, Ok(2)), after(20, Ok(3))].into_iter()).await;
        assert_eq!(done, Ok(vec![1, 2, 3]), "in their order");
        let begun = tokio::time::Instant::now();
        let failed = all([after(1_000_000, Ok(1)), after(10, Err("no"))].into_iter()).await;
        assert_eq!(failed, Err("no"));
        assert!(begun.elapsed() < Duration::from_secs(1), "the slow one was not waited for");
    }
}
