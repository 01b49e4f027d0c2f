//! Asks a running server how its channels stand: `penstock status`.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::health::reachable;

/// How long connecting and each read may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer answers are none of ours.
const LONGEST: u64 = 16 << 20;

/// In which form the answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusForm {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Asks the server that listens at `listen`; `key` is shown where it is elsewhere.
///
/// # Errors
/// A sentence, where nobody answers there in time or the answer is not 200.
pub fn status(listen: SocketAddr, key: Option<&str>, form: StatusForm) -> Result<String, String> {
    let address = reachable(listen);
    let failed = |error: std::io::Error| format!("http://{address}/api/runtime: {error}");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let accept = if form == StatusForm::Text { "text/plain" } else { "application/json" };
    let shown = key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
    let request = format!(
        "GET /api/runtime HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\n{shown}connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.trim_end().to_owned()),
        _ => {
            let line = head.lines().next().unwrap_or_default();
            Err(format!("http://{address}/api/runtime answers '{line}'; on another machine, give --key"))
        }
    }
}
