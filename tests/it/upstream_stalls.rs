//! An upstream that says nothing for too long. Every deadline is short here, and alone in its test.

use super::support::{
    Exchange, TestApp, Upstream, chat, chat_stream, eventually,
    fault::{CHUNKED, Sees, check_address, check_with, chunk, json_head, stream_head},
    upstream::{After, STREAM_END, completion, event},
};

const FIRST_BYTE: &str = "[channel.timeouts]\nfirst_byte = \"150ms\"\nfirst_byte_stream = \"150ms\"\n";
const IDLE: &str = "[channel.timeouts]\nidle = \"150ms\"\n";
const TOTAL: &str = "[channel.timeouts]\ntotal = \"300ms\"\n";
const CONNECT: &str = "[channel.timeouts]\nconnect = \"150ms\"\n";
const NO_FIRST_BYTE: Sees = Sees::Refusal(504, "upstream_first_byte_timeout");

#[tokio::test]
async fn silence_before_the_head_ends_at_the_first_byte_timeout() {
    check_with(FIRST_BYTE, Exchange::stall, NO_FIRST_BYTE, NO_FIRST_BYTE).await;
}

#[tokio::test]
async fn silence_after_the_head_ends_at_the_first_byte_timeout() {
    let script = |mut exchange: Exchange| async move {
        let head = if exchange.wants_stream() { stream_head(CHUNKED) } else { json_head(10) };
        exchange.write(head).await;
        exchange.stall().await
    };
    check_with(FIRST_BYTE, script, NO_FIRST_BYTE, NO_FIRST_BYTE).await;
}

#[tokio::test]
async fn comments_are_no_first_byte() {
    let script = |mut exchange: Exchange| async move {
        let comment = stream_head(CHUNKED) + &chunk(": PROCESSING\n\n");
        exchange.write(if exchange.wants_stream() { comment } else { json_head(10) }).await;
        exchange.stall().await
    };
    check_with(FIRST_BYTE, script, NO_FIRST_BYTE, NO_FIRST_BYTE).await;
}

#[tokio::test]
async fn silence_between_events_ends_at_the_idle_timeout() {
    let script = |mut exchange: Exchange| async move {
        let begun = stream_head(CHUNKED) + &chunk(&event("hello"));
        let long = json_head(1_000_000) + "{\"model\":\"m\",\"x\":\"" + &"hello".repeat(100_000);
        exchange.write(if exchange.wants_stream() { begun } else { long }).await;
        exchange.stall().await
    };
    let broken = Sees::Broken("upstream_idle_timeout");
    check_with(IDLE, script, broken, broken).await;
}

#[tokio::test]
async fn silence_after_the_finish_reason_is_an_end() {
    let script = |mut exchange: Exchange| async move {
        let end = STREAM_END.replace("data: [DONE]\n\n", "");
        let whole = completion("hello", "m");
        let whole = json_head(whole.len()) + &whole;
        let stream = stream_head(CHUNKED) + &chunk(&event("hello")) + &chunk(&end);
        if !exchange.wants_stream() {
            exchange.write(whole).await;
            return After::Keep(exchange);
        }
        exchange.write(stream).await;
        exchange.until_left().await
    };
    check_with(IDLE, script, Sees::Well, Sees::Well).await;
}

#[tokio::test]
async fn a_stream_that_trickles_ends_at_the_total_timeout() {
    let script = |mut exchange: Exchange| async move {
        exchange.write(stream_head(CHUNKED)).await;
        while exchange.write(chunk(&event("hello"))).await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        After::Close
    };
    let upstream = Upstream::start(script).await;
    let app = TestApp::start(&upstream.channel("bad", TOTAL));
    let answer = app.client().chat(&chat_stream("m")).await;
    assert_eq!(answer.error_event()["code"], "upstream_total_timeout");
    assert!(answer.complete && !answer.body.contains("[DONE]"));
    eventually("the upstream is left", || upstream.connections() == 0).await;
}

#[tokio::test]
async fn a_listener_that_accepts_nobody_ends_at_the_connect_timeout() {
    // The kernel completes no handshake beyond the backlog, so this port is a black hole once it is full.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fill = Vec::new();
    loop {
        let connect = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(std::time::Duration::from_millis(200), connect).await {
            Ok(filled) => fill.push(filled.unwrap()),
            Err(_) => break,
        }
    }
    let sees = Sees::Refusal(504, "upstream_connect_timeout");
    check_address(&format!("http://{address}"), CONNECT, sees, sees).await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_upstream_connection_with_it() {
    let script = |mut exchange: Exchange| async move {
        let head = exchange.head.clone();
        let stage = String::from_utf8_lossy(&exchange.body).into_owned();
        assert!(head.starts_with("POST /v1/chat/completions"));
        if stage.contains("silent") {
            exchange.write(stream_head(CHUNKED)).await;
        } else if stage.contains("between") {
            exchange.write(stream_head(CHUNKED) + &chunk(&event("hello"))).await;
        }
        exchange.until_left().await
    };
    let upstream = Upstream::start(script).await;
    let app = TestApp::start(&upstream.channel("up", ""));
    let client = app.client();
    for (nth, (body, stage)) in [
        (chat("m"), "first"),
        (chat_stream("m"), "first"),
        (chat_stream("m"), "silent"),
        (chat_stream("m"), "between"),
    ]
    .into_iter()
    .enumerate()
    {
        let body = body.replace("hi", stage);
        let mut tcp = client.open(&client.request("POST", "/v1/chat/completions", body.as_bytes())).await;
        eventually("the request arrives", || upstream.count() == nth + 1).await;
        if stage == "between" {
            let mut read = Vec::new();
            while !String::from_utf8_lossy(&read).contains("hello") {
                tokio::io::AsyncReadExt::read_buf(&mut tcp, &mut read).await.unwrap();
            }
        }
        drop(tcp);
        eventually("the upstream is left", || upstream.left() == nth + 1).await;
        eventually("the permit returns", || app.cell("up").gate.in_flight() == 0).await;
        eventually("the connection returns", || app.cell("up").connections.count() == 0).await;
    }
}
