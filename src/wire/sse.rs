//! Server-sent events, cut into frames (WHATWG HTML, section 9.2.6 "Interpreting an event stream").
//!
//! The framer keeps the bytes of each frame as they came, so that like dialects can pass them on
//! unchanged. There is no limit on a line; a frame may be as long as `cap`.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};

use super::FrameTooLong;

/// Cuts a byte stream into frames; a frame ends with its blank line.
#[derive(Debug)]
pub struct SseFramer {
    /// Bytes of a frame that has not ended yet.
    pending: BytesMut,
    /// How much of `pending` holds no frame end for certain.
    searched: usize,
    cap: usize,
}

impl SseFramer {
    /// Makes a framer whose frames may hold up to `cap` bytes each.
    pub fn new(cap: usize) -> Self {
        Self { pending: BytesMut::new(), searched: 0, cap }
    }

    /// Takes the next bytes and hands each frame that they complete to `each`, as it came.
    ///
    /// A frame that lies whole inside `chunk` is a slice of it: nothing is copied.
    ///
    /// # Errors
    /// [`FrameTooLong`] when the unfinished frame passes the cap; the stream cannot go on.
    pub fn push(&mut self, mut chunk: Bytes, mut each: impl FnMut(Bytes)) -> Result<(), FrameTooLong> {
        while !chunk.is_empty() {
            if self.pending.is_empty() {
                match frame_end(&chunk, 0) {
                    Some(end) => each(chunk.split_to(end)),
                    None => {
                        self.hold(&chunk);
                        break;
                    }
                }
            } else {
                // The end may straddle the seam, so the search goes over the joined bytes.
                self.hold(&chunk);
                chunk = Bytes::new();
                while let Some(end) = frame_end(&self.pending, self.searched) {
                    each(self.pending.split_to(end).freeze());
                    self.searched = 0;
                }
                self.searched = self.pending.len().saturating_sub(LONGEST_END);
            }
        }
        match self.pending.len() > self.cap {
            true => Err(FrameTooLong { cap: self.cap }),
            false => Ok(()),
        }
    }

    /// What came after the last frame's end, once the stream is over. A reader of events must ignore it.
    pub fn finish(&mut self) -> Bytes {
        self.searched = 0;
        self.pending.split().freeze()
    }

    fn hold(&mut self, chunk: &[u8]) {
        if self.pending.is_empty() {
            self.searched = chunk.len().saturating_sub(LONGEST_END);
        }
        self.pending.extend_from_slice(chunk);
    }
}

/// Bytes before a possible end that must be looked at again when more come.
const LONGEST_END: usize = 4;

/// The index after the first blank line at or after `from`, with any of the three line ends.
///
/// A lone carriage return that is the last byte so far may be half of a pair, so it ends nothing yet.
fn frame_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', &bytes[at..]) {
        let first = at + found;
        let second = line_end(bytes, first)?;
        match bytes.get(second)? {
            b'\n' => return Some(second + 1),
            b'\r' => return line_end(bytes, second),
            _ => at = second,
        }
    }
    None
}

/// The index after the line end that starts at `at`, if it is certain where that is.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes[at] == b'\n' {
        return Some(at + 1);
    }
    match bytes.get(at + 1)? {
        b'\n' => Some(at + 2),
        _ => Some(at + 1),
    }
}

/// The fields of one frame that gateways need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event<'f> {
    /// The `event:` field; empty where there is none.
    pub event: &'f [u8],
    /// The `data:` lines, joined by line feeds; `None` for frames without any, comments for example.
    pub data: Option<Cow<'f, [u8]>>,
}

/// Reads the fields of one frame. Data of a single line is borrowed from it.
pub fn parse(frame: &[u8]) -> Event<'_> {
    let mut event = Event::default();
    let mut rest = frame.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(frame);
    while !rest.is_empty() {
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        match field(line) {
            Some((b"event", value)) => event.event = value,
            Some((b"data", value)) => match &mut event.data {
                None => event.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let joined = data.to_mut();
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                }
            },
            _ => {}
        }
    }
    event
}

