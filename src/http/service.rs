//! The handler behind every path, and what each connection is given.

use std::{rc::Rc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    dev::Extensions,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    web,
};
use futures_core::future::LocalBoxFuture;
use penstock_actors::domain::CallId;
use socket2::SockRef;

use super::{
    auth, body,
    connection::{ClientIo, Connection},
    cors, count, keeping, manage, models,
    reply::{self, Asker},
    route::{self, Matched, matched},
    runtime::Runtime,
    state::{HttpShared, Worker},
};
use crate::{
    api::{self, Asked},
    api_key::digest,
    clock::{Moment, now_ms},
    dialect::{Dialect, Told},
    provider::{Endpoint, Failure},
    relay::{
        ATTEMPT, Call, Refused, Retries,
        admit::{self, Admitted},
        media::Gathered,
        models::Models,
        settle::CallRecord,
    },
    telemetry::Scrape,
};

/// Client headers that every provider gets. `OpenAI-Organization` and `-Project` belong to the channel.
const PASSED: [&str; 5] = ["anthropic-beta", "anthropic-version", "openai-beta", "traceparent", "tracestate"];
const MOCK_PREFIX: &str = "x-penstock-mock-";
/// How long the client would wait: ours in milliseconds, Bella's in seconds. The name that errors give, and the unit.
const MAX_WAIT: [(HeaderName, &str, u64); 2] = [
    (HeaderName::from_static("x-penstock-max-wait"), "X-Penstock-Max-Wait", 1),
    (HeaderName::from_static("x-bella-max-wait"), "X-BELLA-MAX-WAIT", 1_000),
];

/// Adds the one service that matches every path.
pub fn configure(config: &mut web::ServiceConfig) {
    config.default_service(web::to(handle));
}

/// Prepares a client's connection: counted, and cut by the kernel when the client takes nothing.
pub fn on_connect(io: &ClientIo, extensions: &mut Extensions, shared: &HttpShared) {
    let set = SockRef::from(io.tcp()).set_tcp_user_timeout(Some(shared.client_stall));
    if let Err(error) = set.and_then(|()| io.tcp().set_nodelay(true)) {
        tracing::debug!(%error, "a client's connection was not set up");
    }
    extensions.insert(Rc::clone(io.connection()));
    shared.metrics.client_connections.inc();
    extensions.insert(CountedConnection(shared.metrics.client_connections.clone()));
}

struct CountedConnection(prometheus::IntGauge);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// When a request came, and what it is called from then on.
struct Arrival {
    id: Rc<str>,
    /// The same, as a number.
    number: CallId,
    at: Moment,
}

impl Arrival {
    fn now() -> Self {
        let (id, mut text) = (uuid::Uuid::now_v7(), uuid::Uuid::encode_buffer());
        let number = CallId(id.as_u128());
        Self { id: Rc::from(&*id.hyphenated().encode_lower(&mut text)), number, at: Moment::now() }
    }
}

/// Boxes the call once, here: the layers above would each move the whole of a bare future.
fn handle(
    request: HttpRequest,
    payload: web::Payload,
    worker: web::Data<Worker>,
) -> LocalBoxFuture<'static, HttpResponse> {
    Box::pin(respond(request, payload, worker))
}

