//! The paths that are served, as data, and their matching. Clients write base URLs in many ways.

use actix_web::http::Method;

use crate::provider::Endpoint;

/// What a path and method mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Matched {
    /// A call that is relayed.
    Call(Endpoint),
    /// The list of models.
    Models,
    /// One model.
    Model(String),
    /// `/health`, `/health/live`
    Live,
    /// `/health/ready`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/api/reload`
    Reload,
    /// `/api/explain`
    Explain,
    /// Below `/api`.
    Api,
    /// A browser asks what it may do.
    Preflight,
    /// An endpoint of OpenAI's that is not here.
    NotImplemented,
    /// The path is known, the method is not.
    MethodNotAllowed(&'static str),
    /// Nothing is here.
    Unknown,
}

/// What a known path is for.
#[derive(Clone, Copy)]
enum Target {
    Call(Endpoint),
    Models,
    Live,
    Ready,
    Metrics,
}

/// Every path of ours, without `/v1`.
const ROUTES: &[(&str, Target)] = &[
    ("/chat/completions", Target::Call(Endpoint::ChatCompletions)),
    ("/completions", Target::Call(Endpoint::Completions)),
    ("/embeddings", Target::Call(Endpoint::Embeddings)),
    ("/moderations", Target::Call(Endpoint::Moderations)),
    ("/models", Target::Models),
    ("/health", Target::Live),
    ("/health/live", Target::Live),
    ("/health/ready", Target::Ready),
    ("/metrics", Target::Metrics),
];

/// Paths of OpenAI's API below `/v1` that are answered with 501.
const NOT_IMPLEMENTED: &[&str] = &[
    "/assistants",
    "/audio",
    "/batches",
    "/conversations",
    "/edits",
    "/engines",
    "/files",
    "/fine_tuning",
    "/images",
    "/messages",
    "/realtime",
    "/rerank",
    "/responses",
    "/threads",
    "/uploads",
    "/vector_stores",
    "/videos",
];

/// Matches a request's path, which is still percent-encoded.
pub(super) fn matched(method: &Method, path: &str) -> Matched {
    let squeezed;
    let mut path = path;
    if path.contains("//") {
        squeezed = squeeze(path);
        path = &squeezed;
    }
    if path.len() > 1 {
        path = path.strip_suffix('/').unwrap_or(path);
    }
    // No page of another origin may ask there, whatever the method.
    if path == "/api" || path.starts_with("/api/") {
        return match (path, method) {
            ("/api/reload", &Method::POST) => Matched::Reload,
            ("/api/explain", &Method::POST) => Matched::Explain,
            _ => Matched::Api,
        };
    }
    if method == Method::OPTIONS {
        return Matched::Preflight;
    }
    // With, without or with doubled /v1.
    while let Some(rest) = path.strip_prefix("/v1")
        && (rest.is_empty() || rest.starts_with('/'))
    {
        path = rest;
    }
    if let Some((_, target)) = ROUTES.iter().find(|(known, _)| *known == path) {
        return on_target(method, *target);
    }
    if let Some(name) = path.strip_prefix("/models/") {
        return match *method {
            Method::GET | Method::HEAD => Matched::Model(percent_decode(name)),
            Method::DELETE => Matched::NotImplemented,
            _ => Matched::MethodNotAllowed("GET, HEAD"),
        };
    }
    let below = |known: &str| path.strip_prefix(known).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    if NOT_IMPLEMENTED.iter().any(|known| below(known)) { Matched::NotImplemented } else { Matched::Unknown }
}

fn on_target(method: &Method, target: Target) -> Matched {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match target {
        Target::Call(endpoint) if *method == Method::POST => Matched::Call(endpoint),
        Target::Call(_) => Matched::MethodNotAllowed("POST"),
        _ if !reads => Matched::MethodNotAllowed("GET, HEAD"),
        Target::Models => Matched::Models,
        Target::Live => Matched::Live,
        Target::Ready => Matched::Ready,
        Target::Metrics => Matched::Metrics,
    }
}

fn squeeze(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

/// Decodes `%XX`; what is no such triple stays as it is (RFC 3986, section 2.1).
pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let triple = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let decoded =
            triple.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(decoded.unwrap_or(bytes[at]));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_work_with_without_and_with_doubled_v1() {
        for path in [
            "/v1/chat/completions",
            "/chat/completions",
            "/v1/v1/chat/completions",
            "//v1//chat/completions/",
            "/v1/chat/completions/",
        ] {
            assert_eq!(matched(&Method::POST, path), Matched::Call(Endpoint::ChatCompletions), "{path}");
        }
    }

    #[test]
    fn every_path_has_one_meaning() {
        for (method, path, wanted) in [
            (Method::GET, "/v1/models", Matched::Models),
            (
                Method::GET,
                "/v1/models/meta%2Dllama/Llama-3%zz",
                Matched::Model("meta-llama/Llama-3%zz".into()),
            ),
            (Method::GET, "/health", Matched::Live),
            (Method::GET, "/v1/chat/completions", Matched::MethodNotAllowed("POST")),
            (Method::POST, "/v1/models", Matched::MethodNotAllowed("GET, HEAD")),
            (Method::POST, "/v1/images/generations", Matched::NotImplemented),
            (Method::DELETE, "/v1/models/x", Matched::NotImplemented),
            (Method::POST, "/api/reload", Matched::Reload),
            (Method::POST, "/api/explain/", Matched::Explain),
            (Method::GET, "/api/explain", Matched::Api),
            (Method::OPTIONS, "/anything", Matched::Preflight),
            (Method::OPTIONS, "/api/calls/x", Matched::Api),
            (Method::GET, "//api/calls/x/", Matched::Api),
            (Method::GET, "/apix", Matched::Unknown),
            (Method::POST, "/v1/chat", Matched::Unknown),
            (Method::POST, "/v1x/chat/completions", Matched::Unknown),
            (Method::GET, "/", Matched::Unknown),
            (Method::GET, "/v1", Matched::Unknown),
            (Method::GET, "/imagesx", Matched::Unknown),
        ] {
            assert_eq!(matched(&method, path), wanted, "{method} {path}");
        }
    }
}
