//! Answers, framed: whole, and cut in two at every byte.

use super::{AnswerReader, BadAnswer};

fn read(pieces: &[&[u8]]) -> Result<(u16, String, bool, bool), BadAnswer> {
    let (mut reader, mut body) = (AnswerReader::default(), Vec::new());
    for piece in pieces {
        reader.feed(piece, &mut |bytes| body.extend_from_slice(bytes))?;
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok((reader.status(), body, reader.is_done(), reader.keeps_alive()))
}

/// Reads `answer` whole and cut in two at every byte.
fn check(answer: &str, expected: Result<(u16, &str, bool, bool), BadAnswer>) {
    let expected = expected.map(|(status, body, done, alive)| (status, body.to_owned(), done, alive));
    for cut in 0..=answer.len() {
        let (left, right) = answer.as_bytes().split_at(cut);
        assert_eq!(read(&[left, right]), expected, "cut at {cut}");
    }
}

#[test]
fn an_answer_with_a_length_ends_after_it() {
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx: y\r\n\r\nhello", Ok((200, "hello", true, true)));
    check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Ok((200, "", true, true)));
    check("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello", Ok((200, "hello", false, true)));
}

#[test]
fn chunks_are_joined_until_the_empty_one() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(
        &format!("{head}3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n"),
        Ok((200, "abc0123456789", true, true)),
    );
    check(&format!("{head}1\r\na\r\n0\r\ntrailer: 1\r\n\r\n"), Ok((200, "a", true, true)));
    check(&format!("{head}1\r\na\r\n"), Ok((200, "a", false, true)));
    check(&format!("{head}1\r\nab\r\n"), Err(BadAnswer::Chunk));
    check(&format!("{head}zz\r\n"), Err(BadAnswer::Chunk));
}

#[test]
fn a_closing_answer_says_so() {
    check(
        "HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
        Ok((502, "x", true, false)),
    );
    check("HTTP/1.0 204 No Content\r\n\r\n", Ok((204, "", true, false)));
}

#[test]
fn an_interim_answer_is_passed_over() {
    check(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        Ok((200, "ok", true, true)),
    );
}

#[test]
fn what_is_no_answer_is_refused() {
    check("garbage\r\n", Err(BadAnswer::StatusLine));
    check("HTTP/1.1 200 OK\r\n\r\n", Err(BadAnswer::Unframed));
    check("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab", Err(BadAnswer::Excess));
}
