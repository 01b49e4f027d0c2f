//! Where a key stands in a request: every form that clients of the four dialects use.

use std::borrow::Cow;

use actix_web::{HttpRequest, http::header::AUTHORIZATION};

use super::route::percent_decode;
use crate::{provider::Failure, relay::admit};

/// Headers that hold a key and nothing else.
const KEY_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// Finds the key: `Authorization` first, then the other headers, then `?key=`.
///
/// # Errors
/// 401 where there is none, or where it cannot be read.
pub(super) fn secret(request: &HttpRequest) -> Result<Cow<'_, str>, Failure> {
    let malformed = || admit::unauthorized("The API key is malformed.");
    let headers = request.headers();
    let mut authorization = headers.get_all(AUTHORIZATION);
    if let Some(value) = authorization.next() {
        if authorization.next().is_some() {
            return Err(admit::unauthorized("There is more than one Authorization header."));
        }
        let text = value.to_str().map_err(|_| malformed())?.trim();
        let (scheme, rest) = text.split_once(char::is_whitespace).unwrap_or(("", text));
        let key = match scheme {
            "" => rest,
            s if s.eq_ignore_ascii_case("bearer") => rest.trim_start(),
            _ => {
                return Err(admit::unauthorized("The Authorization header must be 'Bearer' and an API key."));
            }
        };
        if !key.is_empty() && !key.eq_ignore_ascii_case("bearer") {
            return Ok(key.into());
        }
    }
    for name in KEY_HEADERS {
        if let Some(value) = headers.get(name) {
            let key = value.to_str().map_err(|_| malformed())?.trim();
            if !key.is_empty() {
                return Ok(key.into());
            }
        }
    }
    let in_query = request.query_string().split('&').find_map(|pair| pair.strip_prefix("key="));
    match in_query {
        Some(key) if !key.is_empty() => Ok(percent_decode(key).into()),
        _ => Err(admit::unauthorized(
            "There is no API key: send it as 'Authorization: Bearer', 'x-api-key', 'api-key' or 'x-goog-api-key'.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn found(headers: &[(&'static str, &'static str)], query: &str) -> Option<String> {
        let mut request = TestRequest::get().uri(&format!("/v1/models{query}"));
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        secret(&request.to_http_request()).ok().map(Cow::into_owned)
    }

    #[test]
    fn keys_are_found_in_every_form() {
        let key = Some("sk-abc".to_owned());
        for headers in [
            [("authorization", "Bearer sk-abc")],
            [("authorization", "bearer   sk-abc ")],
            [("authorization", "sk-abc")],
            [("x-api-key", "sk-abc")],
            [("api-key", " sk-abc")],
            [("x-goog-api-key", "sk-abc")],
        ] {
            assert_eq!(found(&headers, ""), key, "{headers:?}");
        }
        assert_eq!(found(&[], "?a=1&key=sk%2Dabc"), key);
        assert_eq!(found(&[("authorization", "Bearer "), ("x-api-key", "sk-abc")], ""), key);
    }

    #[test]
    fn odd_forms_are_no_key() {
        for headers in [
            &[("authorization", "Basic dXNlcg==")][..],
            &[("authorization", "Bearer")],
            &[("authorization", "")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
            &[("x-api-key", "")],
        ] {
            assert_eq!(found(headers, ""), None, "{headers:?}");
        }
        assert_eq!(found(&[], "?key="), None);
        assert_eq!(found(&[], ""), None);
    }
}
