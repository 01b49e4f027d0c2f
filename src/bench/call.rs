//! One call on one connection: sent, read part by part, checked, timed.

use std::{cell::RefCell, io, time::Instant};

use super::{
    answer::{AnswerParser, BadAnswer, Part},
    check::{self, StreamCheck, Wrong},
    connection::Connection,
    engine::Job,
    pacer::nanoseconds,
    request::Kind,
    tally::{Failure, Tally, Timing, Waited},
};

/// Head and body up to this size go out in one write.
const ONE_WRITE: usize = 16 << 10;
/// Bytes of a refusal that are kept to show.
const KEPT: usize = 300;

/// When a call was meant to begin and when it did.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Meant.
    pub due: Instant,
    /// Did.
    pub at: Instant,
}

/// A call that is to be made.
pub struct Call<'c> {
    pub job: &'c Job,
    pub head: &'c [u8],
    pub body: &'c [u8],
    pub kind: Kind,
    pub sent: Sent,
    /// Where frames are counted, if the call is inside the window.
    pub tally: Option<&'c RefCell<Tally>>,
}

/// Why a call broke off.
pub enum Broken {
    /// The kept connection was closed before a byte came: nothing was lost but the connection.
    Stale,
    /// It failed.
    Failed(Failure),
}

impl Broken {
    /// No connection.
    pub fn connect(error: io::Error) -> Self {
        Self::of("cannot connect", Some(error.to_string()))
    }

    /// As it is counted.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Stale => failure("cut: the connection closed before the end of the answer", None),
        }
    }

    fn of(kind: impl Into<String>, example: Option<String>) -> Self {
        Self::Failed(failure(kind, example))
    }

    fn answer(error: BadAnswer) -> Self {
        Self::of(error.to_string(), None)
    }

    fn wrong(wrong: &Wrong) -> Self {
        Self::of(wrong.to_string(), wrong.said().map(str::to_owned))
    }
}

fn failure(kind: impl Into<String>, example: Option<String>) -> Failure {
    Failure { kind: kind.into(), example, waited: Waited::No }
}

/// What has come of an answer.
struct Reading<'c> {
    status: u16,
    first_byte: Option<Instant>,
    stream: Option<StreamCheck<'c>>,
    whole: Vec<u8>,
    bytes: u64,
    tokens: Tokens,
}

/// The words of a stream in time.
#[derive(Default)]
struct Tokens {
    count: u32,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Call<'_> {
    /// Makes the call; gives the connection back where it may be used again.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn on(&self, mut connection: Connection) -> Result<(Option<Connection>, Timing), Broken> {
        let mut parser = AnswerParser::default();
        let mut reading = Reading {
            status: 0,
            first_byte: None,
            stream: (self.kind == Kind::Stream).then(|| StreamCheck::new(self.job.requests.expected())),
            whole: Vec::new(),
            bytes: 0,
            tokens: Tokens::default(),
        };
        // An answer may have come before the request was taken whole: a refusal, for example.
        let sent = self.send(&mut connection).await;
        loop {
            let length = match connection.read().await {
                Ok(length) => length,
                Err(_) if reading.first_byte.is_none() => return Err(Broken::Stale),
                Err(error) => return Err(Broken::of("connection broke", Some(error.to_string()))),
            };
            let now = Instant::now();
            if length == 0 {
                if reading.first_byte.is_none() {
                    return Err(Broken::Stale);
                }
                parser.closed().map_err(Broken::answer)?;
                break self.end(reading, now, None);
            }
            reading.first_byte.get_or_insert(now);
            if self.take(&mut parser, &mut connection, &mut reading, now)? {
                let is_reusable = parser.keeps_alive() && sent.is_ok();
                break self.end(reading, now, is_reusable.then_some(connection));
            }
        }
    }

    async fn send(&self, connection: &mut Connection) -> io::Result<()> {
        if self.head.len() + self.body.len() <= ONE_WRITE {
            return connection.send(&[self.head, self.body].concat()).await;
        }
        connection.send(self.head).await?;
        connection.send(self.body).await
    }

    /// Takes what a read brought; tells whether the answer is complete.
    fn take(
        &self,
        parser: &mut AnswerParser,
        connection: &mut Connection,
        reading: &mut Reading<'_>,
        now: Instant,
    ) -> Result<bool, Broken> {
        let mut tokens = 0;
        let is_complete = loop {
            match parser.next(&mut connection.buffer).map_err(Broken::answer)? {
                None => break false,
                Some(Part::End) => break true,
                Some(Part::Head { status }) => reading.status = status,
                Some(Part::Body(bytes)) => {
                    reading.bytes += bytes.len() as u64;
                    match &mut reading.stream {
                        Some(stream) if reading.status == 200 => {
                            tokens += stream.push(bytes).map_err(|wrong| Broken::wrong(&wrong))?;
                        }
                        _ => reading.whole.extend_from_slice(&bytes),
                    }
                }
            }
        };
        if tokens > 0 {
            self.time(&mut reading.tokens, tokens, now);
        }
        Ok(is_complete)
    }

    /// Notes when words came.
    fn time(&self, tokens: &mut Tokens, new: u32, now: Instant) {
        let first = *tokens.first.get_or_insert(now);
        if let Some(tally) = self.tally {
            let mut tally = tally.borrow_mut();
            if let Some(last) = tokens.last {
                tally.gap.add(nanoseconds(last, now));
            }
            for _ in 1..new {
                tally.gap.add(0);
            }
            tally.together += u64::from(new - 1);
            if let Some(pace) = self.job.pace {
                for nth in tokens.count.max(1)..tokens.count + new {
                    tally.behind.add(nanoseconds(first + pace * nth, now));
                }
            }
        }
        tokens.count += new;
        tokens.last = Some(now);
    }

    fn end(
        &self,
        reading: Reading<'_>,
        now: Instant,
        connection: Option<Connection>,
    ) -> Result<(Option<Connection>, Timing), Broken> {
        if reading.status != 200 {
            let said = String::from_utf8_lossy(&reading.whole[..reading.whole.len().min(KEPT)]).into_owned();
            return Err(Broken::of(format!("status {}", reading.status), Some(said)));
        }
        let events = reading.stream.as_ref().map_or(0, StreamCheck::events);
        let checked = match reading.stream {
            Some(stream) => stream.finish(),
            None => check::whole(&reading.whole, self.job.requests.expected()),
        };
        checked.map_err(|wrong| Broken::wrong(&wrong))?;
        if let Some(tally) = self.tally {
            let mut tally = tally.borrow_mut();
            tally.events += events;
            tally.bytes += reading.bytes;
        }
        let since = |at: Instant| nanoseconds(self.sent.due, at);
        let timing = Timing {
            latency: since(now),
            service: nanoseconds(self.sent.at, now),
            first_byte: reading.first_byte.map_or(0, since),
            first_token: reading.tokens.first.map(since),
        };
        Ok((connection, timing))
    }
}