async fn respond(request: HttpRequest, mut payload: web::Payload, worker: web::Data<Worker>) -> HttpResponse {
    let _handling = request.conn_data::<Rc<Connection>>().map(Connection::handle);
    let arrival = &Arrival::now();
    let Arrival { id, at, .. } = arrival;
    let target = matched(request.method(), request.path(), request.query_string());
    let face = match &target {
        Matched::Call(_, face, _) => *face,
        _ => route::face(request.path(), request.headers()),
    };
    let is_call = matches!(target, Matched::Call(..));
    let allowed = if let Matched::MethodNotAllowed(allowed) = target { Some(allowed) } else { None };
    let mut asker = Asker::of(request.headers());
    let manages = matches!(target, Matched::Reload | Matched::Explain);
    if manages || matches!(target, Matched::Metrics | Matched::Runtime | Matched::Api) {
        asker = asker.without_page();
    }
    let known = || worker.shared.models.load();
    let replied: Result<HttpResponse, Box<Refused>> = match target {
        Matched::Call(endpoint, face, told) => {
            call(&request, &mut payload, &worker, &Called { endpoint, face, told }, arrival).await
        }
        Matched::Stored(id, shown) => authorize(&request, &worker, at)
            .and_then(|a| keeping::show(&*worker.shared.responses, &a.caller.key, &id, shown))
            .map_err(Into::into),
        Matched::Models => authorize(&request, &worker, at)
            .map(|a| models::list(&worker.relay.table(), &known(), &a.caller, face))
            .map_err(Into::into),
        Matched::Model(name) => authorize(&request, &worker, at)
            .and_then(|a| models::get(&worker.relay.table(), &known(), &a.caller, &name, face))
            .map_err(Into::into),
        Matched::Live => Ok(HttpResponse::Ok().json(serde_json::json!({ "status": "healthy" }))),
        Matched::Ready => Ok(ready(&worker)),
        Matched::Metrics => metrics(&request, &worker, at).map_err(Into::into),
        Matched::Runtime => runtime(&request, &worker, at).map_err(Into::into),
        Matched::Reload => manage::reload(&request, &worker, at).await.map_err(Into::into),
        Matched::Explain => match authorize(&request, &worker, at) {
            Ok(admitted) => manage::explained(&admitted, &mut payload, &worker).await.map_err(Into::into),
            Err(failure) => Err(failure.into()),
        },
        Matched::Api => Ok(api_answer(&request, &worker).await),
        Matched::Preflight => Ok(cors::preflight(&request)),
        Matched::NotImplemented => Err(not_implemented(&request).into()),
        Matched::MethodNotAllowed(allowed) => Err(method_not_allowed(&request, allowed).into()),
        Matched::Unknown => Err(unknown_path(&request).into()),
    };
    let is_relayed = is_call && replied.is_ok();
    let mut response = replied.unwrap_or_else(|refused| {
        // A call's own record tells of it.
        if !is_call {
            let Failure { status, code, .. } = &refused.failure;
            let (method, path) = (request.method().as_str(), shown(&request));
            tracing::info!(call = &**id, method, path, status, code, "request refused");
        }
        reply::refusal(face, &refused, id)
    });
    if let Some(allowed) = allowed {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    if worker.shared.drain.is_started() {
        response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    }
    asker.identify(response.headers_mut(), id);
    reply::name_call(response.headers_mut(), face, id);
    if is_relayed { response } else { reply::with_unread(response, payload) }
}

/// Hands a request to the management API.
async fn api_answer(request: &HttpRequest, worker: &Worker) -> HttpResponse {
    let path = request.path().split('/').filter(|part| !part.is_empty());
    let path = path.fold(String::new(), |path, part| path + "/" + part);
    let secret = auth::secret(request).map(|secret| secret.into_owned());
    let keys = worker.shared.keys.load();
    let asked = Asked { method: request.method(), path: &path, secret, keys: &keys, now_ms: now_ms() };
    api::respond(&worker.shared.api, asked).await
}

pub(super) fn authorize(request: &HttpRequest, worker: &Worker, at: &Moment) -> Result<Admitted, Failure> {
    let secret = auth::secret(request)?;
    admit::caller(&worker.shared.keys.load(), &secret, at.wall_ms)
}

/// What a path asks for.
struct Called {
    endpoint: Endpoint,
    face: Dialect,
    told: Told,
}

/// Admits a call and has it relayed.
async fn call(
    request: &HttpRequest,
    payload: &mut web::Payload,
    worker: &Worker,
    called: &Called,
    arrival: &Arrival,
) -> Result<HttpResponse, Box<Refused>> {
    let shared = &worker.shared;
    let mut record =
        CallRecord::new(Rc::clone(&arrival.id), called.endpoint, shared.metrics.clone(), arrival.at);
    let call = match admitted(request, payload, worker, called, arrival).await {
        Ok(call) => call,
        Err(failure) => {
            record.refused(&failure);
            return Err(failure.into());
        }
    };
    if call.endpoint == Endpoint::CountTokens && !worker.relay.has_native(&call) {
        return count::locally(worker, &call, record).await;
    }
    let keeper = keeping::Keeper::of(&call, &shared.responses).await;
    let running = request.conn_data::<Rc<Connection>>().map(Connection::run);
    let may_see_routing = call.caller.may_see_routing;
    let explained = manage::wished(request, &call, worker);
    match worker.relay.call(call, record).await {
        Ok(answer) => {
            let mut answered = reply::answer(called.face, answer, running, may_see_routing);
            reply::tell_explained(answered.headers_mut(), explained);
            Ok(match keeper {
                Some(keeper) => keeper.watch(answered),
                None => answered,
            })
        }
        Err(mut refused) => {
            refused.explained = explained;
            refused.tried = refused.tried.filter(|_| may_see_routing);
            Err(refused)
        }
    }
}

async fn admitted(
    request: &HttpRequest,
    payload: &mut web::Payload,
    worker: &Worker,
    called: &Called,
    arrival: &Arrival,
) -> Result<Call, Failure> {
    let &Called { endpoint, face, ref told } = called;
    let shared = &worker.shared;
    if shared.drain.is_started() {
        return Err(admit::shutting_down());
    }
    if shared.metrics.calls_in_flight.get() > shared.max_calls {
        return Err(overloaded());
    }
    let Admitted { caller, pin } = authorize(request, worker, &arrival.at)?;
    let held = shared.relay.bytes.hold();
    let body::Received { spool, top } =
        body::receive(request, payload, shared.max_body, held, face.watches()).await?;
    let (spool, top) = match endpoint {
        Endpoint::Responses => {
            keeping::continued(&*shared.responses, &caller.key, spool, top, &shared.relay).await?
        }
        _ => (spool, top),
    };
    let facts = face.facts(endpoint, told, &top)?;
    let max_wait = max_wait(request)?;
    let table = shared.relay.table.load();
    let backups = shared.relay.backups.load();
    let is_known = |name: &str| table.knows(table.resolve(name));
    let mut models = Models::asked(&facts.model, &backups, &caller.key, is_known)?;
    let first = models.current(&facts.model);
    admit::may_use(&caller, first, table.resolve(first))?;
    models.retain(|name| admit::may_use(&caller, name, table.resolve(name)).is_ok());
    let Passed { headers, mock_headers, retries } = passed_headers(request);
    Ok(Call {
        id: Rc::clone(&arrival.id),
        endpoint,
        face,
        caller,
        pin,
        max_wait,
        arrived: arrival.at.at,
        facts,
        models,
        number: arrival.number,
        client_request_id: client_request_id(request),
        foreseen: face.foreseen(&top),
        top,
        body: spool,
        headers,
        mock_headers,
        created: arrival.at.wall_seconds(),
        retries,
        media: Gathered::default(),
    })
}

/// The id that the client gave the call, if it can be shown.
fn client_request_id(request: &HttpRequest) -> String {
    let headers = request.headers();
    let given = headers.get(reply::CLIENT_REQUEST_ID).or_else(|| headers.get(reply::REQUEST_ID));
    given.and_then(|id| id.to_str().ok()).unwrap_or_default().chars().take(128).collect()
}

/// How long the client would wait for an answer to begin.
fn max_wait(request: &HttpRequest) -> Result<Option<Duration>, Failure> {
    for (header, name, unit_ms) in MAX_WAIT {
        let Some(value) = request.headers().get(header) else { continue };
        // What is too large for a number is capped like what is merely long.
        let digits =
            value.to_str().ok().map(str::trim).filter(|text| {
                !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_digit())
            });
        let Some(digits) = digits else {
            let unit = if unit_ms == 1 { "milliseconds" } else { "seconds" };
            let message = format!("{name} must be a whole number of {unit}, 0 or more.");
            return Err(Failure::invalid_request("invalid_max_wait", Some(name), message));
        };
        let wait = digits.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(unit_ms);
        return Ok(Some(Duration::from_millis(wait)));
    }
    Ok(None)
}

