//! An answer's bytes, whose end is believed only where the framing says so.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use penstock_actors::channel::ChannelCell;

use super::{
    chunked::{Chunks, Piece},
    connection::Connection,
    head::Framing,
};
use crate::transport::{
    TransportError,
    pool::{Line, Pool},
};

/// Dropping it closes the connection, unless the answer has ended.
pub(super) struct Body {
    /// `None` behind the end.
    line: Option<Line<Connection>>,
    rest: Rest,
    /// Where the connection goes when the answer has ended, if it can go on.
    home: Option<(Pool<Connection>, Arc<ChannelCell>)>,
}

/// What is left of the body.
enum Rest {
    Length(u64),
    Chunks(Chunks),
    UntilClose,
}

impl Body {
    pub(super) fn new(
        line: Line<Connection>,
        framing: Framing,
        home: Option<(Pool<Connection>, Arc<ChannelCell>)>,
    ) -> Self {
        let rest = match framing {
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunks(Chunks::new()),
            Framing::UntilClose => Rest::UntilClose,
        };
        let mut body = Self { line: Some(line), rest, home };
        if matches!(body.rest, Rest::Length(0)) {
            body.end();
        }
        body
    }

    /// The answer is whole: the connection goes home, or is closed.
    fn end(&mut self) {
        if let (Some(mut line), Some((pool, cell))) = (self.line.take(), self.home.take())
            && line.connection.end()
        {
            pool.keep(cell, line);
        }
    }

    fn break_off(&mut self, error: TransportError) -> Poll<Option<Result<Bytes, TransportError>>> {
        self.line = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Body {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Self { line: Some(line), rest, .. } = &mut *self else { return Poll::Ready(None) };
            let came = &mut line.connection.came;
            match rest {
                Rest::Length(left) if !came.is_empty() => {
                    let here = came.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let bytes = came.split_to(here).freeze();
                    *left -= here as u64;
                    if *left == 0 {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Rest::Chunks(chunks) => match chunks.next(came) {
                    Ok(Piece::Data(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                    Ok(Piece::More) => {}
                    Ok(Piece::End) => {
                        self.end();
                        return Poll::Ready(None);
                    }
                    Err(problem) => return self.break_off(TransportError::Protocol(problem.to_owned())),
                },
                Rest::UntilClose if !came.is_empty() => return Poll::Ready(Some(Ok(came.split().freeze()))),
                Rest::Length(_) | Rest::UntilClose => {}
            }
            match (ready!(line.connection.poll_fill(cx)), &self.rest) {
                (Ok(0), Rest::UntilClose) => {
                    self.line = None;
                    return Poll::Ready(None);
                }
                (Ok(0) | Err(_), _) => return self.break_off(TransportError::Truncated),
                (Ok(_), _) => {}
            }
        }
    }
}
