//! Tests the pure parts of the benchmark harness (`benches/gateway/`): framing, frames, figures, `/proc`.

#[path = "../../benches/gateway/http.rs"]
mod http;
#[path = "../../benches/gateway/sse.rs"]
mod sse;
#[path = "../../benches/gateway/stats.rs"]
mod stats;
#[expect(dead_code, reason = "only the pure parts are tested here")]
#[path = "../../benches/gateway/usage.rs"]
mod usage;

mod http_tests {
    use super::http::{AnswerReader, BadAnswer};

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
}

mod sse_tests {
    use super::sse::FrameCounter;

    /// Counts `stream` whole and cut in two at every byte.
    fn check(stream: &str, frames: u64, done: bool) {
        for cut in 0..=stream.len() {
            let (left, right) = stream.as_bytes().split_at(cut);
            let mut counter = FrameCounter::default();
            counter.feed(left);
            counter.feed(right);
            assert_eq!((counter.frames(), counter.is_done()), (frames, done), "cut at {cut}");
        }
    }

    #[test]
    fn a_blank_line_ends_a_frame() {
        check("data: {\"a\":1}\n\ndata: {\"b\":2}\n\ndata: [DONE]\n\n", 3, true);
        check("data: 1\r\n\r\ndata: [DONE]\r\n\r\n", 2, true);
        check("event: x\ndata: 1\ndata: 2\n\n", 1, false);
    }

    #[test]
    fn comments_are_no_frames() {
        check(": keep-alive\n\ndata: 1\n\n: keep-alive\n\n", 1, false);
    }

    #[test]
    fn done_must_be_last_and_whole() {
        check("data: [DONE]\n", 0, false);
        check("data: [DONE]\n\ndata: 1\n\n", 2, false);
        check("data: [DONE] or not, it is a long line\n\n", 1, false);
        check("", 0, false);
    }
}

mod stats_tests {
    use super::stats::{Spread, percentile};

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(format!("{:.2}", Spread::of([1.0])), "1.00 (1.00–1.00)");
        assert_eq!(Spread::of([]).median, 0.0);
    }

    #[test]
    fn percentiles_take_the_nearest_rank() {
        let values: Vec<u64> = (1..=100).collect();
        for (percent, expected) in [(0.0, 1), (50.0, 50), (99.0, 99), (100.0, 100)] {
            assert_eq!(percentile(&values, percent), expected);
        }
        assert_eq!(percentile(&[7], 99.0), 7);
        assert_eq!(percentile(&[], 50.0), 0);
    }
}

mod usage_tests {
    use super::usage::{CpuReading, group, parent, resident};
    use std::collections::BTreeMap;

    fn reading(threads: &[(u32, &str, u64)]) -> CpuReading {
        threads.iter().copied().collect()
    }

    #[test]
    fn threads_are_grouped_by_what_they_do() {
        for (comm, expected) in [
            ("actix-server wo", "HTTP workers"),
            ("actix-rt|system", "arbiter"),
            ("http-12", "http"),
            ("journal", "journal"),
            ("nginx", "nginx"),
            ("7", "7"),
        ] {
            assert_eq!(group(comm), expected);
        }
    }

    #[test]
    fn what_is_spent_is_the_difference_and_new_threads_count_whole() {
        let before = reading(&[(1, "penstock", 10), (2, "actix-rt|system", 100), (4, "gone", 5)]);
        let after = reading(&[(1, "penstock", 15), (2, "actix-rt|system", 300), (3, "actix-rt|system", 7)]);
        let spent = after.since(&before);
        let expected = [("penstock", 5), ("arbiter 1", 200), ("arbiter 2", 7)];
        let expected: BTreeMap<String, u64> =
            expected.into_iter().map(|(n, ns)| (n.to_owned(), ns)).collect();
        assert_eq!((spent.groups.clone(), spent.total(), spent.ended), (expected, 212, 1));
    }

    #[test]
    fn proc_files_are_read_where_they_are_odd() {
        assert_eq!(parent("12 (a) b) R) S 34 12 12 0"), Some(34));
        assert_eq!(parent(""), None);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    4321 kB\n"), 4321);
        assert_eq!(resident("Name:\tx\n"), 0);
    }
}
