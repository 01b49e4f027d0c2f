//! Which path is served by what, and in whose dialect.

use actix_web::http::header::HeaderMap;
use penstock_actors::domain::Delivery;

use super::failure::Refusal;
use crate::dialect::Dialect;

/// Endpoints that take a body.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `/v1/responses`
    Responses,
    /// `/v1beta/models/NAME:generateContent`, or `streamGenerateContent`
    Generate(String, Delivery),
    /// `/v1beta/models/NAME:countTokens`
    GeminiCount(String),
}

const ROUTES: &[(&str, Route)] = &[
    ("/v1/chat/completions", Route::Chat),
    ("/v1/completions", Route::Completions),
    ("/v1/embeddings", Route::Embeddings),
    ("/v1/moderations", Route::Moderations),
    ("/v1/messages", Route::Messages),
    ("/v1/messages/count_tokens", Route::CountTokens),
    ("/v1/responses", Route::Responses),
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
pub fn find(method: &str, path: &str, query: &str) -> Result<Target, Refusal> {
    let (wanted, target) = if let Some((_, route)) = ROUTES.iter().find(|(one, _)| *one == path) {
        ("POST", Target::Post(route.clone()))
    } else if let Some(found) = gemini(path, query) {
        found.ok_or_else(|| Refusal::no_route(method, path))?
    } else if path == "/v1/models" {
        ("GET", Target::Models)
    } else if let Some(id) = path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
        ("GET", Target::Model(id.replace("%2F", "/")))
    } else {
        return Err(Refusal::no_route(method, path));
    };
    if method == wanted { Ok(target) } else { Err(Refusal::no_method(method, path)) }
}

/// What a path of Gemini's asks for; inside `None` where it asks for nothing known.
fn gemini(path: &str, query: &str) -> Option<Option<(&'static str, Target)>> {
    let rest = path.strip_prefix("/v1beta/models")?;
    let Some(name) = rest.strip_prefix('/') else {
        return Some(rest.is_empty().then_some(("GET", Target::Models)));
    };
    let Some((name, call)) = name.rsplit_once(':') else {
        return Some(Some(("GET", Target::Model(name.to_owned()))));
    };
    let name = name.replace("%2F", "/");
    let route = match call {
        "generateContent" => Route::Generate(name, Delivery::Whole),
        // The mock knows streams of events alone.
        "streamGenerateContent" if query.split('&').any(|pair| pair == "alt=sse") => {
            Route::Generate(name, Delivery::Stream)
        }
        "countTokens" => Route::GeminiCount(name),
        _ => return Some(None),
    };
    Some(Some(("POST", Target::Post(route))))
}

/// The dialect that a request is made in; at shared paths Anthropic's clients tell their version.
pub fn dialect(path: &str, headers: &HeaderMap) -> Dialect {
    if path.starts_with("/v1beta/") {
        return Dialect::Gemini;
    }
    if path == "/v1/responses" {
        return Dialect::OpenAiResponses;
    }
    let anthropic = path.starts_with("/v1/messages")
        || path.starts_with("/v1/models") && headers.contains_key("anthropic-version");
    if anthropic { Dialect::AnthropicMessages } else { Dialect::OpenAi }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_are_told_apart() {
        assert_eq!(find("POST", "/v1/messages", ""), Ok(Target::Post(Route::Messages)));
        assert_eq!(find("GET", "/v1/models/a%2Fb", ""), Ok(Target::Model("a/b".into())));
        assert_eq!(find("GET", "/v1/messages", "").map_err(|r| r.status), Err(405));
        assert_eq!(find("POST", "/v1/chats", "").map_err(|r| r.status), Err(404));
    }
}
