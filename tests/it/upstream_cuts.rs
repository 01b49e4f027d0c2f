//! An upstream that closes its connection: before an answer, inside one, and where the answer might be over.

use super::support::{
    Exchange,
    fault::{CHUNKED, Sees, check, check_address, chunk, json_head, stream_head},
    upstream::{After, STREAM_END, completion, event},
};

const CUT: Sees = Sees::Refusal(502, "upstream_cut_off");
const CUT_INSIDE: Sees = Sees::Broken("upstream_cut_off");
const CLOSED: Sees = Sees::Refusal(502, "upstream_closed");
const BAD: Sees = Sees::Refusal(502, "upstream_bad_answer");

/// The head of a chunked stream after which the connection closes, so that nobody keeps it.
fn closing_head() -> String {
    stream_head(&format!("{CHUNKED}connection: close\r\n"))
}

/// Writes a whole answer or a stream, then closes.
async fn write(mut exchange: Exchange, whole: String, stream: String) -> After {
    let bytes = if exchange.wants_stream() { stream } else { whole };
    exchange.write(bytes).await;
    After::Close
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_an_error() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let unreachable = Sees::Refusal(502, "upstream_unreachable");
    check_address(&format!("http://{free}"), "", unreachable, unreachable).await;
}

#[tokio::test]
async fn a_connection_that_is_closed_at_once_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    check_address(&format!("http://{address}"), "", CLOSED, CLOSED).await;
}

#[tokio::test]
async fn a_connection_that_is_closed_after_the_request_is_an_error() {
    check(|_| async { After::Close }, CLOSED, CLOSED).await;
}

#[tokio::test]
async fn a_connection_that_is_reset_after_the_request_is_an_error() {
    check(Exchange::reset, CLOSED, CLOSED).await;
}

#[tokio::test]
async fn a_cut_inside_the_head_is_an_error() {
    let script =
        |exchange| write(exchange, "HTTP/1.1 200 OK\r\nconte".into(), "HTTP/1.1 200 OK\r\nconte".into());
    check(script, CUT, CUT).await;
}

#[tokio::test]
async fn a_cut_after_the_head_is_an_error() {
    let script = |exchange| write(exchange, json_head(100), stream_head(CHUNKED));
    check(script, CUT, CUT).await;
}

#[tokio::test]
async fn a_cut_inside_a_body_of_known_length_is_an_error() {
    let script = |exchange| {
        let whole = completion("hello", "m");
        let stream = event("hello") + STREAM_END;
        let stream_head = stream_head(&format!("content-length: {}\r\n", stream.len()));
        write(
            exchange,
            json_head(whole.len()) + &whole[..whole.len() - 1],
            stream_head + &stream[..event("hello").len() + 9],
        )
    };
    check(script, CUT, CUT_INSIDE).await;
}

#[tokio::test]
async fn a_cut_inside_a_chunk_is_an_error() {
    let script = |exchange| {
        let whole = chunk(&completion("hello", "m"));
        let stream = chunk(&event("hello")) + &chunk(STREAM_END);
        write(
            exchange,
            stream_head(CHUNKED).replace("text/event-stream", "application/json") + &whole[..whole.len() - 9],
            stream_head(CHUNKED) + &stream[..stream.len() - 20],
        )
    };
    check(script, CUT, CUT_INSIDE).await;
}

#[tokio::test]
async fn a_missing_last_chunk_is_a_cut_though_all_json_is_there() {
    let script = |exchange| {
        write(
            exchange,
            stream_head(CHUNKED).replace("text/event-stream", "application/json")
                + &chunk(&completion("hello", "m")),
            stream_head(CHUNKED) + &chunk(&event("hello")),
        )
    };
    check(script, CUT, CUT_INSIDE).await;
}

#[tokio::test]
async fn a_cut_inside_an_event_is_an_error_and_half_an_event_reaches_nobody() {
    let script = |exchange| {
        let half = event("never seen");
        let stream = closing_head() + &chunk(&event("hello")) + &chunk(&half[..half.len() / 2]);
        write(exchange, json_head(100) + "{", stream + "0\r\n\r\n")
    };
    check(script, CUT, Sees::Broken("upstream_bad_answer")).await;
}

#[tokio::test]
async fn a_reset_inside_an_answer_is_an_error() {
    let script = |mut exchange: Exchange| async move {
        let half = json_head(1000) + "{\"model\":\"m\",";
        let stream = stream_head(CHUNKED) + &chunk(&event("hello"));
        exchange.write(if exchange.wants_stream() { stream } else { half }).await;
        exchange.reset().await
    };
    check(script, CUT, CUT_INSIDE).await;
}

#[tokio::test]
async fn a_long_whole_answer_that_breaks_off_does_not_look_whole() {
    let script = |exchange| {
        let long = completion(&"hello".repeat(100_000), "m");
        let stream = stream_head(CHUNKED) + &chunk(&event("hello"));
        write(exchange, json_head(long.len()) + &long[..long.len() - 1], stream)
    };
    check(script, Sees::Broken("upstream_cut_off"), CUT_INSIDE).await;
}

#[tokio::test]
async fn a_stream_without_done_is_whole_after_its_finish_reason() {
    let script = |exchange| {
        let end = STREAM_END.replace("data: [DONE]\n\n", "");
        let stream = closing_head() + &chunk(&event("hello")) + &chunk(&end) + "0\r\n\r\n";
        let whole = completion("hello", "m");
        write(
            exchange,
            json_head(whole.len()).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n") + &whole,
            stream,
        )
    };
    check(script, Sees::Well, Sees::Well).await;
}

#[tokio::test]
async fn a_stream_without_done_and_finish_reason_is_an_error() {
    let script = |exchange| {
        let stream = closing_head() + &chunk(&event("hello")) + "0\r\n\r\n";
        write(exchange, json_head(2) + "{", stream)
    };
    check(script, CUT, Sees::Broken("upstream_bad_answer")).await;
}

#[tokio::test]
async fn an_empty_answer_is_an_error() {
    let script = |mut exchange: Exchange| async move {
        let empty = stream_head(CHUNKED) + "0\r\n\r\n";
        exchange.write(if exchange.wants_stream() { empty } else { json_head(0) }).await;
        After::Keep(exchange)
    };
    check(script, BAD, BAD).await;
}
