//! AWS' event stream (`application/vnd.amazon.eventstream`), cut into messages.
//!
//! A message is: total length and length of the headers (4 bytes each, big endian), the CRC of these
//! eight, headers, payload, and the CRC of all before it (Smithy's "Amazon Event Stream" specification).
//! Both checksums are verified; a header is a name, a type and a value.

use bytes::{Buf, Bytes, BytesMut};

/// Lengths and their checksum.
const PRELUDE: usize = 12;
/// The checksum at the end.
const TRAILER: usize = 4;
/// Longest headers, by the specification.
const MOST_HEADERS: usize = 128 << 10;
/// The type of a header whose value is text.
const TEXT: u8 = 7;

/// Cuts a byte stream into messages.
#[derive(Debug)]
pub struct EventFramer {
    pending: BytesMut,
    cap: usize,
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Headers whose value is text, in their order: `:message-type`, `:event-type`, `:exception-type` ...
    pub headers: Vec<(String, String)>,
    /// What it carries.
    pub payload: Bytes,
}

/// Bytes that are no event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvents {
    /// A length contradicts the format.
    #[error("a message of the event stream has an impossible length")]
    Length,
    /// A message is longer than allowed.
    #[error("a message of the event stream is longer than {0} bytes")]
    TooLong(usize),
    /// A checksum does not match.
    #[error("a message of the event stream is damaged: its checksum does not match")]
    Checksum,
    /// The headers cannot be read.
    #[error("a message of the event stream has malformed headers")]
    Headers,
}

impl Message {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The message as bytes.
    pub fn encode(&self) -> Bytes {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            headers.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            headers.extend_from_slice(name.as_bytes());
            headers.push(TEXT);
            headers.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
            headers.extend_from_slice(value.as_bytes());
        }
        let total = PRELUDE + headers.len() + self.payload.len() + TRAILER;
        let mut out = BytesMut::with_capacity(total);
        for length in [total, headers.len()] {
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out.extend_from_slice(&headers);
        out.extend_from_slice(&self.payload);
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out.freeze()
    }
}

impl EventFramer {
    /// Makes a framer whose messages may hold up to `cap` bytes each.
    pub fn new(cap: usize) -> Self {
        Self { pending: BytesMut::new(), cap }
    }

    /// Whether the bytes so far end with a message.
    pub fn is_at_border(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes the next bytes and hands each message that they complete to `each`.
    ///
    /// # Errors
    /// [`BadEvents`]; the stream cannot go on.
    pub fn push(&mut self, chunk: &[u8], mut each: impl FnMut(Message)) -> Result<(), BadEvents> {
        self.pending.extend_from_slice(chunk);
        while let Some(total) = self.next_length()? {
            let message = self.pending.split_to(total).freeze();
            each(read(message)?);
        }
        Ok(())
    }

    /// The length of the next message, once it is whole. Its prelude is checked as soon as it is there, so
    /// that a damaged length is no reason to wait for bytes that never come.
    fn next_length(&self) -> Result<Option<usize>, BadEvents> {
        let Some(prelude) = self.pending.first_chunk::<PRELUDE>() else { return Ok(None) };
        let number =
            |at: usize| u32::from_be_bytes([prelude[at], prelude[at + 1], prelude[at + 2], prelude[at + 3]]);
        if crc32fast::hash(&prelude[..8]) != number(8) {
            return Err(BadEvents::Checksum);
        }
        let (total, headers) = (number(0) as usize, number(4) as usize);
        if headers > MOST_HEADERS || total < PRELUDE + headers + TRAILER {
            return Err(BadEvents::Length);
        }
        if total > self.cap {
            return Err(BadEvents::TooLong(self.cap));
        }
        Ok((self.pending.len() >= total).then_some(total))
    }
}

/// Reads a whole message, whose prelude holds.
fn read(message: Bytes) -> Result<Message, BadEvents> {
    let body = message.len() - TRAILER;
    if crc32fast::hash(&message[..body]).to_be_bytes() != message[body..] {
        return Err(BadEvents::Checksum);
    }
    let length = u32::from_be_bytes([message[4], message[5], message[6], message[7]]) as usize;
    let headers = headers(message.slice(PRELUDE..PRELUDE + length)).ok_or(BadEvents::Headers)?;
    Ok(Message { headers, payload: message.slice(PRELUDE + length..body) })
}

/// The headers whose value is text; `None` where they are malformed.
fn headers(mut bytes: Bytes) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    while bytes.has_remaining() {
        let name = bytes.try_get_u8().ok()?;
        let name = take(&mut bytes, name.into())?;
        let name = String::from_utf8(name.to_vec()).ok().filter(|name| !name.is_empty())?;
        let kind = bytes.try_get_u8().ok()?;
        let length = match kind {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            6 | TEXT => bytes.try_get_u16().ok()?.into(),
            9 => 16,
            _ => return None,
        };
        let value = take(&mut bytes, length)?;
        if kind == TEXT {
            all.push((name, String::from_utf8(value.to_vec()).ok()?));
        }
    }
    Some(all)
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (bytes.len() >= length).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests;
