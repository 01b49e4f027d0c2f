//! An upstream of a page, so that the harness can be tried without a Penstock.
//!
//! It obeys the same request headers as `penstock mock`, and knows nothing else of HTTP than a content length.

use std::error::Error;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Length of a frame, in bytes, with the blank line.
const FRAME: usize = 232;

/// Serves at `address` until it is ended.
pub fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (connection, _) = listener.accept().await?;
            connection.set_nodelay(true)?;
            // A connection that breaks is the driver's to notice.
            tokio::spawn(async move { answer_all(connection).await.ok() });
        }
    })
}

async fn answer_all(mut connection: TcpStream) -> io::Result<()> {
    let mut input = Vec::with_capacity(8 * 1024);
    loop {
        let head = loop {
            if let Some(end) = memchr::memmem::find(&input, b"\r\n\r\n") {
                break end + 4;
            }
            if connection.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&input[..head]).to_ascii_lowercase();
        let end = head + usize::try_from(header(&text, "content-length").unwrap_or(0)).unwrap_or(0);
        while input.len() < end {
            if connection.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
        let is_stream = memchr::memmem::find(&input[head..end], br#""stream":true"#).is_some();
        input.drain(..end);
        let number = |name| header(&text, name).unwrap_or(0);
        let tokens = header(&text, "x-penstock-mock-tokens").unwrap_or(16);
        pause(number("x-penstock-mock-latency-ms")).await;
        if is_stream {
            pause(number("x-penstock-mock-ttft-ms")).await;
            stream(&mut connection, tokens, number("x-penstock-mock-pace-ms")).await?;
        } else {
            let answer = completion(tokens);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
            let text = format!("{head}content-length: {}\r\n\r\n{answer}", answer.len());
            connection.write_all(text.as_bytes()).await?;
        }
    }
}

async fn stream(connection: &mut TcpStream, tokens: u64, pace: u64) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.write_all(head.as_bytes()).await?;
    let frame = chunk(&frame());
    for token in 0..tokens {
        pause(if token > 0 { pace } else { 0 }).await;
        connection.write_all(&frame).await?;
    }
    connection.write_all(&[chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n".to_vec()].concat()).await
}

async fn pause(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

fn header(head: &str, name: &str) -> Option<u64> {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line?.trim().parse().ok()
}

fn completion(tokens: u64) -> String {
    let text = "word".repeat(usize::try_from(tokens).unwrap_or(1));
    format!(
        r#"{{"id":"chatcmpl-stand-in","object":"chat.completion","created":1700000000,"model":"penstock-echo","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":50,"completion_tokens":{tokens},"total_tokens":{}}}}}"#,
        tokens + 50
    )
}

fn frame() -> Vec<u8> {
    let start = r#"data: {"id":"chatcmpl-stand-in","object":"chat.completion.chunk","created":1700000000,"model":"penstock-echo","choices":[{"index":0,"delta":{"content":""#;
    let end = "\"},\"finish_reason\":null}]}\n\n";
    let text = "w".repeat(FRAME - start.len() - end.len());
    format!("{start}{text}{end}").into_bytes()
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}