type Headers = Vec<(HeaderName, HeaderValue)>;

/// What a client's headers say to those behind us.
struct Passed {
    headers: Headers,
    mock_headers: Headers,
    /// A gateway above says with which of its attempts the call comes.
    retries: Retries,
}

fn passed_headers(request: &HttpRequest) -> Passed {
    let mut passed = Passed { headers: Vec::new(), mock_headers: Vec::new(), retries: Retries::Ours };
    for (name, value) in request.headers() {
        if PASSED.contains(&name.as_str()) {
            passed.headers.push((name.clone(), value.clone()));
        } else if name.as_str().starts_with(MOCK_PREFIX) {
            passed.mock_headers.push((name.clone(), value.clone()));
        } else if name.as_str() == ATTEMPT {
            let attempt = value.to_str().ok().and_then(|n| n.parse::<u32>().ok());
            if attempt.is_some_and(|n| n > 1) {
                passed.retries = Retries::TheirsAbove;
            }
        }
    }
    passed
}

fn overloaded() -> Failure {
    let message = "The gateway has as many calls in flight as it can hold.";
    let mut failure = Failure::gateway(503, "gateway_overloaded", message);
    failure.retry_after = Some(Duration::from_secs(1));
    failure
}

fn ready(worker: &Worker) -> HttpResponse {
    if worker.shared.drain.is_started() {
        return HttpResponse::ServiceUnavailable().json(serde_json::json!({ "status": "draining" }));
    }
    let table = worker.relay.table();
    // Without the store, known keys go on: that is no reason to be taken out of service.
    let (reached, age_ms) = worker.shared.keys_health.look(now_ms());
    let keys = serde_json::json!({ "store": if reached { "reached" } else { "away" }, "age_ms": age_ms });
    HttpResponse::Ok()
        .json(serde_json::json!({ "status": "ready", "revision": table.revision, "keys": keys }))
}

