//! The handler behind every path, and what each connection is given.

use std::{
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

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
    cors, manage, models,
    reply::{self, Asker},
    route::{Matched, matched},
    state::{HttpShared, Worker},
};
use crate::{
    api::{self, Asked},
    dialect::{Dialect, openai},
    provider::{Endpoint, Failure},
    relay::{
        ATTEMPT, Call, Refused, Retries,
        admit::{self, Admitted},
        models::Models,
        settle::CallRecord,
    },
};

/// Client headers that every provider gets. `OpenAI-Organization` and `-Project` belong to the channel.
const PASSED: [&str; 3] = ["openai-beta", "traceparent", "tracestate"];
const MOCK_PREFIX: &str = "x-penstock-mock-";

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
    let mut buffer = uuid::Uuid::encode_buffer();
    let id: Rc<str> = Rc::from(&*uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer));
    let face = Dialect::OpenAi;
    let target = matched(request.method(), request.path());
    let is_call = matches!(target, Matched::Call(_));
    let allowed = if let Matched::MethodNotAllowed(allowed) = target { Some(allowed) } else { None };
    let mut asker = Asker::of(request.headers());
    if matches!(target, Matched::Metrics | Matched::Reload | Matched::Explain | Matched::Api) {
        asker = asker.without_page();
    }
    let known = || worker.shared.models.load();
    let replied: Result<HttpResponse, Box<Refused>> = match target {
        Matched::Call(endpoint) => call(&request, &mut payload, &worker, endpoint, &id).await,
        Matched::Models => authorize(&request, &worker)
            .map(|a| HttpResponse::Ok().json(models::list(&worker.relay.table(), &known(), &a.caller)))
            .map_err(Into::into),
        Matched::Model(name) => authorize(&request, &worker)
            .and_then(|a| {
                Ok(HttpResponse::Ok().json(models::get(&worker.relay.table(), &known(), &a.caller, &name)?))
            })
            .map_err(Into::into),
        Matched::Live => Ok(HttpResponse::Ok().json(serde_json::json!({ "status": "healthy" }))),
        Matched::Ready => Ok(ready(&worker)),
        Matched::Metrics => metrics(&request, &worker).map_err(Into::into),
        Matched::Reload => manage::reload(&request, &worker).await.map_err(Into::into),
        Matched::Explain => match authorize(&request, &worker) {
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
            tracing::info!(call = &*id, method, path, status, code, "request refused");
        }
        reply::refusal(face, &refused, &id)
    });
    if let Some(allowed) = allowed {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    if worker.shared.drain.is_started() {
        response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    }
    asker.identify(response.headers_mut(), &id);
    if is_relayed { response } else { reply::with_unread(response, payload) }
}

/// Hands a request to the management API.
async fn api_answer(request: &HttpRequest, worker: &Worker) -> HttpResponse {
    let path = request.path().split('/').filter(|part| !part.is_empty());
    let path = path.fold(String::new(), |path, part| path + "/" + part);
    let (secret, keys) = (auth::secret(request), worker.shared.keys.load());
    let asked = Asked { method: request.method(), path: &path, secret, keys: &keys, now_ms: now_ms() };
    api::respond(&worker.shared.api, asked).await
}

pub(super) fn authorize(request: &HttpRequest, worker: &Worker) -> Result<Admitted, Failure> {
    let secret = auth::secret(request)?;
    admit::caller(&worker.shared.keys.load(), &secret, now_ms())
}

