//! The mock provider: answers like OpenAI and Anthropic, and fails as it is told.
//!
//! This file owns the server and the order of things for one request; the dialects' files own
//! shapes, [`settings`] what can be told, [`body`] pace and cuts, [`account`] what was served.

pub mod account;
mod answer;
mod anthropic;
mod body;
mod check;
mod failure;
mod foreign;
mod gemini;
mod openai;
mod quota;
mod responses;
mod route;
mod schema;
mod settings;
mod shape;
mod sockets;
#[cfg(test)]
mod tests;
mod text;

use std::{
    future::pending,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::Server,
    guard::fn_guard,
    http::{
        StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap},
    },
    web,
};
use bytes::{Bytes, BytesMut};

pub use self::foreign::{SECRET, tokens::service_account};
pub use self::quota::{MockLimits, Tells};
pub use self::settings::{
    BadHeader, BadValue, Cut, Garbage, HEADER_PREFIX, KNOBS, Knob, MockSettings, Stall,
};
use self::{
    account::{Account, CALLS_KEPT, Ending, Tally},
    answer::{Answer, Ask, Said},
    body::{MockBody, Part, Stop, frames},
    failure::Refusal,
    foreign::{Foreign, Seen},
    quota::{Place, Quota, Standing},
    route::{Route, Target},
};
use crate::dialect::Dialect;

/// The header that names the gateway's call, by which the account is kept.
pub const CALL_ID: &str = "x-penstock-call-id";

/// Longest request body in bytes.
const LONGEST_BODY: usize = 64 << 20;

const EVENTS: &str = "text/event-stream; charset=utf-8";
const JSON: &str = "application/json";

/// What the mock says where it is told to say so many words.
pub fn filler(words: u32) -> String {
    let mut said = BytesMut::new();
    text::Words::filler(words).write_all(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// What all workers share.
struct Mock {
    settings: MockSettings,
    quota: Arc<Quota>,
    account: Account,
    /// Numbers the requests.
    serial: AtomicU64,
    /// Counts the requests that `status` may strike.
    strikes: AtomicU64,
}

/// Opens a listener for [`serve`].
///
/// # Errors
/// What the system says.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};

    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Starts the mock on a listener. It runs when the server is awaited, and heeds no signals.
///
/// # Errors
/// What the system says of the listener.
pub fn serve(listener: TcpListener, settings: MockSettings, workers: usize) -> io::Result<Server> {
    serve_within(listener, settings, MockLimits::default(), workers)
}

/// The same of a mock with limits.
///
/// # Errors
/// What the system says of the listener.
pub fn serve_within(
    listener: TcpListener,
    settings: MockSettings,
    limits: MockLimits,
    workers: usize,
) -> io::Result<Server> {
    let mock = web::Data::new(Mock {
        settings,
        quota: Quota::new(limits),
        account: Account::new(CALLS_KEPT),
        serial: AtomicU64::new(0),
        strikes: AtomicU64::new(0),
    });
    let app = move || {
        let sockets = web::resource("/{path:.*}").guard(fn_guard(sockets::opens)).to(sockets::answer);
        App::new().app_data(mock.clone()).service(sockets).default_service(web::to(handle))
    };
    let server = HttpServer::new(app)
        .workers(workers.max(1))
        .keep_alive(Duration::from_secs(300))
        // A load generator on a busy machine may be slow to ask on a connection that it opened.
        .client_request_timeout(Duration::from_secs(60))
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        .disable_signals()
        .shutdown_timeout(5)
        .listen(listener)?
        .run();
    Ok(server)
}

async fn handle(
    request: HttpRequest,
    payload: web::Payload,
    mock: web::Data<Mock>,
) -> HttpResponse<MockBody> {
    if let Some(path) = request.path().strip_prefix("/_mock/") {
        let body = payload.to_bytes_limited(LONGEST_BODY).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        return mock.own(request.method().as_str(), path, &body);
    }
    if foreign::is_of_tokens(request.path()) {
        return tokens(&request, payload).await;
    }
    let serial = mock.serial.fetch_add(1, Relaxed);
    let call_id = request.headers().get(CALL_ID).and_then(|id| id.to_str().ok());
    let tally = mock.account.enter(call_id);
    let dialect = route::dialect(request.path(), request.headers());
    let (settings, malformed) = match mock.settings.turned_by(request.headers()) {
        Ok(turned) => (turned, None),
        Err(error) => (None, Some(error)),
    };
    let settings = settings.as_ref().unwrap_or(&mock.settings);
    let foreign = foreign::of(request.path());
    let voice = foreign.map_or(Voice::Own(dialect), Voice::Foreign);
    let mut reply = Reply { voice, settings, serial, standing: None };

    let body = match payload.to_bytes_limited(LONGEST_BODY).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return reply.refuse(&Refusal::invalid("The request body could not be read."), tally),
        Err(_) => return reply.refuse(&Refusal::of_status(413, dialect), tally),
    };
    if let Some(error) = malformed {
        return reply.refuse(&Refusal::invalid(error.to_string()), tally);
    }
    if settings.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(settings.latency_ms)).await;
    }
    if let Some(status) = settings.status
        && mock.strikes(settings.status_every)
    {
        return reply.refuse(&Refusal::of_status(status, dialect), tally);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let ask = Ask { body: &body, settings, serial, now };
    let answered = match foreign {
        Some(provider) if !provider.takes(request.method().as_str()) => {
            Err(Refusal::no_method(request.method().as_str(), request.path()))
        }
        Some(_) if !is_json(request.headers()) => Err(not_json()),
        Some(provider) => provider.answer(&Seen::of(&request), &ask),
        None => answer(&request, dialect, &ask),
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(refusal) => return reply.refuse(&refusal, tally),
    };
    match mock.quota.admit(answer.tokens()) {
        Ok(None) => reply.send(answer, tally, None).await,
        Ok(Some((place, standing))) => {
            reply.standing = Some(standing);
            reply.send(answer, tally, Some(place)).await
        }
        Err(standing) => {
            reply.standing = Some(standing);
            reply.refuse(&Refusal::of_status(429, dialect), tally)
        }
    }
}

