//! One try on one channel: from the adapter's request to the first content of an answer.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::BytesMut;
use http::{HeaderName, HeaderValue};
use penstock_actors::{
    channel::{ChannelCell, Counted, Line},
    domain::{Delivery, Fault, Timeouts},
    router::Route,
};

use super::{
    ATTEMPT, Call, Relay, Retries,
    deadline::within,
    fault::{self, Deadline},
    flow::Flow,
    held::HeldPermit,
    link::{EndpointLink, Link, misconfigured},
    refuse,
    showing::{Shown, Tried, Unshown},
};
use crate::{
    dialect::{Dialect, StreamForm, hints},
    provider::{
        Adapter, AnswerHead, Ask, AskBody, BodyNeed, Failure, Framing, Next, UpstreamBody, UpstreamRequest,
        row,
    },
    transport::{Incoming, IncomingBody, Outgoing, OutgoingBody, TransportError, Via},
};

/// What a stream is to the client.
pub(super) const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";
/// A whole answer up to this long is checked before its first byte goes out, in bytes.
const CHECKED: usize = 256 << 10;
/// How much of an error's body is read, in bytes.
const ERROR_BODY: usize = 64 << 10;

/// Where an attempt goes, and which of its call's it is.
pub(super) struct Way<'a> {
    pub(super) route: &'a Route,
    pub(super) link: &'a Rc<Link>,
    pub(super) at: &'a EndpointLink,
    pub(super) number: u32,
}

/// An attempt that has content for the client.
pub(super) struct Begun {
    pub(super) flow: Flow,
    pub(super) content_type: HeaderValue,
    pub(super) timeouts: Timeouts,
    pub(super) started: Instant,
    pub(super) link: Rc<Link>,
    pub(super) cell: Arc<ChannelCell>,
    pub(super) line: Arc<Line>,
    pub(super) counted: Counted,
    pub(super) permit: HeldPermit,
}

/// Which of its channel's credentials a request showed, and how.
type Showed = (Option<usize>, Shown);

impl Relay {
    /// Tries a call on one channel.
    ///
    /// # Errors
    /// The failure, with what may be done next; nothing has reached the client then.
    pub(super) async fn attempt(
        &self,
        call: &Call,
        way: &Way<'_>,
        mut permit: HeldPermit,
    ) -> Result<Begun, Failure> {
        let &Way { route, link, .. } = way;
        permit.sent();
        let started = Instant::now();
        let deadline = route.spec.timeouts.first_byte_for(call.facts.delivery);
        let own = call.left().filter(|left| *left < deadline);
        let mut begun = match within(own.unwrap_or(deadline), self.begin(call, way, &mut permit)).await {
            Ok(begun) => begun,
            Err(_) => Err(match call.max_wait.filter(|_| own.is_some()) {
                Some(asked) => refuse::of_own_deadline(asked),
                None => fault::of_deadline(Deadline::FirstByte, deadline),
            }),
        };
        let first_byte = started.elapsed();
        if let (Ok((flow, _, showed)), Delivery::Whole) = (&mut begun, call.facts.delivery)
            && let Err(failure) = check_whole(flow, &route.spec.timeouts, started).await
        {
            let (which, shown) = showed;
            link.showing.refused((*which, shown), &failure, &mut Tried::default(), self.shared.room.now());
            begun = Err(failure);
        }
        match begun {
            Ok((flow, content_type, _)) => {
                route.cell.succeeded(first_byte);
                permit.answered(call.body.len(), first_byte, &self.shared.room);
                Ok(Begun {
                    flow,
                    content_type,
                    timeouts: route.spec.timeouts,
                    started,
                    link: Rc::clone(link),
                    cell: Arc::clone(&route.cell),
                    counted: route.cell.lines.began(&route.line),
                    line: Arc::clone(&route.line),
                    permit,
                })
            }
            Err(mut failure) => {
                if failure.fault == Fault::Upstream {
                    route.cell.failed();
                }
                permit.failed(&failure, &self.shared.room);
                if route.cell.is_reached_by(&route.spec) {
                    let sign = link.showing.tells(&failure, self.shared.room.now());
                    route.cell.lines.observe(&route.line, sign);
                }
                link.cleanse(&mut failure);
                Err(failure)
            }
        }
    }

