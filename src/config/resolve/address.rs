//! Where a provider is, and which headers it is sent: what may be written there.

/// Checks an upstream address and drops a trailing slash and `/v1`, which adapters add themselves.
pub(super) fn base_url(written: &str) -> Result<String, String> {
    let uri: http::Uri = written.parse().map_err(|e| format!("\"{}\" is no address: {e}", shown(written)))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if !authority.as_str().contains('@') => {}
        (Some("http" | "https"), Some(_)) => return Err("must not hold a user name".into()),
        _ => {
            return Err(format!(
                "\"{}\" must start with http:// or https:// and name a host",
                shown(written)
            ));
        }
    }
    if uri.query().is_some() || written.contains('#') {
        return Err("must not hold a query or a fragment".into());
    }
    let plain = written.trim_end_matches('/');
    Ok(plain.strip_suffix("/v1").unwrap_or(plain).trim_end_matches('/').to_owned())
}

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

/// An address as far as it can be told: what a name and a password might stand in is left out.
fn shown(written: &str) -> &str {
    written.rsplit_once('@').map_or(written, |(_, host)| host)
}