/// Exchanges a credential for a token. No setting makes this fail: those are of calls.
async fn tokens(request: &HttpRequest, payload: web::Payload) -> HttpResponse<MockBody> {
    let body = payload.to_bytes_limited(LONGEST_BODY).await.ok().and_then(Result::ok).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let told = foreign::tokens::answer(&Seen::of(request), request.method().as_str(), &body, now);
    let (status, body) = told.unwrap_or((404, Bytes::new()));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let aside = Account::new(0).enter(None);
    let body = MockBody::whole(body, 0, Stop::Never, Ending::Completed, aside);
    HttpResponse::build(status).content_type(JSON).message_body(body).unwrap_or_else(no_head)
}

/// Finds who answers, and has it answer.
fn answer(request: &HttpRequest, dialect: Dialect, ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let target = route::find(request.method().as_str(), request.path(), request.query_string())?;
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    match dialect {
        Dialect::Gemini => gemini::authorise(header("x-goog-api-key"), request.query_string())?,
        Dialect::AnthropicMessages => anthropic::authorise(
            header("x-api-key"),
            header(AUTHORIZATION.as_str()),
            header("anthropic-version"),
        )?,
        _ => openai::authorise(header(AUTHORIZATION.as_str()))?,
    }
    let route = match target {
        Target::Models => return Ok(openai::models::list(dialect)),
        Target::Model(id) => return Ok(openai::models::one(&id, dialect)),
        Target::Post(route) => route,
    };
    if !is_json(request.headers()) {
        return Err(not_json());
    }
    match route {
        Route::Chat => openai::chat::answer(ask),
        Route::Completions => openai::completions::answer(ask),
        Route::Embeddings => openai::embeddings::answer(ask),
        Route::Moderations => openai::moderations::answer(ask),
        Route::Messages => anthropic::messages(ask),
        Route::CountTokens => anthropic::count_tokens(ask),
        Route::Responses => responses::answer(ask),
        Route::Generate(model, delivery) => gemini::generate(ask, &model, delivery),
        Route::GeminiCount(_) => gemini::count_tokens(ask),
    }
}

