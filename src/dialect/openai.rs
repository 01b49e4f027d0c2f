//! What OpenAI's endpoints share on the wire: the request's top level, errors, usage, and readers of
//! answers that pass through. Chat completions as a conversation are `openai_chat`'s.
//!
//! Source: OpenAI's API reference and the types of its official Python library.

mod likely;
mod stream;
mod usage;

use bytes::Bytes;
use penstock_actors::{
    billing::Foreseen,
    domain::{Delivery, Endpoint, Fault},
};
use serde::{Deserialize, Serialize};

use crate::{
    dialect::{Failure, Next, RequestFacts, StreamForm, passing::Shape},
    wire::json::{Field, Inner, Kind, TopLevel, Watch},
};

pub use likely::Likely;
pub use stream::StreamReader;
pub(crate) use usage::usage;

/// The request fields the gateway must know, then those that quirks rewrite.
pub const REQUEST: &[Watch] = &[
    Watch::kept("model", 1024),
    Watch::kept("stream", 16),
    Watch::kept("stream_options", 4096),
    Watch::place("messages").with_inner(Inner { key: "role", value: "developer" }),
    Watch::place("prompt"),
    Watch::place("input"),
    Watch::kept("max_tokens", 64),
    Watch::kept("max_completion_tokens", 64),
    Watch::kept("n", 64),
    Watch::kept("temperature", 64),
    Watch::place("seed"),
    Watch::place("user"),
    Watch::place("store"),
    Watch::place("metadata"),
    Watch::place("safety_identifier"),
    Watch::place("prompt_cache_key"),
    Watch::place("prompt_cache_retention"),
];

/// What the request tells of its cost.
pub fn foreseen(top: &TopLevel) -> Foreseen {
    let length = |name: &str| top.field(name).map_or(0, |field| field.end - field.start);
    let number = |name: &str| serde_json::from_slice::<u64>(&top.field(name)?.raw).ok();
    let max_output = [number("max_tokens"), number("max_completion_tokens")].into_iter().flatten().max();
    Foreseen {
        prompt_bytes: length("messages") + length("prompt") + length("input"),
        max_input: None,
        max_output,
        learned: None,
        choices: number("n").unwrap_or(1),
    }
}

/// Where whole answers say what must be known.
pub static WHOLE: Shape = Shape {
    watches: &[Watch::kept("model", 1024), Watch::kept("error", 16384)],
    model: "model",
    prefix: "",
    usage_key: "\"usage\"",
    usage,
    failure: failure_inside,
};

