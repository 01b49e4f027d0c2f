//! Which path is served by what, and in whose dialect.

use actix_web::http::header::HeaderMap;

use super::failure::Refusal;
use crate::dialect::Dialect;

/// Endpoints that take a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/moderations`
    Moderations,
    /// `/v1/messages`
    Messages,
    /// `/v1/messages/count_tokens`
    CountTokens,
}

const ROUTES: &[(&str, Route)] = &[
    ("/v1/chat/completions", Route::Chat),
    ("/v1/completions", Route::Completions),
    ("/v1/embeddings", Route::Embeddings),
    ("/v1/moderations", Route::Moderations),
    ("/v1/messages", Route::Messages),
    ("/v1/messages/count_tokens", Route::CountTokens),
];

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An endpoint that takes a body.
    Post(Route),
    /// The list of models.
    Models,
    /// One model.
    Model(String),
}

/// Finds what a request is for.
///
/// # Errors
/// 404 for another path, 405 for another method.
pub fn find(method: &str, path: &str) -> Result<Target, Refusal> {
    let (wanted, target) = if let Some((_, route)) = ROUTES.iter().find(|(one, _)| *one == path) {
        ("POST", Target::Post(*route))
    } else if path == "/v1/models" {
        ("GET", Target::Models)
    } else if let Some(id) = path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
        ("GET", Target::Model(id.replace("%2F", "/")))
    } else {
        return Err(Refusal::no_route(method, path));
    };
    if method == wanted { Ok(target) } else { Err(Refusal::no_method(method, path)) }
}

/// The dialect that a request is made in; at shared paths Anthropic's clients tell their version.
pub fn dialect(path: &str, headers: &HeaderMap) -> Dialect {
    let anthropic = path.starts_with("/v1/messages")
        || path.starts_with("/v1/models") && headers.contains_key("anthropic-version");
    if anthropic { Dialect::AnthropicMessages } else { Dialect::OpenAi }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_are_told_apart() {
        assert_eq!(find("POST", "/v1/messages"), Ok(Target::Post(Route::Messages)));
        assert_eq!(find("GET", "/v1/models/a%2Fb"), Ok(Target::Model("a/b".into())));
        assert_eq!(find("GET", "/v1/messages").map_err(|r| r.status), Err(405));
        assert_eq!(find("POST", "/v1/chat").map_err(|r| r.status), Err(404));
    }
}