/// Admits a call and has it relayed.
async fn call(
    request: &HttpRequest,
    payload: &mut web::Payload,
    worker: &Worker,
    endpoint: Endpoint,
    id: &Rc<str>,
) -> Result<HttpResponse, Box<Refused>> {
    let shared = &worker.shared;
    let mut record = CallRecord::new(Rc::clone(id), endpoint, shared.metrics.clone());
    let call = match admitted(request, payload, worker, endpoint, id).await {
        Ok(call) => call,
        Err(failure) => {
            record.refused(&failure);
            return Err(failure.into());
        }
    };
    let running = request.conn_data::<Rc<Connection>>().map(Connection::run);
    let may_see_routing = call.caller.may_see_routing;
    let explained = manage::wished(request, &call, worker);
    match worker.relay.call(&call, record).await {
        Ok(answer) => {
            let mut response = reply::answer(answer, running, may_see_routing);
            reply::tell_explained(response.headers_mut(), explained);
            Ok(response)
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
    endpoint: Endpoint,
    id: &Rc<str>,
) -> Result<Call, Failure> {
    let shared = &worker.shared;
    if shared.drain.is_started() {
        return Err(admit::shutting_down());
    }
    if shared.metrics.calls_in_flight.get() > shared.max_calls {
        return Err(overloaded());
    }
    let Admitted { caller, pin } = authorize(request, worker)?;
    let held = shared.relay.bytes.hold();
    let body::Received { spool, top } =
        body::receive(request, payload, shared.max_body, held, openai::REQUEST).await?;
    let facts = openai::request_facts(endpoint, &top)?;
    let table = shared.relay.table.load();
    let backups = shared.relay.backups.load();
    let is_known = |name: &str| table.knows(table.resolve(name));
    let mut models = Models::asked(&facts.model, &backups, &caller.key, is_known)?;
    admit::may_use(&caller, models.current(), table.resolve(models.current()))?;
    models.retain(|name| admit::may_use(&caller, name, table.resolve(name)).is_ok());
    let (headers, mock_headers) = passed_headers(request);
    Ok(Call {
        id: Rc::clone(id),
        endpoint,
        face: Dialect::OpenAi,
        caller,
        pin,
        facts,
        models,
        number: CallId(uuid::Uuid::parse_str(id).map_or(0, |id| id.as_u128())),
        client_request_id: client_request_id(request),
        foreseen: openai::foreseen(&top),
        top,
        body: spool,
        headers,
        mock_headers,
        retries: retries(request),
        created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    })
}

/// Whose matter another attempt is: a gateway above says with which of its attempts this call comes.
fn retries(request: &HttpRequest) -> Retries {
    let attempt = request.headers().get(ATTEMPT).and_then(|n| n.to_str().ok()?.parse::<u32>().ok());
    if attempt.is_some_and(|n| n > 1) { Retries::TheirsAbove } else { Retries::Ours }
}

/// The id that the client gave the call, if it can be shown.
fn client_request_id(request: &HttpRequest) -> String {
    let headers = request.headers();
    let given = headers.get("x-client-request-id").or_else(|| headers.get("x-request-id"));
    given.and_then(|id| id.to_str().ok()).unwrap_or_default().chars().take(128).collect()
}

type Headers = Vec<(HeaderName, HeaderValue)>;

fn passed_headers(request: &HttpRequest) -> (Headers, Headers) {
    let (mut passed, mut mock) = (Vec::new(), Vec::new());
    for (name, value) in request.headers() {
        if PASSED.contains(&name.as_str()) {
            passed.push((name.clone(), value.clone()));
        } else if name.as_str().starts_with(MOCK_PREFIX) {
            mock.push((name.clone(), value.clone()));
        }
    }
    (passed, mock)
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

/// The wall clock, in milliseconds since 1970.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// What a proxy adds to the requests it passes on.
const FORWARDED: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Metrics are for who sits on the machine, or has a key that may see routing.
fn metrics(request: &HttpRequest, worker: &Worker) -> Result<HttpResponse, Failure> {
    let local = request.peer_addr().is_some_and(|peer| peer.ip().is_loopback());
    // Behind a proxy on this machine everyone comes from here.
    let proxied = FORWARDED.iter().any(|name| request.headers().contains_key(*name));
    if (!local || proxied) && !authorize(request, worker)?.caller.may_see_routing {
        return Err(admit::forbidden("metrics_not_allowed", "This API key may not read the metrics."));
    }
    worker.shared.metrics.body_bytes.set(worker.shared.relay.bytes.used() as i64);
    worker.shared.metrics.limit_cells.set(worker.shared.relay.books.limits.cells().len() as i64);
    let text = worker.shared.metrics.render(worker.relay.table().cells());
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
