//! Websockets (RFC 6455) as requests have them: one message out, then messages in until the peer closes.
//!
//! Each message comes as a line of the answer's body, so that readers need know nothing of frames. A connection
//! serves one request; dropping the body closes it. Proxies and TLS are the dialer's, as for HTTP.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_http::ws::{Codec, Frame, Item, Message, hash_key};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_core::Stream;
use penstock_actors::channel::ChannelCell;
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio_util::codec::{Decoder as _, Encoder as _};

use super::{
    body::Body,
    connection::Connection,
    head::{Framing, LONGEST},
};
use crate::transport::{
    Incoming, Outgoing, OutgoingBody, SharedTransport, TransportError,
    encoding::plain,
    pool::{Line, Tag},
    target::write_headers,
};

/// What an answer is that consists of lines.
const LINES: &str = "application/x-ndjson";
/// Longest message, in bytes.
const LONGEST_MESSAGE: usize = 16 << 20;

/// Opens a websocket, sends the body as one text message, and gives what comes.
pub(in crate::transport) async fn send(
    shared: &Arc<SharedTransport>,
    cell: &Arc<ChannelCell>,
    request: Outgoing,
) -> Result<Incoming, TransportError> {
    let OutgoingBody::Pieces(pieces) = request.body else {
        return Err(TransportError::Body("a message must be whole".to_owned()));
    };
    let message = String::from_utf8(pieces.concat())
        .map_err(|_| TransportError::Body("a message must be text".to_owned()))?;
    let (tag, dialer) = Tag::and_dialer(cell, request.target.uri(), shared)?;
    let (socket, slot) = dialer.open().await?;
    let mut connection = Connection::new(socket, slot);
    let key = STANDARD.encode(rand::random::<[u8; 16]>());

    let mut out = BytesMut::from(request.target.opening());
    write_headers(&mut out, &request.headers);
    out.extend_from_slice(
        b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: ",
    );
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    connection.begin();
    connection.socket.write_all(&out).await.map_err(|_| TransportError::Closed)?;
    connection.socket.flush().await.map_err(|_| TransportError::Closed)?;

    let Some(len) = switched(&mut connection, &key).await? else {
        connection.look_again();
        let head = poll_fn(|cx| connection.poll_head(cx)).await?;
        return Ok(Incoming {
            status: head.status,
            until_close: head.framing == Framing::UntilClose,
            content_type: head.content_type,
            retry_after_ms: head.retry_after_ms,
            retry_after: head.retry_after,
            limits: head.limits,
            body: plain(&head.encoding, Box::pin(Body::new(Line::new(connection, tag), head.framing, None)))?,
        });
    };
    connection.came.advance(len);

    let mut codec = Codec::new().client_mode().max_size(LONGEST_MESSAGE);
    let mut out = BytesMut::new();
    codec
        .encode(Message::Text(message.into()), &mut out)
        .map_err(|e| TransportError::Protocol(e.to_string()))?;
    connection.socket.write_all(&out).await.map_err(|_| TransportError::Closed)?;
    connection.socket.flush().await.map_err(|_| TransportError::Closed)?;
    Ok(Incoming {
        status: 200,
        until_close: false,
        content_type: LINES.to_owned(),
        retry_after_ms: None,
        retry_after: None,
        limits: String::new(),
        body: Box::pin(Messages {
            connection: Some(connection),
            codec,
            out: BytesMut::new(),
            begun: BytesMut::new(),
        }),
    })
}

/// Waits for the answer to the opening. `None` where the peer did not switch, and answers as HTTP does; otherwise
/// how long its head is.
async fn switched(connection: &mut Connection, key: &str) -> Result<Option<usize>, TransportError> {
    loop {
        if let Some(end) = memchr::memmem::find(&connection.came, b"\r\n\r\n") {
            let len = end + 4;
            return accepted(&connection.came[..len], key).map(|yes| yes.then_some(len));
        }
        if connection.came.len() > LONGEST {
            return Err(TransportError::Protocol("its head is too long".to_owned()));
        }
        match poll_fn(|cx| connection.poll_fill(cx)).await {
            Ok(n) if n > 0 => {}
            _ if connection.came.is_empty() => return Err(TransportError::Closed),
            _ => return Err(TransportError::Truncated),
        }
    }
}

