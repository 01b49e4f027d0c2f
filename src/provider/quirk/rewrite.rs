//! Where the passing body changes for a quirk: edits on the scan of its top level.

use bytes::Bytes;
use penstock_actors::domain::Delivery;

use super::Quirk;
use crate::{
    dialect::openai,
    provider::{Ask, Edit},
    wire::json::{Field, Kind, Scanner, TopLevel},
};

/// Adds the edits of the channel's quirks; with those of others they are disjoint, and not yet in order.
pub(in crate::provider) fn edits(ask: &Ask<'_>, top: &TopLevel, edits: &mut Vec<Edit>) {
    let mut dropped = Vec::new();
    for quirk in ask.quirks {
        match quirk {
            Quirk::RequestStreamUsage => edits.extend(request_usage(ask, top)),
            Quirk::DropStreamOptions => dropped.extend(top.field("stream_options")),
            Quirk::MaxTokensOnly => match (top.field("max_completion_tokens"), top.field("max_tokens")) {
                (Some(field), None) => edits.push(renamed(field, "max_tokens")),
                (Some(field), Some(_)) => dropped.push(field),
                (None, _) => {}
            },
            Quirk::RandomSeed => edits.extend(top.field("seed").map(|f| renamed(f, "random_seed"))),
            Quirk::ClampTemperature => edits.extend(top.field("temperature").and_then(clamped)),
            Quirk::SystemForDeveloper if ask.endpoint.is_chat() => {
                let system = Bytes::from_static(b"\"system\"");
                edits.extend(top.inner.iter().map(|&(start, end)| Edit { start, end, with: system.clone() }));
            }
            Quirk::SystemForDeveloper => {}
            // These are of answers.
            Quirk::SplitThinkTags | Quirk::ThinkTagOpened | Quirk::MergeReasoning => {}
            // These are of what is written for the channel, before it is edited.
            Quirk::EmulateTools | Quirk::FetchMedia => {}
            Quirk::DropUser => dropped.extend(fields(top, ["user", "safety_identifier"])),
            Quirk::DropStore => dropped.extend(top.field("store")),
            Quirk::DropMetadata => dropped.extend(top.field("metadata")),
            Quirk::DropCacheHints => {
                dropped.extend(fields(top, ["prompt_cache_key", "prompt_cache_retention"]));
            }
        }
    }
    if !dropped.is_empty() {
        drop_members(dropped, edits);
    }
}

/// Applies the channel's quirks to a body that was written for it.
pub(in crate::provider) fn apply(ask: &Ask<'_>, body: Bytes) -> Bytes {
    let mut scanner = Scanner::new(openai::REQUEST);
    let Ok(top) = scanner.push(&body).and_then(|()| scanner.finish()) else { return body };
    // Usage is asked for here, whatever the client's own dialect says of it.
    let ask = Ask { usage_wanted: false, ..*ask };
    let mut all = Vec::new();
    edits(&ask, &top, &mut all);
    if all.is_empty() {
        return body;
    }
    all.sort_by_key(|e| (e.start, e.end));
    let mut out = Vec::with_capacity(body.len() + 64);
    let mut from = 0;
    for edit in all {
        out.extend_from_slice(&body[from..edit.start as usize]);
        out.extend_from_slice(&edit.with);
        from = edit.end as usize;
    }
    out.extend_from_slice(&body[from..]);
    out.into()
}