    /// Sends the request and waits for the first content of a stream, or for the first byte of a whole answer.
    async fn begin(
        &self,
        call: &Call,
        way: &Way<'_>,
        permit: &mut HeldPermit,
    ) -> Result<(Flow, HeaderValue, Showed), Failure> {
        let &Way { route, link, at, .. } = way;
        let media = call.media.fetched();
        let ask = Ask {
            endpoint: call.endpoint,
            face: call.face,
            model: call.model(),
            upstream_model: &route.upstream_model,
            delivery: call.facts.delivery,
            usage_wanted: call.facts.usage_wanted,
            quirks: &link.quirks,
            params: &link.spec.params,
            max_event: self.shared.max_event,
            created: call.created,
            call_id: &call.id,
            form: call.facts.form,
            echo: None,
            tools: &[],
            media: &media,
        };
        let adapter = at.adapter(call.face, &link.quirks, &media);
        let request = self.request(call, &ask, adapter).await?;
        let target = link.target(at, &route.upstream_model, ask.delivery).map_err(|problem| {
            tracing::error!(channel = %route.spec.name, problem, "no address for a model");
            misconfigured()
        })?;
        let ask = Ask { echo: request.echo.as_deref(), tools: &request.tools, ..ask };
        let mut tried = Tried::default();
        let (which, shown, mut incoming, mut content_type, retry_after) = loop {
            let which = link.showing.choose(permit, self.shared.room.now());
            let shown = link.showing.show(which, Rc::clone(&target), &request.body).await;
            let shown = shown.map_err(|unshown| not_shown(route, &unshown))?;
            let mut incoming = self.send(call, way, &shown, &request).await?;
            permit.heard(&incoming.limits, &self.shared.room);
            let content_type = std::mem::take(&mut incoming.content_type);
            let retry_after = hints::retry_after(
                incoming.retry_after_ms.as_deref(),
                incoming.retry_after.as_deref(),
                SystemTime::now,
            );
            if (200..300).contains(&incoming.status) {
                break (which, shown, incoming, content_type, retry_after);
            }
            let head = head(&incoming, &content_type, retry_after);
            let body = read_error(&mut incoming.body, route.spec.timeouts.idle).await;
            let failure = adapter.failure(&head, &body);
            let now = self.shared.room.now();
            if !link.showing.refused((which, &shown), &failure, &mut tried, now)
                || !permit.shows_another(&tried.all, now)
            {
                return Err(failure);
            }
        };
        if let Some(steps) = adapter.steps() {
            incoming.content_type = content_type;
            incoming = self.follow(way, &shown, adapter, steps, ask.delivery, incoming).await?;
            content_type = std::mem::take(&mut incoming.content_type);
        }
        let head = head(&incoming, &content_type, retry_after);
        let reader = adapter.reader(&ask, &head)?;
        let mut flow = Flow::new(incoming.body, reader);
        let enough = |flow: &Flow| match ask.delivery {
            Delivery::Stream => flow.has_content(),
            Delivery::Whole => flow.has_begun(),
        };
        while !enough(&flow) && !flow.is_ended() {
            poll_fn(|cx| flow.poll_pull(cx)).await;
            if let Some(failure) = flow.take_failure() {
                if flow.has_content() && ask.delivery == Delivery::Stream {
                    flow.put_failure(failure);
                    break;
                }
                // Some refuse a credential inside a good answer.
                link.showing.refused((which, &shown), &failure, &mut tried, self.shared.room.now());
                return Err(failure);
            }
        }
        let content_type = match ask.delivery {
            Delivery::Stream if ask.form == StreamForm::Array => HeaderValue::from_static("application/json"),
            Delivery::Stream => HeaderValue::from_static(EVENT_STREAM),
            Delivery::Whole => HeaderValue::from_static("application/json"),
        };
        Ok((flow, content_type, (which, shown)))
    }

    async fn request(
        &self,
        call: &Call,
        ask: &Ask<'_>,
        adapter: &dyn Adapter,
    ) -> Result<UpstreamRequest, Failure> {
        let request = match adapter.body_need(ask) {
            BodyNeed::Scan => adapter.request(ask, AskBody::Scan(&call.top))?,
            BodyNeed::Whole if call.body.len() > self.shared.max_whole_body => {
                // A candidate of the client's own dialect may take it.
                return Err(Failure {
                    next: Next::Failover,
                    ..super::admit::too_large(self.shared.max_whole_body)
                });
            }
            BodyNeed::Whole => {
                // The body, the conversation and what is written of it, all at once.
                let mut held = self.shared.bytes.hold();
                if !held.grow(call.body.len().saturating_mul(3)) {
                    return Err(super::admit::too_many_bytes());
                }
                let body = call
                    .body
                    .whole()
                    .await
                    .map_err(|e| fault::of_transport(&TransportError::Body(e.to_string())))?;
                adapter.request(ask, AskBody::Whole(&body))?
            }
        };
        Ok(request)
    }

