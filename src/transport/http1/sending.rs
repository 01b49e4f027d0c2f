//! Writing a request, with an eye on an answer that comes before all of it is written.

use std::{
    collections::VecDeque,
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_core::Stream;
use tokio::io::AsyncWrite as _;

use super::{connection::Connection, head::Head};
use crate::transport::{
    Outgoing, OutgoingBody, TransportError,
    target::{Manner, write_headers},
};

/// A body up to this long is copied behind the head, so that both are one piece.
const COPIED: u64 = 8 << 10;
/// How many pieces are written at once.
const PIECES: usize = 16;

/// How much of a request was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Whole,
    /// A part: the answer came early, or the peer takes no more.
    Part,
}

/// A request on its way out.
pub(super) struct Sending {
    head: BytesMut,
    /// What follows the head, as far as it is at hand.
    body: VecDeque<Bytes>,
    more: Option<More>,
    begun: bool,
    /// What became of looking for an answer while a write stalled.
    early: Option<Result<Head, TransportError>>,
    sent: Option<Sent>,
}

/// What is read as it is sent.
struct More {
    left: u64,
    chunks: Pin<Box<dyn Stream<Item = std::io::Result<Bytes>>>>,
}

impl Sending {
    /// Writes the head, and a short body, into `buffer`.
    pub(super) fn new(request: Outgoing, mut buffer: BytesMut) -> Self {
        let len = match &request.body {
            OutgoingBody::Pieces(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
            OutgoingBody::Stream { len, .. } => *len,
        };
        buffer.clear();
        buffer.extend_from_slice(request.target.opening());
        write_headers(&mut buffer, &request.headers);
        if request.target.manner() != Manner::Get {
            buffer.extend_from_slice(b"content-length: ");
            buffer.extend_from_slice(Decimal::of(len).digits());
            buffer.extend_from_slice(b"\r\n");
        }
        buffer.extend_from_slice(b"\r\n");
        let (body, more) = match request.body {
            OutgoingBody::Pieces(pieces) if len <= COPIED => {
                pieces.iter().for_each(|piece| buffer.extend_from_slice(piece));
                (VecDeque::new(), None)
            }
            OutgoingBody::Pieces(pieces) => (pieces.into(), None),
            OutgoingBody::Stream { len, chunks } => (VecDeque::new(), Some(More { left: len, chunks })),
        };
        Self { head: buffer, body, more, begun: false, early: None, sent: None }
    }

    /// Writes, then reads the answer's head.
    pub(super) fn poll(
        &mut self,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Head, Sent), TransportError>> {
        let sent = match self.sent {
            Some(sent) => sent,
            None => {
                let sent = ready!(self.poll_write(connection, cx))?;
                self.sent = Some(sent);
                sent
            }
        };
        let head = match self.early.take() {
            Some(head) => head,
            None => ready!(connection.poll_head(cx)),
        };
        Poll::Ready(head.map(|head| (head, sent)))
    }

    /// The buffer, for another request.
    pub(super) fn into_buffer(self) -> BytesMut {
        self.head
    }

    fn poll_write(
        &mut self,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sent, TransportError>> {
        loop {
            if !self.begun {
                self.begun = true;
                connection.begin();
            }
            let written = if !self.head.is_empty() || !self.body.is_empty() {
                let socket = Pin::new(&mut connection.socket);
                if self.body.is_empty() {
                    socket.poll_write(cx, &self.head)
                } else {
                    let mut slices = [IoSlice::new(&[]); PIECES];
                    let pieces =
                        std::iter::once(&self.head[..]).chain(self.body.iter().map(|piece| &piece[..]));
                    let used = slices.iter_mut().zip(pieces).map(|(slot, piece)| *slot = IoSlice::new(piece));
                    let used = used.count();
                    socket.poll_write_vectored(cx, &slices[..used])
                }
            } else {
                match self.poll_more(cx) {
                    Poll::Ready(Ok(true)) => continue,
                    Poll::Ready(Ok(false)) => match Pin::new(&mut connection.socket).poll_flush(cx) {
                        Poll::Ready(Ok(())) => return Poll::Ready(Ok(Sent::Whole)),
                        flushed => flushed.map_ok(|()| 0),
                    },
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            };
            match written {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.wrote(n);
                }
                // What the peer sent before it closed can still be read; reading tells the rest.
                Poll::Ready(_) => return Poll::Ready(Ok(Sent::Part)),
                // An early answer, or an early end: the rest of the request is of no interest to anyone.
                Poll::Pending => {
                    self.early = Some(ready!(connection.poll_head(cx)));
                    return Poll::Ready(Ok(Sent::Part));
                }
            }
        }
    }

    /// Takes what was written off the front.
    fn wrote(&mut self, mut written: usize) {
        let of_head = written.min(self.head.len());
        self.head.advance(of_head);
        written -= of_head;
        while let Some(piece) = self.body.front_mut() {
            let of_piece = written.min(piece.len());
            piece.advance(of_piece);
            written -= of_piece;
            if !piece.is_empty() {
                break;
            }
            self.body.pop_front();
        }
    }

    /// Fetches the next bytes of a body that is read as it is sent; false where there are no more.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, TransportError>> {
        let Some(More { left, chunks }) = &mut self.more else { return Poll::Ready(Ok(false)) };
        let wrong = |problem: &str| Poll::Ready(Err(TransportError::Body(problem.to_owned())));
        match ready!(chunks.as_mut().poll_next(cx)) {
            Some(Ok(chunk)) => match left.checked_sub(chunk.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    self.body.extend((!chunk.is_empty()).then_some(chunk));
                    Poll::Ready(Ok(true))
                }
                None => wrong("it is longer than it was"),
            },
            Some(Err(error)) => wrong(&error.to_string()),
            None if *left > 0 => wrong("it is shorter than it was"),
            None => {
                self.more = None;
                Poll::Ready(Ok(false))
            }
        }
    }
}

/// A number's digits, without a heap.
struct Decimal {
    bytes: [u8; 20],
    at: usize,
}

impl Decimal {
    fn of(mut number: u64) -> Self {
        let (mut bytes, mut at) = ([0; 20], 20);
        loop {
            at -= 1;
            bytes[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { bytes, at };
            }
        }
    }

    fn digits(&self) -> &[u8] {
        &self.bytes[self.at..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 7, 10, 1234, u64::MAX] {
            assert_eq!(Decimal::of(number).digits(), number.to_string().as_bytes());
        }
    }
}
