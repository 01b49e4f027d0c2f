//! The paths that are served, as data, and their matching. Clients write base URLs in many ways.

use actix_web::http::{Method, header::HeaderMap};

use penstock_actors::domain::Delivery;

use crate::{
    dialect::{Dialect, StreamForm, Told},
    provider::Endpoint,
};

/// What a path and method mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Matched {
    /// A call that is relayed: what is called, by clients of which dialect, and what the path tells of it.
    Call(Endpoint, Dialect, Told),
    /// A response that was stored: it, or the items that it answered.
    Stored(String, Shown),
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
    /// `/api/runtime`
    Runtime,
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

/// What of a stored response is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Itself.
    Response,
    /// Nothing: it is to be deleted.
    Deleted,
    /// Its input.
    Items,
}

/// What a known path is for.
#[derive(Clone, Copy)]
enum Target {
    Call(Endpoint, Dialect),
    Models,
    Live,
    Ready,
    Metrics,
}

/// Every path of ours, without `/v1`.
const ROUTES: &[(&str, Target)] = &[
    ("/chat/completions", Target::Call(Endpoint::ChatCompletions, Dialect::OpenAi)),
    ("/completions", Target::Call(Endpoint::Completions, Dialect::OpenAi)),
    ("/embeddings", Target::Call(Endpoint::Embeddings, Dialect::OpenAi)),
    ("/moderations", Target::Call(Endpoint::Moderations, Dialect::OpenAi)),
    ("/messages", Target::Call(Endpoint::Messages, Dialect::AnthropicMessages)),
    ("/messages/count_tokens", Target::Call(Endpoint::CountTokens, Dialect::AnthropicMessages)),
    ("/responses", Target::Call(Endpoint::Responses, Dialect::OpenAiResponses)),
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

/// Matches a request's path, which is still percent-encoded, and its query.
pub(super) fn matched(method: &Method, path: &str, query: &str) -> Matched {
    let squeezed;
    let mut path = path;
    if path.contains("//") {
        squeezed = squeeze(path);
        path = &squeezed;
    }
    if path.len() > 1 {
        path = path.strip_suffix('/').unwrap_or(path);
    }
    if path == "/api/runtime" {
        return match *method {
            Method::GET | Method::HEAD => Matched::Runtime,
            _ => Matched::MethodNotAllowed("GET, HEAD"),
        };
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
    // Gemini's clients put a version of their own in front.
    for version in ["/v1beta", "/v1alpha"] {
        if let Some(rest) = path.strip_prefix(version).filter(|rest| rest.starts_with('/')) {
            path = rest;
        }
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
    if *method == Method::POST
        && let Some(call) = gemini_call(path, query)
    {
        return call;
    }
    if let Some(rest) = path.strip_prefix("/responses/") {
        let (id, shown) = match rest.strip_suffix("/input_items") {
            Some(id) => (id, Shown::Items),
            None => (rest, if *method == Method::DELETE { Shown::Deleted } else { Shown::Response }),
        };
        return match *method {
            _ if id.contains('/') => Matched::NotImplemented,
            Method::GET | Method::HEAD => Matched::Stored(percent_decode(id), shown),
            Method::DELETE if shown == Shown::Deleted => Matched::Stored(percent_decode(id), shown),
            _ => Matched::MethodNotAllowed("GET, HEAD, DELETE"),
        };
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
        Target::Call(endpoint, face) if *method == Method::POST => {
            Matched::Call(endpoint, face, Told::default())
        }
        Target::Call(..) => Matched::MethodNotAllowed("POST"),
        _ if !reads => Matched::MethodNotAllowed("GET, HEAD"),
        Target::Models => Matched::Models,
        Target::Live => Matched::Live,
        Target::Ready => Matched::Ready,
        Target::Metrics => Matched::Metrics,
    }
}

/// A call as Gemini's clients write it: `/models/NAME:METHOD`.
fn gemini_call(path: &str, query: &str) -> Option<Matched> {
    let path = percent_decode(path);
    let name = path.strip_prefix('/')?;
    let (name, method) = name.strip_prefix("models/").unwrap_or(name).rsplit_once(':')?;
    let mut told = Told { model: Some(name.to_owned()), delivery: Some(Delivery::Whole), ..Told::default() };
    let endpoint = match method {
        "generateContent" => Endpoint::GenerateContent,
        "streamGenerateContent" => {
            told.delivery = Some(Delivery::Stream);
            if !query.split('&').any(|pair| pair == "alt=sse") {
                told.form = StreamForm::Array;
            }
            Endpoint::GenerateContent
        }
        "countTokens" => Endpoint::CountTokens,
        "embedContent" | "batchEmbedContents" => Endpoint::Embeddings,
        _ => return None,
    };
    Some(Matched::Call(endpoint, Dialect::Gemini, told))
}

/// The dialect of a request that is no call: refusals and lists of models are written in it.
pub(super) fn face(path: &str, headers: &HeaderMap) -> Dialect {
    if path.contains("/messages") || headers.contains_key("anthropic-version") {
        return Dialect::AnthropicMessages;
    }
    let is_gemini = path.starts_with("/v1beta") || path.starts_with("/v1alpha");
    if is_gemini || headers.contains_key("x-goog-api-key") { Dialect::Gemini } else { Dialect::OpenAi }
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
            let wanted = Matched::Call(Endpoint::ChatCompletions, Dialect::OpenAi, Told::default());
            assert_eq!(matched(&Method::POST, path, ""), wanted, "{path}");
        }
    }

    #[test]
    fn geminis_paths_name_model_and_method() {
        for (path, query, model, delivery, form) in [
            (
                "/v1beta/models/gemini-3:generateContent",
                "key=x",
                "gemini-3",
                Delivery::Whole,
                StreamForm::Events,
            ),
            (
                "/v1/models/a%2Fb%3A1:streamGenerateContent",
                "alt=sse&key=x",
                "a/b:1",
                Delivery::Stream,
                StreamForm::Events,
            ),
            ("/v1beta/models/m:streamGenerateContent", "", "m", Delivery::Stream, StreamForm::Array),
        ] {
            let told = Told { model: Some(model.into()), delivery: Some(delivery), form };
            let wanted = Matched::Call(Endpoint::GenerateContent, Dialect::Gemini, told);
            assert_eq!(matched(&Method::POST, path, query), wanted, "{path}");
        }
        assert_eq!(
            matched(&Method::POST, "/v1beta/models/m:sing", ""),
            Matched::MethodNotAllowed("GET, HEAD")
        );
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
            (Method::GET, "/api/runtime/", Matched::Runtime),
            (Method::OPTIONS, "/api/runtime", Matched::MethodNotAllowed("GET, HEAD")),
            (Method::GET, "//api/calls/x/", Matched::Api),
            (Method::GET, "/apix", Matched::Unknown),
            (Method::POST, "/v1/chat", Matched::Unknown),
            (Method::POST, "/v1x/chat/completions", Matched::Unknown),
            (Method::GET, "/", Matched::Unknown),
            (Method::GET, "/v1", Matched::Unknown),
            (Method::GET, "/imagesx", Matched::Unknown),
        ] {
            assert_eq!(matched(&method, path, ""), wanted, "{method} {path}");
        }
    }
}