fn fields<'a>(top: &'a TopLevel, names: [&'a str; 2]) -> impl Iterator<Item = &'a Field> {
    names.into_iter().filter_map(|name| top.field(name))
}

/// Asks for usage in a stream, keeping the client's other stream options.
fn request_usage(ask: &Ask<'_>, top: &TopLevel) -> Option<Edit> {
    if ask.delivery != Delivery::Stream || ask.usage_wanted {
        return None;
    }
    const ASKED: &[u8] = b"{\"include_usage\":true}";
    match top.field("stream_options") {
        None => {
            let member = [b"\"stream_options\":".as_slice(), ASKED, b","].concat();
            Some(Edit { start: top.first_member, end: top.first_member, with: member.into() })
        }
        Some(field) => {
            let with = match serde_json::from_slice::<serde_json::Map<_, _>>(&field.raw) {
                Ok(mut options) if field.kind == Kind::Object => {
                    options.insert("include_usage".to_owned(), true.into());
                    serde_json::to_vec(&options).unwrap_or_default().into()
                }
                _ => Bytes::from_static(ASKED),
            };
            Some(Edit { start: field.start, end: field.end, with })
        }
    }
}

/// Gives a member another key.
fn renamed(field: &Field, key: &str) -> Edit {
    Edit { start: field.key, end: field.start, with: format!("\"{key}\":").into() }
}

/// Brings a number above 1 down to it; anything else is the provider's to judge.
fn clamped(field: &Field) -> Option<Edit> {
    let number: f64 = std::str::from_utf8(&field.raw).ok()?.parse().ok()?;
    let too_much = field.kind == Kind::Number && number > 1.0;
    too_much.then(|| Edit { start: field.start, end: field.end, with: Bytes::from_static(b"1") })
}

/// Takes members out, neighbours together, each with one of the commas around it.
fn drop_members(mut fields: Vec<&Field>, edits: &mut Vec<Edit>) {
    fields.sort_by_key(|f| f.key);
    let are_neighbours = |a: &&Field, b: &&Field| a.comma_after.is_some() && a.comma_after == b.comma_before;
    for run in fields.chunk_by(are_neighbours) {
        let ([first, ..], [.., last]) = (run, run) else { continue };
        let (start, end) = match (first.comma_before, last.comma_after) {
            (Some(comma), _) => (comma, last.end),
            (None, Some(comma)) => (first.key, comma + 1),
            (None, None) => (first.key, last.end),
        };
        edits.push(Edit { start, end, with: Bytes::new() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{StreamForm, media::Fetched};
    use crate::{
        dialect::{Dialect, openai::REQUEST},
        provider::{Adapter as _, AskBody, UpstreamBody, openai::OpenAi},
        wire::json::Scanner,
    };
    use penstock_actors::domain::Endpoint;

    /// What goes out for `body` where `quirks` are on.
    fn sent(body: &str, quirks: &[Quirk]) -> String {
        let mut scanner = Scanner::new(REQUEST);
        scanner.push(body.as_bytes()).expect("valid");
        let top = scanner.finish().expect("complete");
        let stream = top.field("stream").is_some_and(|f| f.raw == b"true");
        let ask = Ask {
            endpoint: Endpoint::ChatCompletions,
            face: Dialect::OpenAi,
            model: "m",
            upstream_model: "m",
            delivery: if stream { Delivery::Stream } else { Delivery::Whole },
            usage_wanted: false,
            quirks,
            params: &[],
            max_event: 1 << 20,
            created: 0,
            call_id: "c",
            form: StreamForm::Events,
            echo: None,
            tools: &[],
            media: Fetched::NONE,
        };
        let request = OpenAi.request(&ask, AskBody::Scan(&top)).expect("a request");
        let UpstreamBody::Edited(edits) = request.body else { panic!("edits") };
        let (mut out, mut at) = (String::new(), 0);
        for edit in edits {
            assert!(edit.start as usize >= at && edit.end >= edit.start, "in order and disjoint: {body}");
            out.push_str(&body[at..edit.start as usize]);
            out.push_str(std::str::from_utf8(&edit.with).expect("text"));
            at = edit.end as usize;
        }
        out + &body[at..]
    }

    #[test]
    fn each_quirk_changes_what_it_names() {
        for (quirk, body, wanted) in [
            (
                Quirk::RequestStreamUsage,
                r#"{"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                Quirk::DropStreamOptions,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
                r#"{"model":"m","stream":true}"#,
            ),
            (
                Quirk::MaxTokensOnly,
                r#"{"model":"m", "max_completion_tokens" : 5 }"#,
                r#"{"model":"m", "max_tokens":5 }"#,
            ),
            (
                Quirk::MaxTokensOnly,
                r#"{"max_completion_tokens":5,"model":"m","max_tokens":7}"#,
                r#"{"model":"m","max_tokens":7}"#,
            ),
            (Quirk::MaxTokensOnly, r#"{"model":"m","max_tokens":7}"#, r#"{"model":"m","max_tokens":7}"#),
            (Quirk::RandomSeed, r#"{"seed":-1,"model":"m"}"#, r#"{"random_seed":-1,"model":"m"}"#),
            (
                Quirk::ClampTemperature,
                r#"{"model":"m","temperature":1.5}"#,
                r#"{"model":"m","temperature":1}"#,
            ),
            (
                Quirk::ClampTemperature,
                r#"{"model":"m","temperature":2e0}"#,
                r#"{"model":"m","temperature":1}"#,
            ),
            (
                Quirk::ClampTemperature,
                r#"{"model":"m","temperature":1.0}"#,
                r#"{"model":"m","temperature":1.0}"#,
            ),
            (
                Quirk::ClampTemperature,
                r#"{"model":"m","temperature":"2"}"#,
                r#"{"model":"m","temperature":"2"}"#,
            ),
            (
                Quirk::ClampTemperature,
                r#"{"model":"m","temperature":null}"#,
                r#"{"model":"m","temperature":null}"#,
            ),
            (
                Quirk::SystemForDeveloper,
                r#"{"messages":[{"role":"developer","content":"developer"},{"role":"user"}],"model":"m"}"#,
                r#"{"messages":[{"role":"system","content":"developer"},{"role":"user"}],"model":"m"}"#,
            ),
            (
                Quirk::DropUser,
                r#"{"user":"u","model":"m","safety_identifier":"s","x":1}"#,
                r#"{"model":"m","x":1}"#,
            ),
            (Quirk::DropStore, r#"{"model":"m","store":false}"#, r#"{"model":"m"}"#),
            (Quirk::DropMetadata, r#"{"model":"m","metadata":{"a":[1,{}]},"x":1}"#, r#"{"model":"m","x":1}"#),
            (
                Quirk::DropCacheHints,
                r#"{"prompt_cache_key":"k","prompt_cache_retention":"24h","model":"m"}"#,
                r#"{"model":"m"}"#,
            ),
        ] {
            assert_eq!(sent(body, &[quirk]), wanted, "{}", quirk.name());
        }
    }

    #[test]
    fn a_body_without_what_a_quirk_names_passes_unchanged() {
        let body = r#"{ "model" : "m", "messages":[{"role":"user","content":"developer"}], "x":{"user":1} }"#;
        for quirk in Quirk::ALL {
            assert_eq!(sent(body, &[quirk]), body, "{}", quirk.name());
        }
    }

    #[test]
    fn members_are_dropped_from_any_place_and_the_rest_stays_valid() {
        const DROPS: &[Quirk] =
            &[Quirk::DropUser, Quirk::DropStore, Quirk::DropMetadata, Quirk::DropCacheHints];
        const MEMBERS: [&str; 5] =
            [r#""user":"u""#, r#""store" : true"#, r#""model":"m""#, r#""metadata":{}"#, r#""x":[1,2]"#];
        // Every order of every choice of members that holds the model.
        let mut orders: Vec<Vec<&str>> = vec![vec![]];
        for _ in 0..MEMBERS.len() {
            let longer: Vec<_> = orders
                .iter()
                .flat_map(|o| {
                    MEMBERS.iter().filter(|m| !o.contains(m)).map(|m| [o.as_slice(), &[m]].concat())
                })
                .collect();
            orders.extend(longer);
        }
        orders.retain(|order| order.contains(&MEMBERS[2]));
        for order in orders {
            let kept: Vec<_> = order.iter().filter(|m| m.contains("model") || m.contains('x')).collect();
            for (open, comma, close) in [("{", ",", "}"), ("{ ", " ,\n", " }")] {
                let body = format!("{open}{}{close}", order.join(comma));
                let out: serde_json::Value = serde_json::from_str(&sent(&body, DROPS)).expect(&body);
                assert_eq!(out.as_object().map(serde_json::Map::len), Some(kept.len()), "{body}");
            }
        }
    }

    #[test]
    fn quirks_work_together() {
        const MANY: &[Quirk] = &[
            Quirk::MaxTokensOnly,
            Quirk::SystemForDeveloper,
            Quirk::DropUser,
            Quirk::RequestStreamUsage,
            Quirk::RandomSeed,
        ];
        let body = r#"{"user":"u","seed":1,"max_completion_tokens":2,"messages":[{"role":"developer"}],"stream":true,"model":"m"}"#;
        let wanted = r#"{"stream_options":{"include_usage":true},"random_seed":1,"max_tokens":2,"messages":[{"role":"system"}],"stream":true,"model":"m"}"#;
        assert_eq!(sent(body, MANY), wanted);
    }
}