/// What a proxy adds to the requests it passes on.
const FORWARDED: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Who looks at how the gateway stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Onlooker {
    /// Whoever runs it.
    Operator,
    /// A key that may see routing; other keys are none of its business.
    Key,
}

/// What shows channels is for who sits on the machine, or has a key that may see routing.
fn may_look_inside(request: &HttpRequest, worker: &Worker, at: &Moment) -> Result<Onlooker, Failure> {
    let local = request.peer_addr().is_some_and(|peer| peer.ip().is_loopback());
    // Behind a proxy on this machine everyone comes from here.
    let proxied = FORWARDED.iter().any(|name| request.headers().contains_key(*name));
    let is_root = || {
        let root = worker.shared.api.root.as_ref();
        root.zip(auth::secret(request).ok()).is_some_and(|(root, shown)| *root == digest(&shown))
    };
    if (local && !proxied) || is_root() {
        return Ok(Onlooker::Operator);
    }
    match authorize(request, worker, at)?.caller.may_see_routing {
        true => Ok(Onlooker::Key),
        false => Err(admit::forbidden("metrics_not_allowed", "This API key may not read the metrics.")),
    }
}

fn runtime(request: &HttpRequest, worker: &Worker, at: &Moment) -> Result<HttpResponse, Failure> {
    let onlooker = may_look_inside(request, worker, at)?;
    let shared = &worker.shared.relay;
    let mut runtime = Runtime::of(&worker.relay.table(), &shared.room, shared.books.limits.clock_ms());
    if onlooker == Onlooker::Operator {
        runtime.name_keys(&worker.shared.keys.load());
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    Ok(match accept {
        Some(accept) if accept.trim_start().starts_with("text/plain") => {
            HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(runtime.text())
        }
        _ => HttpResponse::Ok().json(runtime),
    })
}

fn metrics(request: &HttpRequest, worker: &Worker, at: &Moment) -> Result<HttpResponse, Failure> {
    may_look_inside(request, worker, at)?;
    worker.shared.metrics.body_bytes.set(worker.shared.relay.bytes.used() as i64);
    let room = &worker.shared.relay.room;
    worker.shared.metrics.waiting(room.calls(), room.bytes());
    worker.shared.metrics.limit_cells.set(worker.shared.relay.books.limits.cells().len() as i64);
    let now = Scrape { room, limits_ms: worker.shared.relay.books.limits.clock_ms() };
    let text = worker.shared.metrics.render(worker.relay.table().cells(), now);
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

fn shown(request: &HttpRequest) -> String {
    request.path().chars().take(200).collect()
}

fn unknown_path(request: &HttpRequest) -> Failure {
    let message = format!("Invalid URL ({} {})", request.method(), shown(request));
    let mut failure = Failure::invalid_request("unknown_url", None, message);
    failure.status = 404;
    failure
}

fn not_implemented(request: &HttpRequest) -> Failure {
    let message = format!("This endpoint is not implemented: {} {}", request.method(), shown(request));
    let mut failure = Failure::invalid_request("api_not_implemented", None, message);
    failure.status = 501;
    failure
}

fn method_not_allowed(request: &HttpRequest, allowed: &str) -> Failure {
    let message = format!("Not allowed method: {} {} takes {allowed}.", request.method(), shown(request));
    let mut failure = Failure::invalid_request("method_not_allowed", None, message);
    failure.status = 405;
    failure
}

/// What a client gets when a handler panicked.
#[derive(Debug, thiserror::Error)]
#[error("handler panicked")]
pub struct Panicked(pub Asker);

impl ResponseError for Panicked {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn error_response(&self) -> HttpResponse {
        let id = uuid::Uuid::now_v7().to_string();
        tracing::error!(call = id, "handler panicked");
        let failure = Failure::gateway(500, "internal_error", "The gateway failed; the defect was logged.");
        let mut response = reply::failure(Dialect::OpenAi, &failure, &id);
        self.0.clone().identify(response.headers_mut(), &id);
        response
    }
}
