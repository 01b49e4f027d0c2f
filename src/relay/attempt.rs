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
    channel::{ChannelCell, Permit},
    domain::{Delivery, Fault, Timeouts},
    router::Route,
};

use super::{
    Call, Relay,
    deadline::within,
    fault::{self, Deadline},
    flow::Flow,
    link::Link,
};
use crate::{
    provider::{AnswerHead, Ask, AskBody, BodyNeed, Failure, UpstreamBody, UpstreamRequest},
    transport::{Incoming, Outgoing, OutgoingBody, TransportError, Via},
};

/// A whole answer up to this long is checked before its first byte goes out, in bytes.
const CHECKED: usize = 256 << 10;
/// How much of an error's body is read, in bytes.
const ERROR_BODY: usize = 64 << 10;

/// An attempt that has content for the client.
pub(super) struct Begun {
    pub(super) flow: Flow,
    pub(super) content_type: HeaderValue,
    pub(super) timeouts: Timeouts,
    pub(super) started: Instant,
    pub(super) link: Rc<Link>,
    pub(super) cell: Arc<ChannelCell>,
    pub(super) permit: Permit,
}

impl Relay {
    /// Tries a call on one channel.
    ///
    /// # Errors
    /// The failure, with what may be done next; nothing has reached the client then.
    pub(super) async fn attempt(
        &self,
        call: &Call,
        route: &Route,
        link: &Rc<Link>,
        permit: Permit,
    ) -> Result<Begun, Failure> {
        let started = Instant::now();
        let deadline = route.spec.timeouts.first_byte_for(call.facts.delivery);
        let begun = match within(deadline, self.begin(call, route, link)).await {
            Ok(begun) => begun,
            Err(_) => Err(fault::of_deadline(Deadline::FirstByte, deadline)),
        };
        match begun {
            Ok((flow, content_type)) => {
                route.cell.succeeded(started.elapsed());
                Ok(Begun {
                    flow,
                    content_type,
                    timeouts: route.spec.timeouts,
                    started,
                    link: Rc::clone(link),
                    cell: Arc::clone(&route.cell),
                    permit,
                })
            }
            Err(mut failure) => {
                if failure.fault == Fault::Upstream {
                    route.cell.failed();
                }
                link.cleanse(&mut failure);
                Err(failure)
            }
        }
    }

    /// Sends the request and waits for content.
    async fn begin(
        &self,
        call: &Call,
        route: &Route,
        link: &Rc<Link>,
    ) -> Result<(Flow, HeaderValue), Failure> {
        if !link.row.endpoints.contains(&call.endpoint) {
            return Err(not_spoken(call, link));
        }
        let ask = Ask {
            endpoint: call.endpoint,
            face: call.face,
            model: &call.facts.model,
            upstream_model: &route.upstream_model,
            delivery: call.facts.delivery,
            usage_wanted: call.facts.usage_wanted,
            quirks: &link.quirks,
            max_event: self.shared.max_event,
            created: call.created,
        };
        let request = self.request(call, &ask, link).await?;
        let mut incoming = self.send(call, route, link, request).await?;
        let content_type = std::mem::take(&mut incoming.content_type);
        let head = AnswerHead {
            status: incoming.status,
            content_type: &content_type,
            retry_after: fault::retry_after(
                incoming.retry_after_ms.as_deref(),
                incoming.retry_after.as_deref(),
                SystemTime::now(),
            ),
        };
        if !(200..300).contains(&head.status) {
            let body = read_error(incoming, route.spec.timeouts.idle).await;
            let mut failure = link.row.adapter.failure(&head, &body);
            if head.status == 401 {
                failure.message =
                    format!("The provider refused the channel's credential: {}", failure.message);
            }
            return Err(failure);
        }
        let reader = link.row.adapter.reader(&ask, &head)?;
        let mut flow = Flow::new(incoming.body, reader);
        let enough = |flow: &Flow| match ask.delivery {
            Delivery::Stream => flow.has_content(),
            Delivery::Whole => flow.ready_bytes() > CHECKED,
        };
        while !enough(&flow) && !flow.is_ended() {
            poll_fn(|cx| flow.poll_pull(cx)).await;
            if let Some(failure) = flow.take_failure() {
                if flow.has_content() && ask.delivery == Delivery::Stream {
                    flow.put_failure(failure);
                    break;
                }
                return Err(failure);
            }
        }
        let content_type = match ask.delivery {
            Delivery::Stream => HeaderValue::from_static("text/event-stream; charset=utf-8"),
            Delivery::Whole => HeaderValue::from_static("application/json"),
        };
        Ok((flow, content_type))
    }

