//! Answers that are had in steps: each is read whole, and says where the next is, until one is the answer.
//!
//! All of it is one attempt, under its permit and its deadline. An answer chooses no one to be shown the channel's
//! credential: it may lead to the address that was asked, and to the provider's own hosts. What is left before its
//! answer is there is cancelled at the provider, where it has a way to say so.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::{HeaderName, HeaderValue, Uri, header};
use penstock_actors::{channel::ChannelCell, domain::Delivery};

use super::{
    Relay,
    attempt::{Way, head, read_error},
    deadline::within,
    fault,
    showing::Shown,
};
use crate::{
    dialect::{
        ReadError,
        steps::{Step, Steps, Then},
    },
    provider::{Adapter, Failure, Next},
    transport::{Incoming, IncomingBody, Outgoing, OutgoingBody, Target, Transport, TransportError, Via},
};

/// How long the provider may take to be told that nobody waits any more.
const CANCELS_WITHIN: Duration = Duration::from_secs(10);

impl Relay {
    /// Follows an answer's steps; gives the last one.
    ///
    /// # Errors
    /// The failure of a step.
    pub(super) async fn follow(
        &self,
        way: &Way<'_>,
        shown: &Shown,
        adapter: &dyn Adapter,
        steps: &dyn Steps,
        wanted: Delivery,
        mut incoming: Incoming,
    ) -> Result<Incoming, Failure> {
        let mut cancel = Cancel {
            transport: Rc::clone(&self.transport),
            cell: Arc::clone(&way.route.cell),
            headers: shown.headers.clone(),
            at: None,
        };
        loop {
            let body = self.read_step(&mut incoming, way).await?;
            let Step { then, cancel: at } = steps.after(wanted, &body).map_err(of_step)?;
            // Where the last one led nowhere, an earlier one may have said how to cancel.
            if let Some(at) = at {
                cancel.at = Some(target(way, shown, &at, Target::new)?);
            }
            match then {
                Then::Answered => {
                    cancel.at = None;
                    incoming.body = Box::pin(Once(Some(body)));
                    return Ok(incoming);
                }
                Then::Stream(at) => {
                    let mut incoming = self.ask(way, shown, adapter, &at, "text/event-stream").await?;
                    incoming.body = Box::pin(Watched { body: incoming.body, cancel });
                    return Ok(incoming);
                }
                Then::Ask { at, after } => {
                    tokio::time::sleep(after).await;
                    incoming = self.ask(way, shown, adapter, &at, "application/json").await?;
                }
            }
        }
    }

    /// Asks for a step.
    async fn ask(
        &self,
        way: &Way<'_>,
        shown: &Shown,
        adapter: &dyn Adapter,
        at: &str,
        accept: &'static str,
    ) -> Result<Incoming, Failure> {
        let target = target(way, shown, at, Target::to_get)?;
        let outgoing = || {
            let mut headers = shown.headers.clone();
            headers.push((header::ACCEPT, HeaderValue::from_static(accept)));
            Outgoing { target: Rc::clone(&target), headers, body: OutgoingBody::Pieces(Vec::new()) }
        };
        let cell = &way.route.cell;
        let mut sent = self.transport.send(cell, outgoing(), Via::Pool).await;
        if matches!(sent, Err(TransportError::Stale)) {
            self.shared.metrics.stale_retries.inc();
            sent = self.transport.send(cell, outgoing(), Via::Fresh).await;
        }
        let mut incoming = sent.map_err(|error| begun(fault::of_transport(&error)))?;
        if (200..300).contains(&incoming.status) {
            return Ok(incoming);
        }
        let body = read_error(&mut incoming.body, way.route.spec.timeouts.idle).await;
        let content_type = std::mem::take(&mut incoming.content_type);
        Err(begun(adapter.failure(&head(&incoming, &content_type, None), &body)))
    }

    /// Reads a step to its end.
    async fn read_step(&self, incoming: &mut Incoming, way: &Way<'_>) -> Result<Bytes, Failure> {
        let mut body = BytesMut::new();
        let idle = way.route.spec.timeouts.idle;
        loop {
            let next = poll_fn(|cx| incoming.body.as_mut().poll_next(cx));
            match within(idle, next).await {
                Ok(None) => return Ok(body.freeze()),
                Ok(Some(Ok(chunk))) if body.len() + chunk.len() <= self.shared.max_event => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(Ok(_))) => {
                    return Err(fault::of_transport(&TransportError::TooLong(self.shared.max_event)));
                }
                Ok(Some(Err(error))) => return Err(fault::of_transport(&error)),
                Err(_) => return Err(fault::of_deadline(fault::Deadline::Idle, idle)),
            }
        }
    }
}

