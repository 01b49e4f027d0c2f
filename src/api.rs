//! The management API below `/api`, for scripts and the console: its routes, who may ask, and the envelope of
//! its answers. What it tells is looked up elsewhere, beside the HTTP workers: [`Desk`].

mod calls;

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::{Method, StatusCode, header},
};
use penstock_actors::domain::CallId;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::{
    api_key::{Caller, KeyDigest, KeyTable, digest},
    provider::Failure,
    relay::admit,
};

pub use calls::{Found, Pending};

/// Questions that wait to be looked up. When it is full, the next is answered with 503.
const MOST_QUESTIONS: usize = 64;

/// How long a question waits for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What all workers share of the management API.
pub struct ApiShared {
    /// The digest of the management token, where there is one.
    pub root: Option<KeyDigest>,
    /// Where questions are put.
    pub desk: Desk,
}

/// Who asks.
#[derive(Clone, Debug)]
enum Viewer {
    /// The management token: sees everything.
    Root,
    /// An API key: sees what it paid for, its children's calls too.
    Key(Arc<Caller>),
}

/// A request to the management API, as the HTTP face hands it over.
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path, from `/api` on, without a slash at its end.
    pub path: &'a str,
    /// The secret it shows, or why there is none.
    pub secret: Result<String, Failure>,
    /// The keys in force.
    pub keys: &'a KeyTable,
    /// Now, in milliseconds since 1970.
    pub now_ms: i64,
}

/// Something that is looked up for a caller who waits.
#[derive(Debug)]
pub struct Question {
    /// The call that is asked for.
    pub call: CallId,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answered>,
}

/// What came of a question: what was found, or why nobody can tell.
pub type Answered = Result<Option<Found>, Away>;

/// Nobody can tell now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away(pub String);

/// Where the handlers put their questions. No HTTP worker asks a database or reads the journal.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Question>);

impl Desk {
    /// A desk, and the questions that are put there.
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(MOST_QUESTIONS);
        (Self(questions), asked)
    }

    async fn call(&self, call: CallId) -> Answered {
        let (answer, answered) = oneshot::channel();
        if self.0.try_send(Question { call, answer }).is_err() {
            return Err(Away("too many questions wait for an answer already".to_owned()));
        }
        // Whoever looks it up goes on: a connection that waits for an answer cannot be left.
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Ok(answered) => answered.unwrap_or_else(|_| Err(Away("the question got lost".to_owned()))),
            Err(_) => Err(Away(format!("no answer came within {ANSWER_WITHIN:?}"))),
        }
    }
}

/// One API's envelope.
#[derive(Debug, Serialize)]
struct Envelope<T> {
    success: bool,
    message: String,
    data: Option<T>,
}

/// A route, and what its path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target<'a> {
    Call(&'a str),
    Unknown,
}

fn target(path: &str) -> Target<'_> {
    match path.strip_prefix("/api/calls/") {
        Some(id) if !id.is_empty() && !id.contains('/') => Target::Call(id),
        _ => Target::Unknown,
    }
}

/// Answers a request.
pub async fn respond(shared: &ApiShared, asked: Asked<'_>) -> HttpResponse {
    // Who may not ask is not told what there is to be asked.
    let viewer = match viewer(shared, &asked) {
        Ok(viewer) => viewer,
        Err(failure) => return refused(&failure),
    };
    match (target(asked.path), asked.method) {
        (Target::Call(id), &Method::GET | &Method::HEAD) => match calls::get(&shared.desk, &viewer, id).await
        {
            Ok(call) => {
                HttpResponse::Ok().json(Envelope { success: true, message: String::new(), data: Some(call) })
            }
            Err(failure) => refused(&failure),
        },
        (Target::Call(_), _) => {
            let message = format!("{} is not allowed here; use GET.", asked.method);
            let mut failure = Failure::invalid_request("method_not_allowed", None, message);
            failure.status = 405;
            let mut response = refused(&failure);
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            response
        }
        (Target::Unknown, _) => {
            let mut failure =
                Failure::invalid_request("unknown_url", None, "The management API has no such path.");
            failure.status = 404;
            refused(&failure)
        }
    }
}

fn viewer(shared: &ApiShared, asked: &Asked<'_>) -> Result<Viewer, Failure> {
    let secret = asked.secret.as_ref().map_err(Clone::clone)?;
    // Of two digests, how many bytes agree tells nothing of the secret.
    if shared.root.is_some_and(|root| root == digest(secret)) {
        return Ok(Viewer::Root);
    }
    admit::caller(asked.keys, secret, asked.now_ms).map(|admitted| Viewer::Key(admitted.caller))
}

fn refused(failure: &Failure) -> HttpResponse {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    if let Some(after) = failure.retry_after {
        response.insert_header((header::RETRY_AFTER, after.as_secs().max(1).to_string()));
    }
    let message = failure.message.clone();
    response.json(Envelope::<()> { success: false, message, data: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_api_has_one_meaning() {
        for (path, wanted) in [
            ("/api/calls/x", Target::Call("x")),
            ("/api/calls", Target::Unknown),
            ("/api/calls/", Target::Unknown),
            ("/api/calls/x/y", Target::Unknown),
            ("/api", Target::Unknown),
            ("/api/callsx", Target::Unknown),
        ] {
            assert_eq!(target(path), wanted, "{path}");
        }
    }
}
