//! Streams, cut in two at every byte.

use super::FrameCounter;

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