/// Where a step leads, with the channel's own headers.
fn target(
    way: &Way<'_>,
    shown: &Shown,
    at: &str,
    made: impl FnOnce(Uri, Vec<(HeaderName, HeaderValue)>) -> Target,
) -> Result<Rc<Target>, Failure> {
    let asked = shown.target.uri();
    let led = at.parse::<Uri>().ok().filter(|led| may_lead(asked, led, |host| way.link.row.owns(host)));
    let led = led.ok_or_else(|| {
        tracing::warn!(channel = %way.route.spec.name, "an answer leads to another host, which is not followed");
        let message = "The provider's answer leads to another host, which is not followed.";
        Failure::upstream(502, "upstream_leads_astray", Next::FailoverUncertain, message)
    })?;
    Ok(Rc::new(made(led, shown.target.headers().to_vec())))
}

/// Whether an answer of one address may lead to another: of the same origin, or of a host that is the provider's
/// own, under TLS and at its usual port.
fn may_lead(asked: &Uri, led: &Uri, owns: impl Fn(&str) -> bool) -> bool {
    let Some(authority) = led.authority().filter(|authority| !authority.as_str().contains('@')) else {
        return false;
    };
    let same = led.scheme() == asked.scheme() && Some(authority) == asked.authority();
    let theirs = led.scheme_str() == Some("https") && matches!(authority.port_u16(), None | Some(443));
    same || (theirs && owns(authority.host()))
}

/// The failure of a step: the provider has begun its work, and may bill it.
fn begun(mut failure: Failure) -> Failure {
    if failure.next == Next::Failover {
        failure.next = Next::FailoverUncertain;
    }
    failure
}

fn of_step(error: ReadError) -> Failure {
    match error {
        ReadError::Failed(failure) => begun(failure),
        ReadError::Garbage(why) => {
            Failure::upstream(502, "upstream_bad_answer", Next::FailoverUncertain, why)
        }
    }
}

/// Tells the provider that nobody waits any more, when it is dropped with an address.
struct Cancel {
    transport: Rc<dyn Transport>,
    cell: Arc<ChannelCell>,
    headers: Vec<(HeaderName, HeaderValue)>,
    at: Option<Rc<Target>>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let Some(target) = self.at.take() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (transport, cell) = (Rc::clone(&self.transport), Arc::clone(&self.cell));
        let outgoing = Outgoing {
            target,
            headers: std::mem::take(&mut self.headers),
            body: OutgoingBody::Pieces(Vec::new()),
        };
        actix_rt::spawn(async move {
            let told = transport.send(&cell, outgoing, Via::Pool);
            if !matches!(tokio::time::timeout(CANCELS_WITHIN, told).await, Ok(Ok(_))) {
                tracing::debug!("a provider could not be told that nobody waits any more");
            }
        });
    }
}

/// A stream that is cancelled at the provider where it is left before its end.
struct Watched {
    body: IncomingBody,
    cancel: Cancel,
}

impl Stream for Watched {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.body.as_mut().poll_next(cx);
        if matches!(next, Poll::Ready(None)) {
            self.cancel.at = None;
        }
        next
    }
}

/// A body that is there.
struct Once(Option<Bytes>);

impl Stream for Once {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_leads_only_to_its_own_address_and_its_providers_hosts() {
        let owns = |host: &str| host.ends_with(".replicate.com");
        for (asked, led, wanted) in [
            ("https://api.replicate.com/v1/x", "https://api.replicate.com/v1/y", true),
            ("https://api.replicate.com/v1/x", "https://stream.replicate.com/v1/y", true),
            ("https://api.replicate.com/v1/x", "https://stream.replicate.com:443/y", true),
            ("http://127.0.0.1:8080/v1/x", "http://127.0.0.1:8080/y", true),
            ("https://api.replicate.com/v1/x", "http://stream.replicate.com/y", false),
            ("https://api.replicate.com/v1/x", "https://stream.replicate.com:8443/y", false),
            ("https://api.replicate.com/v1/x", "https://replicate.com.evil.example/y", false),
            ("https://api.replicate.com/v1/x", "https://stream.replicate.com@evil.example/y", false),
            ("https://api.replicate.com/v1/x", "https://a:b@stream.replicate.com/y", false),
            ("https://api.replicate.com/v1/x", "https://169.254.169.254/y", false),
            ("http://127.0.0.1:8080/v1/x", "http://127.0.0.1:8081/y", false),
            ("http://127.0.0.1:8080/v1/x", "https://127.0.0.1:8080/y", false),
            ("https://api.replicate.com/v1/x", "/v1/y", false),
        ] {
            let uri = |text: &str| text.parse::<Uri>().expect("an address");
            assert_eq!(may_lead(&uri(asked), &uri(led), owns), wanted, "{asked} -> {led}");
        }
    }
}