/// Whether a head says that the peer switched; an error where it says so wrongly.
fn accepted(head: &[u8], key: &str) -> Result<bool, TransportError> {
    let wrong = |problem: &str| Err(TransportError::Protocol(problem.to_owned()));
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut lines);
    if answer.parse(head).is_err() {
        return wrong("its head is none");
    }
    if answer.code != Some(101) {
        return Ok(false);
    }
    let said = |name: &str| {
        let mut found = answer.headers.iter().filter(|line| line.name.eq_ignore_ascii_case(name));
        found.next().map(|line| line.value.trim_ascii()).filter(|_| found.next().is_none())
    };
    if !said("upgrade").is_some_and(|what| what.eq_ignore_ascii_case(b"websocket")) {
        return wrong("it switches to something that is no websocket");
    }
    match said("sec-websocket-accept") == Some(&hash_key(key.as_bytes())[..]) {
        true => Ok(true),
        false => wrong("it accepts another websocket than was asked for"),
    }
}

/// The messages that come, each as a line.
struct Messages {
    /// `None` behind the end.
    connection: Option<Connection>,
    codec: Codec,
    /// What is to be written: answers to pings, and to a close.
    out: BytesMut,
    /// Of a message that comes in several frames, what came.
    begun: BytesMut,
}

impl Messages {
    fn over(&mut self, error: Option<TransportError>) -> Poll<Option<Result<Bytes, TransportError>>> {
        self.connection = None;
        Poll::Ready(error.map(Err))
    }

    fn protocol(&mut self, problem: impl std::fmt::Display) -> Poll<Option<Result<Bytes, TransportError>>> {
        self.over(Some(TransportError::Protocol(format!("of its websocket: {problem}"))))
    }

    /// Writes what the socket takes at once.
    fn write(connection: &mut Connection, out: &mut BytesMut, cx: &mut Context<'_>) {
        while !out.is_empty() {
            match Pin::new(&mut connection.socket).poll_write(cx, out) {
                Poll::Ready(Ok(n)) if n > 0 => out.advance(n),
                _ => return,
            }
        }
        let _ = Pin::new(&mut connection.socket).poll_flush(cx);
    }
}

/// A message as a line: line feeds in JSON are white space.
fn line(message: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(message.len() + 1);
    line.extend(message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    line.extend_from_slice(b"\n");
    line.freeze()
}

impl Stream for Messages {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(connection) = &mut this.connection else { return Poll::Ready(None) };
            Self::write(connection, &mut this.out, cx);
            let frame = match this.codec.decode(&mut connection.came) {
                Ok(frame) => frame,
                Err(error) => return this.protocol(error),
            };
            match frame {
                Some(Frame::Text(message) | Frame::Binary(message)) => {
                    return Poll::Ready(Some(Ok(line(&message))));
                }
                Some(Frame::Continuation(item)) => {
                    let (part, is_last) = match item {
                        Item::FirstText(part) | Item::FirstBinary(part) | Item::Continue(part) => {
                            (part, false)
                        }
                        Item::Last(part) => (part, true),
                    };
                    if this.begun.len() + part.len() > LONGEST_MESSAGE {
                        return this.protocol("a message is too long");
                    }
                    this.begun.extend_from_slice(&part);
                    if is_last {
                        return Poll::Ready(Some(Ok(line(&this.begun.split()))));
                    }
                }
                Some(Frame::Ping(word)) => {
                    // A peer that asks and asks without reading is answered once.
                    if this.out.is_empty() && this.codec.encode(Message::Pong(word), &mut this.out).is_err() {
                        return this.protocol("a ping is malformed");
                    }
                }
                Some(Frame::Pong(_)) => {}
                Some(Frame::Close(reason)) => {
                    let _ = this.codec.encode(Message::Close(reason), &mut this.out);
                    Self::write(connection, &mut this.out, cx);
                    return this.over(None);
                }
                None => match ready!(connection.poll_fill(cx)) {
                    Ok(n) if n > 0 => {}
                    _ => return this.over(Some(TransportError::Truncated)),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_believed_only_with_the_word_of_the_key() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert!(accepted(good.as_bytes(), key).expect("it switched"));
        assert!(!accepted(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", key).expect("HTTP"));
        for bad in [
            good.replace("s3pP", "xxxx"),
            good.replace("WebSocket\r", "h2c\r"),
            good.replace("Sec-WebSocket-Accept", "X"),
            good.replace("HTTP/1.1 101", "garbage"),
            good.replace("Connection: Upgrade", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ] {
            assert!(accepted(bad.as_bytes(), key).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(&line(b"{\n\"a\":\r\n1}")[..], b"{ \"a\":  1}\n");
    }
}