/// A frame with a part of its data replaced, which has no line end in it. What is not data stays as it came, unless
/// the data was joined of several lines: then the frame is these lines anew, and its blank line.
pub fn rewritten(frame: &[u8], data: &[u8], place: Range<usize>, with: &[u8]) -> Bytes {
    let (before, after) = (&data[..place.start], &data[place.end..]);
    // Data of one line lies inside its frame.
    match (data.as_ptr() as usize).checked_sub(frame.as_ptr() as usize) {
        Some(at) if at + data.len() <= frame.len() => {
            [&frame[..at], before, with, after, &frame[at + data.len()..]].concat().into()
        }
        _ => {
            let data = [before, with, after].concat();
            let lines = data.split(|byte| *byte == b'\n').flat_map(|line| [b"data: ", line, b"\n"]);
            lines.chain([&b"\n"[..]]).collect::<Vec<_>>().concat().into()
        }
    }
}

/// Splits a line into name and value; `None` for blank lines and comments.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    if colon == 0 {
        return None;
    }
    let value = line.get(colon + 1..).unwrap_or_default();
    Some((&line[..colon], value.strip_prefix(b" ").unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}data: one\n\n: note\n\nevent: x\r\ndata: two\r\ndata:three\r\n\r\ndata: {\"a\":1}\r\rid: 7\ndata\n\ntail";

    fn frames(parts: &[&[u8]]) -> (Vec<Bytes>, Bytes) {
        let mut framer = SseFramer::new(1 << 20);
        let mut all = Vec::new();
        for part in parts {
            framer.push(Bytes::copy_from_slice(part), |f| all.push(f)).expect("within the cap");
        }
        let tail = framer.finish();
        (all, tail)
    }

    #[test]
    fn a_rewritten_frame_keeps_its_lines() {
        for (frame, wanted) in [
            (&b"event: x\r\ndata:{\"m\":1}\r\n\r\n"[..], &b"event: x\r\ndata:{\"m\":22}\r\n\r\n"[..]),
            (b"data: {\"m\":1,\ndata:\"n\":\ndata: 3}\n\n", b"data: {\"m\":22,\ndata: \"n\":\ndata: 3}\n\n"),
        ] {
            let data = parse(frame).data.expect("data");
            let new = rewritten(frame, &data, 5..6, b"22");
            assert_eq!(new, wanted);
            let joined = parse(&new).data.expect("data");
            assert_eq!(*joined, [&data[..5], b"22", &data[6..]].concat());
        }
    }

    #[test]
    fn frames_are_the_same_wherever_the_bytes_are_cut() {
        let bytes = STREAM.as_bytes();
        let (whole, tail) = frames(&[bytes]);
        assert_eq!(whole.len(), 5);
        assert_eq!(&tail[..], b"tail");
        for cut in 0..=bytes.len() {
            assert_eq!(
                frames(&[&bytes[..cut], &bytes[cut..]]),
                (whole.clone(), tail.clone()),
                "cut at {cut}"
            );
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(frames(&single), (whole, tail));
    }

    #[test]
    fn joined_frames_are_the_bytes_that_came() {
        let (all, tail) = frames(&[STREAM.as_bytes()]);
        let mut joined = all.concat();
        joined.extend_from_slice(&tail);
        assert_eq!(joined, STREAM.as_bytes());
    }

    #[test]
    fn fields_are_read_with_every_line_end() {
        let (all, _) = frames(&[STREAM.as_bytes()]);
        let data: Vec<_> =
            all.iter().map(|f| parse(f).data.map(|d| String::from_utf8_lossy(&d).into_owned())).collect();
        assert_eq!(
            data,
            [
                Some("one".into()),
                None,
                Some("two\nthree".into()),
                Some("{\"a\":1}".into()),
                Some(String::new())
            ]
        );
        assert_eq!(parse(&all[2]).event, b"x");
    }

    #[test]
    fn a_line_of_16_mib_passes_and_a_longer_frame_than_the_cap_is_refused() {
        let line = vec![b'x'; 16 << 20];
        let mut framer = SseFramer::new(17 << 20);
        let mut frames = 0;
        for part in [b"data: ".as_slice(), &line, b"\n\n"] {
            framer.push(Bytes::copy_from_slice(part), |_| frames += 1).expect("within the cap");
        }
        assert_eq!(frames, 1);
        let mut small = SseFramer::new(1 << 20);
        assert_eq!(small.push(Bytes::from(line), |_| ()), Err(FrameTooLong { cap: 1 << 20 }));
    }
}
