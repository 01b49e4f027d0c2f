//! Takes chunked bodies apart (RFC 9112, section 7.1), wherever the bytes are cut. Pure.

use bytes::{Buf as _, Bytes, BytesMut};

/// Longest line of a chunk's size and extensions, and longest trailer section, in bytes.
const LONGEST: usize = 16 << 10;

/// Takes one body apart.
#[derive(Debug)]
pub(super) struct Chunks(State);

#[derive(Clone, Copy, Debug)]
enum State {
    /// In a line that tells a chunk's size: digits and bytes so far.
    Size { value: u64, digits: u8 },
    /// In what may follow the size.
    Extension { size: u64, len: usize },
    /// A line feed is due; a chunk of this size follows.
    SizeEnd(u64),
    /// In a chunk, so many bytes before its end.
    Data(u64),
    /// Behind a chunk.
    DataEnd,
    /// Its line feed is due.
    DataLf,
    /// In the trailer section: bytes in all, and bytes of this line.
    Trailer { len: usize, line: usize },
    /// A line feed is due; this was the last line where it held nothing.
    TrailerLf { len: usize, line: usize },
    /// Behind the body.
    End,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// More bytes must come.
    More,
    /// The body's end.
    End,
}

impl Chunks {
    /// Stands before the first chunk.
    pub(super) fn new() -> Self {
        Self(State::Size { value: 0, digits: 0 })
    }

    /// Takes the next piece from what came.
    ///
    /// # Errors
    /// What is wrong; the body cannot be read on then.
    pub(super) fn next(&mut self, bytes: &mut BytesMut) -> Result<Piece, &'static str> {
        let mut at = 0;
        loop {
            match self.0 {
                State::Data(left) => {
                    bytes.advance(at);
                    if bytes.is_empty() {
                        return Ok(Piece::More);
                    }
                    let here = left.min(bytes.len() as u64);
                    self.0 = if here == left { State::DataEnd } else { State::Data(left - here) };
                    return Ok(Piece::Data(bytes.split_to(here as usize).freeze()));
                }
                State::End => {
                    bytes.advance(at);
                    return Ok(Piece::End);
                }
                state => {
                    let Some(byte) = bytes.get(at) else {
                        bytes.clear();
                        return Ok(Piece::More);
                    };
                    at += 1;
                    self.0 = step(state, *byte)?;
                }
            }
        }
    }
}

