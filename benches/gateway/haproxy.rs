//! HAProxy as it is set up for the comparison: one thread, connections kept and shared on both sides, no logs.

use super::process::{Place, find};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The program, if it is installed.
pub fn program() -> Option<PathBuf> {
    find("haproxy")
}

/// Writes the configuration of a proxy from `listen` to `upstream`; gives its file.
///
/// `http-reuse always` shares idle connections among clients as the others do; `http-no-delay` has it pass on each
/// event of a stream at once.
pub fn write_config(
    place: &Place,
    name: &str,
    listen: SocketAddr,
    upstream: SocketAddr,
) -> io::Result<PathBuf> {
    let file = place.dir.path().join(format!("{}.cfg", name.replace(' ', "-")));
    let most = place.files.saturating_sub(200).min(65_536) / 2;
    let text = format!(
        "\
global
    nbthread 1
    maxconn {most}
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout http-keep-alive 300s
    option http-no-delay
    http-reuse always
frontend in
    bind {listen} backlog 4096
    default_backend upstream
backend upstream
    server upstream {upstream} pool-max-conn 512
"
    );
    std::fs::write(&file, text)?;
    Ok(file)
}