    /// Sends; once more on a new connection where a kept one turned out to be closed.
    async fn send(
        &self,
        call: &Call,
        way: &Way<'_>,
        shown: &Shown,
        request: &UpstreamRequest,
    ) -> Result<Incoming, Failure> {
        let route = way.route;
        let outgoing = || Outgoing {
            headers: headers(call, way, shown, request),
            target: Rc::clone(&shown.target),
            body: match &request.body {
                UpstreamBody::Edited(edits) => call.body.edited(edits),
                UpstreamBody::Whole(bytes) => {
                    OutgoingBody::Pieces(vec![shown.body.as_ref().unwrap_or(bytes).clone()])
                }
            },
        };
        let mut sent = self.transport.send(&route.cell, outgoing(), Via::Pool).await;
        if matches!(sent, Err(TransportError::Stale)) {
            self.shared.metrics.stale_retries.inc();
            sent = self.transport.send(&route.cell, outgoing(), Via::Fresh).await;
        }
        sent.map_err(|error| {
            if route.cell.may_complain(SystemTime::now()) {
                tracing::warn!(call = %call.id, channel = %route.spec.name, %error, "upstream request failed");
            }
            fault::of_transport(&error)
        })
    }
}

/// What the adapter is told of an answer's head.
pub(super) fn head<'a>(
    incoming: &Incoming,
    content_type: &'a str,
    retry_after: Option<Duration>,
) -> AnswerHead<'a> {
    AnswerHead {
        framing: if incoming.until_close { Framing::UntilClose } else { Framing::Framed },
        status: incoming.status,
        content_type,
        retry_after,
    }
}

/// What a call is told whose channel can show no credential.
fn not_shown(route: &Route, unshown: &Unshown) -> Failure {
    match unshown {
        Unshown::Token(error) => fault::of_token(error),
        Unshown::Misconfigured(problem) => {
            tracing::error!(channel = %route.spec.name, problem, "a request cannot show its credential");
            misconfigured()
        }
    }
}

/// The headers of this request alone.
fn headers(
    call: &Call,
    way: &Way<'_>,
    shown: &Shown,
    request: &UpstreamRequest,
) -> Vec<(HeaderName, HeaderValue)> {
    let &Way { link, at, number, .. } = way;
    let target = &shown.target;
    // What belongs to a dialect is for providers that speak it.
    let fits = |name: &HeaderName| Dialect::of_header(name.as_str()).is_none_or(|dialect| at.speaks(dialect));
    let mut headers: Vec<_> = call.headers.iter().filter(|(name, _)| fits(name)).cloned().collect();
    if number > 1 || call.retries == Retries::TheirsAbove {
        headers.push((HeaderName::from_static(ATTEMPT), HeaderValue::from(number.max(2))));
    }
    for (name, value) in &request.headers {
        // The operator's word stands, then the client's.
        let said = headers.iter().map(|(known, _)| known);
        if target.headers().iter().map(|(known, _)| known).chain(said).any(|known| known.as_str() == *name) {
            continue;
        }
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.push((HeaderName::from_static(name), value));
        }
    }
    for (name, value) in &shown.headers {
        // The operator's word stands.
        if !target.headers().iter().any(|(known, _)| known == name) {
            headers.push((name.clone(), value.clone()));
        }
    }
    if *link.row.id == *row::MOCK {
        headers.extend_from_slice(&call.mock_headers);
        if let Ok(id) = HeaderValue::from_str(&call.id) {
            headers.push((HeaderName::from_static("x-penstock-call-id"), id));
        }
    }
    headers
}

/// Pulls a whole answer to its end, or as far as it is checked before its first byte goes out.
async fn check_whole(flow: &mut Flow, timeouts: &Timeouts, started: Instant) -> Result<(), Failure> {
    while flow.ready_bytes() <= CHECKED && !flow.is_ended() {
        let total = timeouts.total.saturating_sub(started.elapsed());
        let pulled = within(timeouts.idle.min(total), poll_fn(|cx| flow.poll_pull(cx))).await;
        if pulled.is_err() {
            return Err(match total <= timeouts.idle {
                true => fault::of_deadline(Deadline::Total, timeouts.total),
                false => fault::of_deadline(Deadline::Idle, timeouts.idle),
            });
        }
        if let Some(failure) = flow.take_failure() {
            return Err(failure);
        }
    }
    Ok(())
}

/// Reads what explains a bad status; whatever came in time counts.
pub(super) async fn read_error(incoming: &mut IncomingBody, idle: Duration) -> BytesMut {
    let mut body = BytesMut::new();
    while body.len() < ERROR_BODY {
        let next = poll_fn(|cx| incoming.as_mut().poll_next(cx));
        match within(idle.min(Duration::from_secs(5)), next).await {
            Ok(Some(Ok(chunk))) => body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY - body.len())]),
            _ => break,
        }
    }
    body
}