    async fn request(
        &self,
        call: &Call,
        ask: &Ask<'_>,
        link: &Link,
    ) -> Result<(UpstreamRequest, OutgoingBody), Failure> {
        let adapter = link.row.adapter;
        let mut request = match adapter.body_need() {
            BodyNeed::Scan => adapter.request(ask, AskBody::Scan(&call.top))?,
            BodyNeed::Whole if call.body.len() > self.shared.max_whole_body => {
                return Err(super::admit::too_large(self.shared.max_whole_body));
            }
            BodyNeed::Whole => {
                let body = call
                    .body
                    .whole()
                    .await
                    .map_err(|e| fault::of_transport(&TransportError::Body(e.to_string())))?;
                adapter.request(ask, AskBody::Whole(&body))?
            }
        };
        let body = match std::mem::replace(&mut request.body, UpstreamBody::Edited(Vec::new())) {
            UpstreamBody::Edited(edits) => call.body.edited(edits),
            UpstreamBody::Whole(bytes) => OutgoingBody::Bytes(bytes),
        };
        Ok((request, body))
    }

    /// Sends; once more on a new connection where a kept one turned out to be closed.
    async fn send(
        &self,
        call: &Call,
        route: &Route,
        link: &Link,
        (request, body): (UpstreamRequest, OutgoingBody),
    ) -> Result<Incoming, Failure> {
        let uri = link
            .uri(request.path)
            .map_err(|e| fault::of_transport(&TransportError::Resolve(e.to_string())))?;
        let again = match &body {
            OutgoingBody::Bytes(bytes) => Some(bytes.clone()),
            OutgoingBody::Stream { .. } => None,
        };
        let outgoing = Outgoing { uri: uri.clone(), headers: headers(call, link, &request), body };
        let error = match self.transport.send(&route.cell, outgoing, Via::Pool).await {
            Ok(incoming) => return Ok(incoming),
            Err(error) => error,
        };
        let sent = if matches!(error, TransportError::Stale) {
            self.shared.metrics.stale_retries.inc();
            let headers = headers(call, link, &request);
            let body = match (again, request.body) {
                (Some(bytes), _) => OutgoingBody::Bytes(bytes),
                (None, UpstreamBody::Edited(edits)) => call.body.edited(edits),
                (None, UpstreamBody::Whole(bytes)) => OutgoingBody::Bytes(bytes),
            };
            self.transport.send(&route.cell, Outgoing { uri, headers, body }, Via::Fresh).await
        } else {
            Err(error)
        };
        sent.map_err(|error| {
            tracing::debug!(call = %call.id, channel = %route.spec.name, %error, "upstream request failed");
            fault::of_transport(&error)
        })
    }
}

fn headers(call: &Call, link: &Link, request: &UpstreamRequest) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(link.headers.len() + call.headers.len() + request.headers.len() + 1);
    headers.extend_from_slice(&call.headers);
    headers.extend_from_slice(&link.headers);
    for (name, value) in &request.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.push((HeaderName::from_static(name), value));
        }
    }
    if link.row.is_mock {
        headers.extend_from_slice(&call.mock_headers);
        if let Ok(id) = HeaderValue::from_str(&call.id) {
            headers.push((HeaderName::from_static("x-penstock-call-id"), id));
        }
    }
    headers
}

/// Reads what explains a bad status; whatever came in time counts.
async fn read_error(mut incoming: Incoming, idle: Duration) -> BytesMut {
    let mut body = BytesMut::new();
    while body.len() < ERROR_BODY {
        let next = poll_fn(|cx| incoming.body.as_mut().poll_next(cx));
        match within(idle.min(Duration::from_secs(5)), next).await {
            Ok(Some(Ok(chunk))) => body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY - body.len())]),
            _ => break,
        }
    }
    body
}

fn not_spoken(call: &Call, link: &Link) -> Failure {
    let message = format!("The provider {} has no endpoint {}.", link.row.id, call.endpoint.as_str());
    let mut failure = Failure::invalid_request("endpoint_not_supported", None, message);
    failure.next = crate::provider::Next::Failover;
    failure
}
