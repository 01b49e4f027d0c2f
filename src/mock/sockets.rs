//! Requests over websockets, as Spark has them: the signed opening, one message in, an answer's frames out, a
//! message each, and the close.

use std::{
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, ready},
    time::{SystemTime, UNIX_EPOCH},
};

use actix_http::ws::{Codec, Frame, Message, hash_key};
use actix_web::{
    HttpRequest, HttpResponse,
    body::{BodySize, EitherBody, MessageBody},
    guard::GuardContext,
    http::{StatusCode, header::HeaderValue},
    web,
};
use bytes::{Bytes, BytesMut};
use futures_core::Stream as _;
use tokio_util::codec::{Decoder as _, Encoder as _};

use super::{
    LONGEST_BODY, Mock, Reply, Voice,
    account::{Ending, Tally},
    answer::{Ask, Said},
    body::{CutShort, MockBody, Part, Stop, frames},
    failure::Refusal,
    foreign::{Seen, spark::Spark},
    settings::{Garbage, MockSettings},
};
use crate::dialect::Dialect;

const KEY: &str = "sec-websocket-key";
const ACCEPT: &str = "sec-websocket-accept";

/// Whether a request opens a websocket.
pub(super) fn opens(guard: &GuardContext<'_>) -> bool {
    guard.head().headers().contains_key(KEY)
}

/// Opens a websocket, or refuses to.
pub(super) async fn answer(
    request: HttpRequest,
    payload: web::Payload,
    mock: web::Data<Mock>,
) -> HttpResponse<EitherBody<SocketBody, MockBody>> {
    let serial = mock.serial.fetch_add(1, Relaxed);
    let tally = mock.account.enter(None);
    let turned = mock.settings.turned_by(request.headers()).ok().flatten();
    let settings = turned.as_ref().unwrap_or(&mock.settings);
    let strikes = settings.status.filter(|_| mock.strikes(settings.status_every));
    let struck = strikes.map(|status| Refusal::of_status(status, Dialect::OpenAi));
    let is_of_opening = |refusal: &&Refusal| matches!(refusal.status, 401 | 404);
    let refused = Spark::authorise(&Seen::of(&request)).err();
    if let Some(refusal) = refused.as_ref().or(struck.as_ref().filter(is_of_opening)) {
        let reply = Reply { voice: Voice::Foreign(&Spark), settings, serial, standing: None };
        return reply.refuse(refusal, tally).map_into_right_body();
    }
    let accept = request.headers().get(KEY).map(|key| hash_key(key.as_bytes())).unwrap_or_default();
    let accept = HeaderValue::from_bytes(&accept).unwrap_or(HeaderValue::from_static(""));
    let waiting = Waiting {
        payload,
        codec: Codec::new().max_size(LONGEST_BODY),
        came: BytesMut::new(),
        settings: settings.clone(),
        serial,
        struck,
        tally: Some(tally),
    };
    let body = SocketBody(State::Waiting(Box::new(waiting)));
    HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS)
        .upgrade("websocket")
        .insert_header((ACCEPT, accept))
        .message_body(body)
        .map_or_else(|error| super::no_head(error).map_into_right_body(), |head| head.map_into_left_body())
}

/// A text as a message.
pub(super) fn framed(text: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    let text = String::from_utf8_lossy(text).into_owned();
    // Texts of a server can always be written.
    let _ = Codec::new().encode(Message::Text(text.into()), &mut out);
    out.freeze()
}

/// What goes out over a websocket: nothing, until the message came.
pub(super) struct SocketBody(State);

enum State {
    Waiting(Box<Waiting>),
    Answering(Box<MockBody>),
}

struct Waiting {
    payload: web::Payload,
    codec: Codec,
    came: BytesMut,
    settings: MockSettings,
    serial: u64,
    /// The refusal that a setting asks for.
    struck: Option<Refusal>,
    tally: Option<Tally>,
}

impl Waiting {
    /// The message, once it came.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, CutShort>> {
        loop {
            match self.codec.decode(&mut self.came) {
                Ok(Some(Frame::Text(text))) => return Poll::Ready(Ok(text)),
                Ok(None) => match ready!(Pin::new(&mut self.payload).poll_next(cx)) {
                    Some(Ok(chunk)) => self.came.extend_from_slice(&chunk),
                    _ => return Poll::Ready(Err(CutShort)),
                },
                _ => return Poll::Ready(Err(CutShort)),
            }
        }
    }

    /// What is said to a message.
    fn answer(&mut self, message: &[u8]) -> Option<MockBody> {
        let settings = &self.settings;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let ask = Ask { body: message, settings, serial: self.serial, now };
        let answered = match self.struck.take() {
            Some(refusal) => Err(refusal),
            None => Spark.reply(&ask),
        };
        let mut tally = self.tally.take()?;
        let (mut parts, ending) = match answered {
            Ok(answer) => {
                tally.read(answer.prompt_tokens);
                let Said::Stream(parts) = answer.said else { return None };
                (parts, Ending::Completed)
            }
            Err(refusal) => {
                tally.end(Ending::Refused);
                (vec![Part::Frame(Spark::refusal(&refusal), 0)], Ending::Refused)
            }
        };
        if settings.garbage == Some(Garbage::Error200) {
            parts = vec![Part::Frame(Spark::refusal(&Refusal::of_status(500, Dialect::OpenAi)), 0)];
        }
        let mut parts: Vec<_> = parts
            .into_iter()
            .map(|part| match part {
                Part::Frame(text, tokens) => Part::Frame(framed(&text), tokens),
                words => words,
            })
            .collect();
        let frames = frames(&parts);
        let stop = match settings.garbage {
            Some(Garbage::TruncatedJson) => Stop::Truncate { after: frames / 2 },
            _ => Stop::of(settings, frames, true),
        };
        let mut close = BytesMut::new();
        let _ = Codec::new().encode(Message::Close(None), &mut close);
        parts.push(Part::Frame(close.freeze(), 0));
        Some(MockBody::stream(parts, stop, settings, ending, tally))
    }
}

impl MessageBody for SocketBody {
    type Error = CutShort;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutShort>>> {
        let this = self.get_mut();
        if let State::Waiting(waiting) = &mut this.0 {
            let message = match ready!(waiting.poll_message(cx)) {
                Ok(message) => message,
                Err(cut) => return Poll::Ready(Some(Err(cut))),
            };
            match waiting.answer(&message) {
                Some(body) => this.0 = State::Answering(Box::new(body)),
                None => return Poll::Ready(None),
            }
        }
        match &mut this.0 {
            State::Answering(body) => Pin::new(body.as_mut()).poll_next(cx),
            State::Waiting(_) => Poll::Ready(None),
        }
    }
}