fn not_json() -> Refusal {
    let message = "Unsupported content type: this API only accepts 'application/json' requests.";
    Refusal { status: 415, ..Refusal::invalid(message) }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(JSON)
}

impl Mock {
    /// Whether this request is one of those that `status` strikes.
    fn strikes(&self, every: Option<u64>) -> bool {
        match every {
            Some(every) => (self.strikes.fetch_add(1, Relaxed) + 1).is_multiple_of(every.max(1)),
            None => true,
        }
    }

    /// Answers about the account and the limits.
    fn own(&self, method: &str, path: &str, body: &[u8]) -> HttpResponse<MockBody> {
        let found = match (method, path) {
            ("GET", "limits") => Some(self.quota.shown().to_string()),
            ("POST", "limits") => match serde_json::from_slice(body) {
                Ok(limits) => {
                    self.quota.set(limits);
                    Some(self.quota.shown().to_string())
                }
                Err(_) => None,
            },
            ("GET", "calls") => serde_json::to_string(&self.account.totals()).ok(),
            ("GET", path) => path
                .strip_prefix("calls/")
                .and_then(|id| self.account.call(id))
                .and_then(|call| serde_json::to_string(&call).ok()),
            ("POST", "reset") => {
                self.account.reset();
                Some("{}".into())
            }
            _ => None,
        };
        let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let text = found.unwrap_or_else(|| "{\"error\":\"not found\"}".into());
        // What is asked about the account is not entered in it.
        let aside = Account::new(0).enter(None);
        let body = MockBody::whole(Bytes::from(text), 0, Stop::Never, Ending::Completed, aside);
        HttpResponse::build(status).content_type(JSON).message_body(body).unwrap_or_else(no_head)
    }
}

/// In whose words errors are told.
#[derive(Clone, Copy)]
enum Voice {
    Own(Dialect),
    Foreign(&'static dyn Foreign),
}

impl Voice {
    /// The dialect in whose way limits are told.
    fn dialect(self) -> Dialect {
        match self {
            Self::Own(dialect) => dialect,
            Self::Foreign(_) => Dialect::OpenAi,
        }
    }

    fn body(self, refusal: &Refusal, id: &str) -> Bytes {
        match self {
            Self::Own(dialect) => refusal.body(dialect, id),
            Self::Foreign(provider) => provider.error(refusal),
        }
    }

    fn event(self, refusal: &Refusal, id: &str) -> Bytes {
        match self {
            Self::Own(dialect) => refusal.event(dialect, id),
            Self::Foreign(provider) => provider.error_event(refusal),
        }
    }

    fn stream_type(self) -> &'static str {
        match self {
            Self::Own(_) => EVENTS,
            Self::Foreign(provider) => provider.stream_type(),
        }
    }
}

/// How one request is answered.
struct Reply<'a> {
    voice: Voice,
    settings: &'a MockSettings,
    serial: u64,
    /// How the mock's limits stand, where it has any.
    standing: Option<Standing>,
}

