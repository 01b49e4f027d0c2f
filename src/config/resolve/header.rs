//! Which headers an operator may set.

/// Whether an operator may set this header.
pub(super) fn header_allowed(name: &str, value: &str) -> Result<(), String> {
    const OURS: [&str; 6] =
        ["host", "content-length", "transfer-encoding", "connection", "content-type", "expect"];
    if http::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("\"{name}\" is no header name"));
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("\"{name}\" is set by the gateway itself"));
    }
    if http::header::HeaderValue::from_str(value).is_err() {
        return Err(format!("the value of \"{name}\" holds characters that no header can carry"));
    }
    Ok(())
}
