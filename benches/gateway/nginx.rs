//! nginx as it is set up for the comparison: one worker, kept-alive connections on both sides, no logs.

use super::process::{Place, find};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where streams go in: without `proxy_buffering`, which nginx can only switch by path.
pub const STREAM_PREFIX: &str = "/streams";

/// The program, if it is installed.
pub fn program() -> Option<PathBuf> {
    find("nginx")
}

/// Writes the configuration of a proxy from `listen` to `upstream`; gives its file.
pub fn write_config(
    place: &Place,
    name: &str,
    listen: SocketAddr,
    upstream: SocketAddr,
) -> io::Result<PathBuf> {
    let dir = place.dir.path().join(name.replace(' ', "-"));
    std::fs::create_dir_all(&dir)?;
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config(&dir.display().to_string(), place.files.min(65_536), listen, upstream))?;
    Ok(file)
}

/// Request bodies stay in memory (`client_body_buffer_size`): the default writes those above 16 KiB to a file, which
/// makes a call of 150 KB cost three times as much. Passing them on unread (`proxy_request_buffering off`) saves
/// nothing that shows.
fn config(dir: &str, connections: u64, listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "\
daemon off;
user root;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_max_body_size 64m;
    client_body_buffer_size 1m;
    client_body_temp_path {dir}/client_body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    upstream upstream {{
        server {upstream};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }}
    server {{
        listen {listen} backlog=4096;
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        location / {{ proxy_pass http://upstream; }}
        location {STREAM_PREFIX}/ {{ proxy_pass http://upstream/; proxy_buffering off; }}
    }}
}}
"
    )
}