impl Reply<'_> {
    /// Sends an answer, with what the settings do to it.
    async fn send(&self, answer: Answer, mut tally: Tally, place: Option<Place>) -> HttpResponse<MockBody> {
        let settings = self.settings;
        if settings.stall == Some(Stall::BeforeHead) && settings.cut.is_none() {
            pending::<()>().await;
        }
        if let Some(garbage) = settings.garbage
            && let Some((kind, said)) = self.nonsense(garbage, &answer.said)
        {
            return self.respond(StatusCode::OK, kind, said, Ending::Refused, tally);
        }
        if settings.cut != Some(Cut::BeforeHead) {
            tally.read(answer.prompt_tokens);
        }
        let kind = match &answer.said {
            Said::Whole(_, tokens) => {
                let time = settings.time_for(*tokens);
                if !time.is_zero() {
                    tokio::time::sleep(time).await;
                }
                // Before its client hears of the end.
                drop(place);
                JSON
            }
            Said::Stream(_) => {
                tally.keep(place);
                self.voice.stream_type()
            }
        };
        self.respond(StatusCode::OK, kind, answer.said, Ending::Completed, tally)
    }

    /// What is sent in place of an answer, if it is not the answer itself.
    fn nonsense(&self, garbage: Garbage, said: &Said) -> Option<(&'static str, Said)> {
        let streams = matches!(said, Said::Stream(_));
        let kind = if streams { self.voice.stream_type() } else { JSON };
        let whole = |bytes| Said::Whole(bytes, 0);
        match garbage {
            Garbage::Html => {
                Some(("text/html; charset=utf-8", whole(Bytes::from_static(failure::PAGE.as_bytes()))))
            }
            Garbage::Binary => Some((kind, whole(failure::noise()))),
            Garbage::Error200 => {
                let refusal = Refusal::of_status(500, Dialect::OpenAi);
                let id = self.request_id();
                let said = if streams {
                    Said::Stream(vec![Part::Frame(self.voice.event(&refusal, &id), 0)])
                } else {
                    whole(self.voice.body(&refusal, &id))
                };
                Some((kind, said))
            }
            Garbage::TruncatedJson => match said {
                Said::Whole(bytes, _) => Some((kind, whole(bytes.slice(..bytes.len() / 2)))),
                Said::Stream(parts) => Some((kind, Said::Stream(parts.clone()))),
            },
            Garbage::HugeLine(_) => None,
        }
    }

    fn refuse(&self, refusal: &Refusal, tally: Tally) -> HttpResponse<MockBody> {
        let retry = self.standing.and_then(|standing| standing.retry_in_body(self.voice.dialect()));
        let body = match retry {
            Some(seconds) => refusal.body_with_retry(seconds),
            None => self.voice.body(refusal, &self.request_id()),
        };
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.respond(status, JSON, Said::Whole(body, 0), Ending::Refused, tally)
    }

    fn respond(
        &self,
        status: StatusCode,
        kind: &'static str,
        said: Said,
        ending: Ending,
        mut tally: Tally,
    ) -> HttpResponse<MockBody> {
        let settings = self.settings;
        let mut head = HttpResponse::build(status);
        head.content_type(kind);
        match self.voice {
            Voice::Own(Dialect::AnthropicMessages) => head.insert_header(("request-id", self.request_id())),
            _ => head.insert_header(("x-request-id", self.request_id())),
        };
        if settings.close {
            head.force_close();
        }
        let mut limits = HeaderMap::new();
        if let Some(standing) = &self.standing {
            standing.write(self.voice.dialect(), &mut limits);
        }
        for (name, value) in limits {
            head.insert_header((name, value));
        }
        let refused = !status.is_success();
        if refused {
            if let Some(seconds) = settings.retry_after {
                head.insert_header(("retry-after", seconds.to_string()));
            }
            if let Some(ms) = settings.retry_after_ms {
                head.insert_header(("retry-after-ms", ms.to_string()));
            }
            tally.end(ending);
        }
        let body = match said {
            Said::Whole(bytes, tokens) => {
                let stop = if refused { Stop::Never } else { Stop::of(settings, 1, false) };
                MockBody::whole(bytes, tokens, stop, ending, tally)
            }
            Said::Stream(parts) => {
                let frames = frames(&parts);
                let stop = match settings.garbage {
                    Some(Garbage::TruncatedJson) => Stop::Truncate { after: frames / 2 },
                    _ => Stop::of(settings, frames, true),
                };
                MockBody::stream(parts, stop, settings, ending, tally)
            }
        };
        head.message_body(body).unwrap_or_else(no_head)
    }

    fn request_id(&self) -> String {
        format!("req_mock{:016x}", self.serial)
    }
}

/// Stands for a head that could not be built, which no header of ours can bring about.
fn no_head(_: actix_web::Error) -> HttpResponse<MockBody> {
    let aside = Account::new(0).enter(None);
    let body = MockBody::whole(Bytes::new(), 0, Stop::Never, Ending::Refused, aside);
    HttpResponse::with_body(StatusCode::INTERNAL_SERVER_ERROR, body)
}
