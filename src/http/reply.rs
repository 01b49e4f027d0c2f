//! From failures and answers to HTTP. The call's id goes with each, a hint when to come back where there is one.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    web,
};
use bytes::Bytes;
use penstock_actors::domain::Fault;

use super::{connection::Running, cors, rates};
use crate::{
    dialect::Dialect,
    provider::{Failure, Next},
    relay::{Answer, Refused, Tried},
};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ONEAPI_REQUEST_ID: HeaderName = HeaderName::from_static("x-oneapi-request-id");
pub(super) const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const CHANNEL: HeaderName = HeaderName::from_static("x-penstock-channel");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-penstock-attempts");
/// Dollars.
const COST: HeaderName = HeaderName::from_static("x-penstock-cost");
const QUEUE_MS: HeaderName = HeaderName::from_static("x-penstock-queue-ms");
const QUEUE_POSITION: HeaderName = HeaderName::from_static("x-penstock-queue-position");
const QUEUE_ETA_MS: HeaderName = HeaderName::from_static("x-penstock-queue-eta-ms");
const FAULT: HeaderName = HeaderName::from_static("x-penstock-fault");

/// A client's own retries after a limit can do so much.
const WORTH_WAITING: Duration = Duration::from_secs(120);

/// What every answer must know of its request, even where the request is gone.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The id that the client gave the request itself.
    own_id: Option<HeaderValue>,
    /// Whether a page of another origin asks.
    is_page: bool,
}

impl Asker {
    /// Reads the headers of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        let own = headers.get(REQUEST_ID).or_else(|| headers.get(CLIENT_REQUEST_ID));
        Self {
            own_id: own.filter(|v| v.len() <= 256).cloned(),
            is_page: headers.contains_key(header::ORIGIN),
        }
    }

    /// The same, for what no page of another origin may read.
    pub(super) fn without_page(self) -> Self {
        Self { is_page: false, ..self }
    }

    /// Puts the call's id, the client's own and the cross-origin permission on an answer.
    pub(super) fn identify(self, headers: &mut HeaderMap, call_id: &str) {
        if let Ok(id) = HeaderValue::from_str(call_id) {
            headers.insert(REQUEST_ID, id.clone());
            headers.insert(ONEAPI_REQUEST_ID, id);
        }
        if let Some(own) = self.own_id {
            headers.insert(CLIENT_REQUEST_ID, own);
        }
        if self.is_page {
            cors::allow(headers);
        }
    }
}

/// A refusal as an answer in the client's dialect, which says how far the call came where the refusal does.
pub(super) fn refusal(face: Dialect, refused: &Refused, call_id: &str) -> HttpResponse {
    let mut response = failure(face, &refused.failure, call_id);
    if let Some(tried) = &refused.tried {
        tell_routing(response.headers_mut(), tried);
    }
    tell_wait(response.headers_mut(), refused.waited);
    if let Some(queue) = refused.queue {
        response.headers_mut().insert(QUEUE_POSITION, HeaderValue::from(queue.position));
        response.headers_mut().insert(QUEUE_ETA_MS, HeaderValue::from(queue.p50.as_millis() as u64));
    }
    rates::tell(response.headers_mut(), &refused.rates, face);
    tell_explained(response.headers_mut(), refused.explained.clone());
    response
}

/// A failure as an answer in the client's dialect.
pub(super) fn failure(face: Dialect, failure: &Failure, call_id: &str) -> HttpResponse {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CONTENT_TYPE, "application/json"));
    response.insert_header((FAULT, failure.fault.as_str()));
    if let Some(after) = failure.retry_after {
        response.insert_header((header::RETRY_AFTER, after.as_millis().div_ceil(1000).to_string()));
        response.insert_header((RETRY_AFTER_MS, after.as_millis().to_string()));
    }
    if failure.fault == Fault::Client {
        let is_soon = failure.retry_after.is_some_and(|after| after <= WORTH_WAITING);
        let retry = if failure.status == 429 && is_soon { "true" } else { "false" };
        response.insert_header((SHOULD_RETRY, retry));
    } else if failure.fault == Fault::Upstream && failure.next == Next::Tell {
        // It may have been paid for once already, and is not to be paid for twice.
        response.insert_header((SHOULD_RETRY, "false"));
    }
    // A provider's 401 asks nothing of the client.
    if status == StatusCode::UNAUTHORIZED && failure.fault == Fault::Client {
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    response.body(face.error_body(failure, call_id))
}

/// Puts the call's id where the client's dialect looks for it.
pub(super) fn name_call(headers: &mut HeaderMap, face: Dialect, call_id: &str) {
    if face == Dialect::AnthropicMessages
        && let Ok(id) = HeaderValue::from_str(call_id)
    {
        headers.insert(HeaderName::from_static("request-id"), id);
    }
}

/// An answer that has begun.
pub(super) fn answer(
    face: Dialect,
    answer: Answer,
    running: Option<Running>,
    may_see_routing: bool,
) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::OK);
    let headers = response.headers_mut();
    let streams = answer.body.size() == BodySize::Stream
        && answer.content_type.as_bytes().starts_with(b"text/event-stream");
    headers.insert(header::CONTENT_TYPE, answer.content_type);
    if streams {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    }
    if let Some(tried) = answer.tried.filter(|_| may_see_routing) {
        tell_routing(headers, &tried);
    }
    tell_wait(headers, answer.waited);
    rates::tell(headers, &answer.rates, face);
    response.set_body(BoxBody::new(With { body: answer.body, _kept: running }))
}

fn tell_wait(headers: &mut HeaderMap, waited: Option<Duration>) {
    if let Some(waited) = waited {
        headers.insert(QUEUE_MS, HeaderValue::from(waited.as_millis() as u64));
    }
}

/// Says which channels were considered, where the call wished to know.
pub(super) fn tell_explained(headers: &mut HeaderMap, explained: Option<String>) {
    if let Some(explained) = explained.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(HeaderName::from_static(super::manage::EXPLAIN), explained);
    }
}

fn tell_routing(headers: &mut HeaderMap, tried: &Tried) {
    if let Ok(channel) = HeaderValue::from_str(tried.channel.as_str()) {
        headers.insert(CHANNEL, channel);
    }
    headers.insert(ATTEMPTS, HeaderValue::from(tried.attempts));
    if let Some(cost) = tried.cost.and_then(|cost| HeaderValue::from_str(&cost.to_string()).ok()) {
        headers.insert(COST, cost);
    }
}

/// An answer to a request whose body was not read to its end.
///
/// While the payload lives, actix closes after the answer and reads on for a while, so that the client
/// sees the answer and no reset. Once it is dropped, a chunked body is read on for ever instead.
pub(super) fn with_unread(response: HttpResponse, payload: web::Payload) -> HttpResponse {
    response.map_body(|_, body| BoxBody::new(With { body, _kept: payload }))
}

/// A body, and what must live as long as it does.
struct With<B, K> {
    body: B,
    _kept: K,
}

impl<B: MessageBody + Unpin, K: Unpin> MessageBody for With<B, K> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
