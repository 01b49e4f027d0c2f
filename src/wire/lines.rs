//! JSON lines: a stream of values, each on a line of its own (`application/x-ndjson`).
//!
//! The framer cuts lines; what stands on one is the reader's business.

use bytes::{Bytes, BytesMut};

use super::FrameTooLong;

/// Cuts a byte stream into lines, without their ends. Blank lines are left out.
#[derive(Debug)]
pub struct LineFramer {
    /// Bytes of a line that has not ended yet.
    pending: BytesMut,
    cap: usize,
}

impl LineFramer {
    /// Makes a framer whose lines may hold up to `cap` bytes each.
    pub fn new(cap: usize) -> Self {
        Self { pending: BytesMut::new(), cap }
    }

    /// Takes the next bytes and hands each line that they complete to `each`.
    ///
    /// A line that lies whole inside `chunk` is a slice of it: nothing is copied.
    ///
    /// # Errors
    /// [`FrameTooLong`] when the unfinished line passes the cap; the stream cannot go on.
    pub fn push(&mut self, mut chunk: Bytes, mut each: impl FnMut(Bytes)) -> Result<(), FrameTooLong> {
        while let Some(end) = memchr::memchr(b'\n', &chunk) {
            let mut line = chunk.split_to(end + 1);
            if !self.pending.is_empty() {
                self.pending.extend_from_slice(&line);
                line = self.pending.split().freeze();
            }
            give(line, &mut each);
        }
        self.pending.extend_from_slice(&chunk);
        match self.pending.len() > self.cap {
            true => Err(FrameTooLong { cap: self.cap }),
            false => Ok(()),
        }
    }

    /// The line that the stream's end completed, for a last one needs no line feed.
    pub fn finish(&mut self, mut each: impl FnMut(Bytes)) {
        give(self.pending.split().freeze(), &mut each);
    }
}

/// Hands a line on, without the white space around it.
fn give(line: Bytes, each: &mut impl FnMut(Bytes)) {
    let inner = line.trim_ascii();
    if !inner.is_empty() {
        let start = inner.as_ptr() as usize - line.as_ptr() as usize;
        each(line.slice(start..start + inner.len()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Bytes> {
        let mut framer = LineFramer::new(1 << 20);
        let mut all = Vec::new();
        for part in parts {
            framer.push(Bytes::copy_from_slice(part), |line| all.push(line)).expect("within the cap");
        }
        framer.finish(|line| all.push(line));
        all
    }

    const STREAM: &[u8] = b"{\"a\":1}\n\r\n{\"b\":2}\r\n \n\n{\"c\":\"\xc3\xa9\"}";

    #[test]
    fn lines_are_the_same_wherever_the_bytes_are_cut() {
        let whole = lines([STREAM]);
        assert_eq!(whole, [&b"{\"a\":1}"[..], b"{\"b\":2}", b"{\"c\":\"\xc3\xa9\"}"]);
        for cut in 0..=STREAM.len() {
            assert_eq!(lines([&STREAM[..cut], &STREAM[cut..]]), whole, "cut at {cut}");
        }
        assert_eq!(lines(STREAM.chunks(1)), whole);
    }

    #[test]
    fn a_line_beyond_the_cap_is_refused() {
        let mut framer = LineFramer::new(8);
        assert_eq!(framer.push(Bytes::from_static(b"12345678"), |_| ()), Ok(()));
        assert_eq!(framer.push(Bytes::from_static(b"9"), |_| ()), Err(FrameTooLong { cap: 8 }));
    }

    proptest! {
        #[test]
        fn any_cuts_give_the_lines_of_the_whole(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            size in 1_usize..9,
        ) {
            prop_assert_eq!(lines(bytes.chunks(size)), lines([&bytes[..]]));
        }
    }
}