fn step(state: State, byte: u8) -> Result<State, &'static str> {
    Ok(match (state, byte) {
        (State::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
            if digits == 16 {
                return Err("a chunk's size is too large");
            }
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                _ => (byte | 0x20) - b'a' + 10,
            };
            State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
        }
        (State::Size { digits: 0, .. }, _) => return Err("a chunk has no size"),
        (State::Size { value, .. }, b'\r') => State::SizeEnd(value),
        (State::Size { value, .. }, b';' | b' ' | b'\t') => State::Extension { size: value, len: 0 },
        (State::Size { .. }, _) => return Err("a chunk's size is no number"),
        (State::Extension { size, .. }, b'\r') => State::SizeEnd(size),
        (State::Extension { .. }, b'\n') => return Err("a chunk's size ends without a carriage return"),
        (State::Extension { len: LONGEST, .. }, _) => return Err("a chunk's extension is too long"),
        (State::Extension { size, len }, _) => State::Extension { size, len: len + 1 },
        (State::SizeEnd(0), b'\n') => State::Trailer { len: 0, line: 0 },
        (State::SizeEnd(size), b'\n') => State::Data(size),
        (State::DataEnd, b'\r') => State::DataLf,
        (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
        (State::DataEnd | State::DataLf, _) => return Err("a chunk is longer than its size"),
        (State::Trailer { len, line }, b'\r') => State::TrailerLf { len, line },
        (State::Trailer { .. }, b'\n') => return Err("a trailer ends without a carriage return"),
        (State::Trailer { len: LONGEST, .. }, _) => return Err("its trailers are too long"),
        (State::Trailer { len, line }, _) => State::Trailer { len: len + 1, line: line + 1 },
        (State::TrailerLf { line: 0, .. }, b'\n') => State::End,
        (State::TrailerLf { len, .. }, b'\n') => State::Trailer { len: len + 1, line: 0 },
        (State::SizeEnd(_) | State::TrailerLf { .. }, _) => return Err("a line ends without a line feed"),
        (State::Data(_) | State::End, _) => return Err("a byte came where none was due"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The body inside these bytes, which come in these parts, and what follows it.
    fn read(parts: &[&[u8]]) -> Result<(Vec<u8>, Option<Vec<u8>>), &'static str> {
        let (mut chunks, mut bytes, mut body) = (Chunks::new(), BytesMut::new(), Vec::new());
        let mut ended = false;
        for part in parts {
            bytes.extend_from_slice(part);
            while !ended {
                match chunks.next(&mut bytes)? {
                    Piece::Data(data) => {
                        assert!(!data.is_empty());
                        body.extend_from_slice(&data);
                    }
                    Piece::More => break,
                    Piece::End => ended = true,
                }
            }
        }
        Ok((body, ended.then(|| bytes.to_vec())))
    }

    const BODY: &[u8] =
        b"5\r\nhello\r\n00A ;x=\"y\"\r\n 0123\r\n678\r\n1;\r\n!\r\n0\r\nDigest: abc\r\nx: y\r\n\r\nnext";

    #[test]
    fn a_body_is_the_same_wherever_it_is_cut() {
        let wanted = (b"hello 0123\r\n678!".to_vec(), Some(b"next".to_vec()));
        for cut in 0..=BODY.len() {
            assert_eq!(read(&[&BODY[..cut], &BODY[cut..]]), Ok(wanted.clone()), "{cut}");
        }
        let single: Vec<&[u8]> = BODY.chunks(1).collect();
        assert_eq!(read(&single), Ok(wanted));
    }

    #[test]
    fn a_body_that_is_cut_off_has_no_end() {
        for end in 0..BODY.len() - b"next".len() {
            assert_eq!(read(&[&BODY[..end]]).map(|(_, after)| after), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for text in [
            "hello",
            "\r\n",
            "-1\r\n",
            "0x1\r\n",
            "1\nx",
            "1\r\r",
            "1 \n",
            "1\r\nxy",
            "1\r\nx\ry",
            "1\r\nx\n",
            "11112222333344445\r\n",
            "0\r\nx\n",
            "0\r\n\rx",
            "0\r\rx",
            ";\r\n",
        ] {
            assert!(read(&[text.as_bytes()]).is_err(), "{text:?}");
        }
        let long = "a".repeat(LONGEST + 1);
        assert!(read(&[format!("1;{long}\r\n").as_bytes()]).is_err());
        assert!(read(&[format!("0\r\n{long}").as_bytes()]).is_err());
        assert!(read(&["0\r\n".as_bytes(), "a\r\n".repeat(LONGEST / 2 + 1).as_bytes()]).is_err());
    }

    proptest! {
        #[test]
        fn every_body_comes_back_whole(
            body in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut bytes = Vec::new();
            for chunk in &body {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(read(&parts), Ok((body.concat(), Some(Vec::new()))));
        }

        #[test]
        fn garbage_ends_in_an_error_or_in_waiting_and_gives_no_more_than_it_holds(
            bytes in proptest::collection::vec(prop::sample::select(b"0123af\r\n;x \xff".to_vec()), 0..64),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(bytes.len() + 1);
            let (at_once, in_two) = (read(&[&bytes]), read(&[&bytes[..cut], &bytes[cut..]]));
            if let Ok((body, rest)) = &at_once {
                prop_assert!(body.len() + rest.as_ref().map_or(0, Vec::len) <= bytes.len());
            }
            prop_assert_eq!(at_once, in_two);
        }
    }
}