/// Reads the facts of a scanned request.
///
/// # Errors
/// A [`Failure`] with the parameter that is missing or of a wrong type.
pub fn request_facts(endpoint: Endpoint, top: &TopLevel) -> Result<RequestFacts, Failure> {
    let model = match top.field("model") {
        Some(field) if field.kind == Kind::String => {
            serde_json::from_slice(&field.raw).map_err(|_| invalid("model", "is not a valid string"))?
        }
        Some(field) => return Err(wrong_type("model", "a string", field)),
        None if endpoint == Endpoint::Moderations => "omni-moderation-latest".to_owned(),
        None => return Err(missing("model")),
    };
    if model.is_empty() {
        return Err(invalid("model", "must name a model"));
    }
    let delivery = match top.field("stream") {
        Some(field) if field.kind == Kind::Bool && field.raw == b"true" => Delivery::Stream,
        Some(field) if matches!(field.kind, Kind::Bool | Kind::Null) => Delivery::Whole,
        Some(field) => return Err(wrong_type("stream", "a boolean", field)),
        None => Delivery::Whole,
    };
    if delivery == Delivery::Stream
        && matches!(endpoint, Endpoint::Embeddings | Endpoint::Moderations | Endpoint::CountTokens)
    {
        return Err(invalid("stream", "is not supported by this endpoint"));
    }
    let usage_wanted = match top.field("stream_options") {
        Some(field) if field.kind == Kind::Object => {
            let options: StreamOptions = serde_json::from_slice(&field.raw)
                .map_err(|_| invalid("stream_options.include_usage", "must be a boolean"))?;
            options.include_usage.unwrap_or(false)
        }
        Some(field) if field.kind != Kind::Null => {
            return Err(wrong_type("stream_options", "an object", field));
        }
        _ => false,
    };
    let content: &[(&'static str, &[Kind])] = match endpoint {
        Endpoint::ChatCompletions | Endpoint::Messages | Endpoint::CountTokens => {
            &[("messages", &[Kind::Array])]
        }
        Endpoint::Responses => &[("input", &[Kind::String, Kind::Array])],
        Endpoint::GenerateContent => &[],
        Endpoint::Completions => &[("prompt", &[Kind::String, Kind::Array, Kind::Null])],
        Endpoint::Embeddings => &[("input", &[Kind::String, Kind::Array])],
        Endpoint::Moderations => &[("input", &[Kind::String, Kind::Array, Kind::Object])],
    };
    for (name, kinds) in content {
        match top.field(name) {
            Some(field) if kinds.contains(&field.kind) => {}
            Some(field) => return Err(wrong_type(name, kinds[0].as_str(), field)),
            None if *name == "prompt" => {}
            None => return Err(missing(name)),
        }
    }
    Ok(RequestFacts { model, delivery, usage_wanted, form: StreamForm::Events })
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

fn missing(param: &str) -> Failure {
    Failure::invalid_request(
        "missing_required_parameter",
        Some(param),
        format!("Missing required parameter: '{param}'."),
    )
}

fn wrong_type(param: &str, expected: &str, field: &Field) -> Failure {
    let got = field.kind.as_str();
    let message = format!("Invalid type for '{param}': expected {expected}, but got {got} instead.");
    Failure::invalid_request("invalid_type", Some(param), message)
}

fn invalid(param: &str, problem: &str) -> Failure {
    Failure::invalid_request("invalid_value", Some(param), format!("Invalid value: '{param}' {problem}."))
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    message: String,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
    fault: &'static str,
}

/// Writes a failure as `{"error":{message,type,param,code,fault}}`; the message ends with the call's id.
pub fn error_body(failure: &Failure, call_id: &str) -> Bytes {
    let body = ErrorBody {
        error: ErrorObject {
            message: format!("{} (request id: {call_id})", failure.message),
            r#type: &failure.kind,
            param: failure.param.as_deref(),
            code: &failure.code,
            fault: failure.fault.as_str(),
        },
    };
    serde_json::to_vec(&body).unwrap_or_default().into()
}

/// Explains a provider's error body: OpenAI's own shape, or whatever its imitators send.
pub fn failure(status: u16, body: &[u8]) -> Failure {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let error = match &value["error"] {
        serde_json::Value::Null => &value,
        error => error,
    };
    let text = |v: &serde_json::Value| match v {
        serde_json::Value::String(s) if !s.is_empty() => Some(s.clone()),
        serde_json::Value::Number(n) => Some(n.to_string()),
        _ => None,
    };
    let message = text(error)
        .or_else(|| ["message", "msg", "err", "error_msg", "detail"].iter().find_map(|key| text(&error[key])))
        .or_else(|| text(&value["header"]["message"]))
        .or_else(|| text(&value["response"]["error"]["message"]));
    let mut failure = Failure::upstream_status(
        status,
        message.unwrap_or_else(|| format!("The provider answered with status {status} and no explanation.")),
    );
    if let Some(kind) = text(&error["type"]) {
        failure.kind = kind;
    }
    if let Some(code) = text(&error["code"]) {
        failure.code = code;
    }
    failure.param = text(&error["param"]);
    failure
}

/// An error that a provider reports inside a good status.
pub(crate) fn failure_inside(raw: &[u8]) -> Failure {
    let wrapped = [b"{\"error\":".as_slice(), raw, b"}"].concat();
    let mut failure = failure(502, &wrapped);
    // Some put the status into `code`; it says more than our 502 does.
    if let Ok(status @ 400..=599) = failure.code.parse::<u16>() {
        let fitting = Failure::upstream_status(status, String::new());
        (failure.status, failure.fault, failure.next) = (fitting.status, fitting.fault, fitting.next);
    }
    if failure.fault == Fault::Upstream && failure.next == Next::Failover {
        failure.next = Next::FailoverUncertain;
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::Scanner;

    fn facts(endpoint: Endpoint, body: &str) -> Result<RequestFacts, Failure> {
        let mut scanner = Scanner::new(REQUEST);
        scanner.push(body.as_bytes()).expect("valid JSON");
        request_facts(endpoint, &scanner.finish().expect("complete"))
    }

    #[test]
    fn a_request_says_its_model_and_how_it_wants_the_answer() {
        let body = r#"{"model":"gpt\u002d4","messages":[],"stream":true,"stream_options":{"include_usage":true,"x":1}}"#;
        let facts = facts(Endpoint::ChatCompletions, body).expect("valid");
        assert_eq!(
            (facts.model.as_str(), facts.delivery, facts.usage_wanted),
            ("gpt-4", Delivery::Stream, true)
        );
    }

    #[test]
    fn wrong_types_name_the_parameter() {
        for (body, param, code) in [
            (r#"{"messages":[]}"#, "model", "missing_required_parameter"),
            (r#"{"model":5,"messages":[]}"#, "model", "invalid_type"),
            (r#"{"model":"","messages":[]}"#, "model", "invalid_value"),
            (r#"{"model":"m"}"#, "messages", "missing_required_parameter"),
            (r#"{"model":"m","messages":"hi"}"#, "messages", "invalid_type"),
            (r#"{"model":"m","messages":[],"stream":"yes"}"#, "stream", "invalid_type"),
            (r#"{"model":"m","messages":[],"stream_options":3}"#, "stream_options", "invalid_type"),
            (
                r#"{"model":"m","messages":[],"stream_options":{"include_usage":3}}"#,
                "stream_options.include_usage",
                "invalid_value",
            ),
        ] {
            let failure = facts(Endpoint::ChatCompletions, body).expect_err(body);
            assert_eq!((failure.param.as_deref(), failure.code.as_str()), (Some(param), code), "{body}");
            assert_eq!((failure.status, failure.fault), (400, Fault::Client));
        }
        assert!(facts(Endpoint::Embeddings, r#"{"model":"m","input":"x","stream":true}"#).is_err());
        assert!(facts(Endpoint::Moderations, r#"{"input":"x"}"#).is_ok());
    }

    #[test]
    fn error_bodies_of_every_make_are_explained() {
        for (status, body, message, code) in [
            (
                429,
                r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
                "slow down",
                "rate_limit_exceeded",
            ),
            (400, r#"{"error":"bad"}"#, "bad", "bad_response_status_code"),
            (500, r#"{"msg":"oops","code":17}"#, "oops", "17"),
            (
                500,
                "<html>",
                "The provider answered with status 500 and no explanation.",
                "bad_response_status_code",
            ),
            (503, r#"{"header":{"message":"deep"}}"#, "deep", "bad_response_status_code"),
        ] {
            let failure = failure(status, body.as_bytes());
            assert_eq!((failure.message.as_str(), failure.code.as_str()), (message, code));
            assert_eq!(failure.status, status);
        }
    }
}
