//! What each pair of dialects can carry: found out by having the adapters write requests, not by hand.

use std::fmt::Write as _;

use penstock_actors::domain::Delivery;

use crate::{
    dialect::{
        Dialect, StreamForm,
        media::{Fetched, Kind, Medium},
    },
    provider::{Ask, AskBody, BodyNeed, Endpoint, UpstreamBody, convert, row},
};

const HEAD: &str = "\
# What dialects carry

Made by `penstock docs dialects`: each cell is the answer of the adapter that serves such a call.

A client speaks one of four dialects; a channel's provider speaks one too. Where both are the same, bytes pass
unchanged but for the model's name. Otherwise a request is read into one model of a conversation and written in
the provider's dialect, and its answer comes back the same way, event by event.

- **yes**: the provider is told.
- **as bytes**: the provider fetches nothing itself, so Penstock does and sends it the bytes (see [Media](media.md)).
- **left out**: the provider's dialect has no place for it; it is a hint, and the answer means the same without.
- **refused**: without it the answer would mean something else, so the call goes to another channel, or the client
  is told which parameter it was.
- *empty*: clients of this dialect cannot say it.
";

/// Something that a request may say: its name, a text that must reach the provider, and the member that says it
/// for clients of each dialect, in the order of [`FACES`]. What begins with `[` takes the messages' place.
struct Probe(&'static str, &'static str, [&'static str; 4]);

const FACES: [(Dialect, Endpoint); 4] = [
    (Dialect::OpenAi, Endpoint::ChatCompletions),
    (Dialect::AnthropicMessages, Endpoint::Messages),
    (Dialect::Gemini, Endpoint::GenerateContent),
    (Dialect::OpenAiResponses, Endpoint::Responses),
];

const PROBES: [Probe; 31] = [
    Probe(
        "text",
        "MARKTEXT",
        [
            r#"[{"role":"user","content":"MARKTEXT"}]"#,
            r#"[{"role":"user","content":"MARKTEXT"}]"#,
            r#"[{"role":"user","parts":[{"text":"MARKTEXT"}]}]"#,
            r#"[{"role":"user","content":"MARKTEXT"}]"#,
        ],
    ),
    Probe(
        "instructions",
        "MARKSYSTEM",
        [
            r#"[{"role":"system","content":"MARKSYSTEM"},{"role":"user","content":"a"}]"#,
            r#""system":"MARKSYSTEM""#,
            r#""systemInstruction":{"parts":[{"text":"MARKSYSTEM"}]}"#,
            r#""instructions":"MARKSYSTEM""#,
        ],
    ),
    Probe(
        "image by its bytes",
        "TUFSSw==",
        [
            r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,TUFSSw=="}}]}]"#,
            r#"[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"TUFSSw=="}}]}]"#,
            r#"[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"TUFSSw=="}}]}]"#,
            r#"[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,TUFSSw=="}]}]"#,
        ],
    ),
    Probe(
        "image by its address",
        "https://x/MARK.png",
        [
            r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/MARK.png"}}]}]"#,
            r#"[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x/MARK.png"}}]}]"#,
            r#"[{"role":"user","parts":[{"fileData":{"mimeType":"image/png","fileUri":"https://x/MARK.png"}}]}]"#,
            r#"[{"role":"user","content":[{"type":"input_image","image_url":"https://x/MARK.png"}]}]"#,
        ],
    ),
    Probe(
        "PDF by its bytes",
        "TUFSSw==",
        [
            r#"[{"role":"user","content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,TUFSSw==","filename":"f"}}]}]"#,
            r#"[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"TUFSSw=="}}]}]"#,
            r#"[{"role":"user","parts":[{"inlineData":{"mimeType":"application/pdf","data":"TUFSSw=="}}]}]"#,
            r#"[{"role":"user","content":[{"type":"input_file","file_data":"data:application/pdf;base64,TUFSSw==","filename":"f"}]}]"#,
        ],
    ),
    Probe(
        "PDF by its address",
        "https://x/MARK.pdf",
        [
            "",
            r#"[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://x/MARK.pdf"}}]}]"#,
            r#"[{"role":"user","parts":[{"fileData":{"mimeType":"application/pdf","fileUri":"https://x/MARK.pdf"}}]}]"#,
            r#"[{"role":"user","content":[{"type":"input_file","file_url":"https://x/MARK.pdf"}]}]"#,
        ],
    ),
    Probe(
        "audio",
        "TUFSSw==",
        [
            r#"[{"role":"user","content":[{"type":"input_audio","input_audio":{"format":"wav","data":"TUFSSw=="}}]}]"#,
            "",
            r#"[{"role":"user","parts":[{"inlineData":{"mimeType":"audio/wav","data":"TUFSSw=="}}]}]"#,
            "",
        ],
    ),
    Probe(
        "functions",
        "mark_tool",
        [
            r#""tools":[{"type":"function","function":{"name":"mark_tool","parameters":{"type":"object"}}}]"#,
            r#""tools":[{"name":"mark_tool","input_schema":{"type":"object"}}]"#,
            r#""tools":[{"functionDeclarations":[{"name":"mark_tool","parameters":{"type":"OBJECT"}}]}]"#,
            r#""tools":[{"type":"function","name":"mark_tool","parameters":{"type":"object"}}]"#,
        ],
    ),
    Probe(
        "the provider's own tools",
        "web_search",
        [
            r#""tools":[{"type":"custom","custom":{"name":"web_search"}}]"#,
            r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#,
            r#""tools":[{"googleSearch":{}}]"#,
            r#""tools":[{"type":"web_search"}]"#,
        ],
    ),
    Probe(
        "a tool that must be called",
        "tool_choice|ANY|toolChoice",
        [
            r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required""#,
            r#""tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}"#,
            r#""tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}"#,
            r#""tools":[{"type":"function","name":"f"}],"tool_choice":"required""#,
        ],
    ),
    Probe(
        "no calls at once",
        "parallel_tool",
        [
            r#""tools":[{"type":"function","function":{"name":"f"}}],"parallel_tool_calls":false"#,
            r#""tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#,
            "",
            r#""tools":[{"type":"function","name":"f"}],"parallel_tool_calls":false"#,
        ],
    ),
    Probe(
        "results of parallel calls",
        "MARKTWO",
        [
            r#"[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"2","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"MARKONE"},{"role":"tool","tool_call_id":"2","content":"MARKTWO"}]"#,
            r#"[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{}},{"type":"tool_use","id":"2","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"MARKONE"},{"type":"tool_result","tool_use_id":"2","content":"MARKTWO"}]}]"#,
            r#"[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}},{"functionCall":{"name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"MARKONE"}}},{"functionResponse":{"name":"f","response":{"output":"MARKTWO"}}}]}]"#,
            r#"[{"role":"user","content":"a"},{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call","call_id":"2","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"MARKONE"},{"type":"function_call_output","call_id":"2","output":"MARKTWO"}]"#,
        ],
    ),
    Probe(
        "that a tool failed",
        "error",
        [
            "",
            r#"[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"no","is_error":true}]}]"#,
            r#"[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"error":"no"}}}]}]"#,
            "",
        ],
    ),
    Probe(
        "reasoning effort",
        "effort|\"think",
        [
            r#""reasoning_effort":"high""#,
            r#""output_config":{"effort":"high"}"#,
            r#""generationConfig":{"thinkingConfig":{"thinkingLevel":"HIGH"}}"#,
            r#""reasoning":{"effort":"high"}"#,
        ],
    ),
    Probe(
        "a budget of reasoning",
        "2048",
        [
            "",
            r#""thinking":{"type":"enabled","budget_tokens":2048}"#,
            r#""generationConfig":{"thinkingConfig":{"thinkingBudget":2048}}"#,
            "",
        ],
    ),
    Probe(
        "JSON by a schema",
        "mark_field",
        [
            r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"mark_field":{}}}}}"#,
            r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"mark_field":{}}}}}"#,
            r#""generationConfig":{"responseMimeType":"application/json","responseSchema":{"type":"OBJECT","properties":{"mark_field":{"type":"STRING"}}}}"#,
            r#""text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object","properties":{"mark_field":{}}}}}"#,
        ],
    ),
    Probe(
        "JSON without a schema",
        "json",
        [
            r#""response_format":{"type":"json_object"}"#,
            "",
            r#""generationConfig":{"responseMimeType":"application/json"}"#,
            r#""text":{"format":{"type":"json_object"}}"#,
        ],
    ),
    Probe(
        "a limit of tokens",
        "777",
        [
            r#""max_tokens":777"#,
            r#""max_tokens":777"#,
            r#""generationConfig":{"maxOutputTokens":777}"#,
            r#""max_output_tokens":777"#,
        ],
    ),
    Probe(
        "temperature",
        "0.4375",
        [
            r#""temperature":0.4375"#,
            r#""temperature":0.4375"#,
            r#""generationConfig":{"temperature":0.4375}"#,
            r#""temperature":0.4375"#,
        ],
    ),
    Probe(
        "top_p",
        "0.4375",
        [
            r#""top_p":0.4375"#,
            r#""top_p":0.4375"#,
            r#""generationConfig":{"topP":0.4375}"#,
            r#""top_p":0.4375"#,
        ],
    ),
    Probe("top_k", "37", ["", r#""top_k":37"#, r#""generationConfig":{"topK":37}"#, ""]),
    Probe(
        "stops",
        "MARKSTOP",
        [
            r#""stop":["MARKSTOP"]"#,
            r#""stop_sequences":["MARKSTOP"]"#,
            r#""generationConfig":{"stopSequences":["MARKSTOP"]}"#,
            "",
        ],
    ),
    Probe("seed", "4242", [r#""seed":4242"#, "", r#""generationConfig":{"seed":4242}"#, ""]),
    Probe(
        "penalties",
        "0.4375",
        [r#""presence_penalty":0.4375"#, "", r#""generationConfig":{"presencePenalty":0.4375}"#, ""],
    ),
    Probe(
        "likelihoods",
        "ogprobs",
        [
            r#""logprobs":true,"top_logprobs":2"#,
            "",
            r#""generationConfig":{"responseLogprobs":true,"logprobs":2}"#,
            r#""top_logprobs":2"#,
        ],
    ),
    Probe("several answers", "MARK", [r#""n":2"#, "", r#""generationConfig":{"candidateCount":2}"#, ""]),
    Probe(
        "cache hints",
        "ephemeral|cachePoint",
        [
            r#"[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]"#,
            r#"[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]"#,
            "",
            "",
        ],
    ),
    Probe(
        "service tier",
        "service_tier|serviceTier",
        [
            r#""service_tier":"default""#,
            r#""service_tier":"standard_only""#,
            "",
            r#""service_tier":"default""#,
        ],
    ),
    Probe(
        "the end user's name",
        "mark-user",
        [r#""user":"mark-user""#, r#""metadata":{"user_id":"mark-user"}"#, "", r#""user":"mark-user""#],
    ),
    Probe("verbosity", "verbosity", [r#""verbosity":"low""#, "", "", r#""text":{"verbosity":"low"}"#]),
    Probe(
        "fields nobody knows",
        "mark_unknown",
        [r#""mark_unknown":1"#, r#""mark_unknown":1"#, r#""mark_unknown":1"#, r#""mark_unknown":1"#],
    ),
];

/// The page `docs/dialects.md`.
pub fn dialects() -> String {
    let mut page = HEAD.to_owned();
    for (n, (face, endpoint)) in FACES.into_iter().enumerate() {
        // Writing to a text cannot fail.
        let _ = write!(page, "\n## Clients of {} (`{}`)\n\n| |", face.name(), endpoint.as_str());
        for upstream in Dialect::ALL {
            let _ = write!(page, " {} |", upstream.name());
        }
        page.push_str("\n|---|");
        page.push_str(&"---|".repeat(Dialect::ALL.len()));
        page.push('\n');
        for Probe(name, marker, said) in &PROBES {
            let _ = write!(page, "| {name} |");
            for upstream in Dialect::ALL {
                let _ = match said[n] {
                    "" => write!(page, " |"),
                    said => write!(page, " {} |", carried(face, endpoint, upstream, said, marker)),
                };
            }
            page.push('\n');
        }
    }
    page
}

/// Whether a provider is told what a client says.
fn carried(face: Dialect, endpoint: Endpoint, upstream: Dialect, said: &str, marker: &str) -> &'static str {
    let ask = Ask {
        endpoint,
        face,
        model: "m",
        upstream_model: "claude-sonnet-4-5",
        delivery: Delivery::Whole,
        usage_wanted: false,
        quirks: &[],
        params: &[],
        max_event: 1 << 20,
        created: 0,
        call_id: "",
        form: StreamForm::Events,
        echo: None,
        tools: &[],
        media: Fetched::NONE,
    };
    let said_body = body(face, said);
    if row::may_want_bytes(upstream, face, &[])
        && let Ok(found) = convert::addresses(upstream, face, &[], said_body.as_bytes())
        && !found.is_empty()
    {
        let mut media = Fetched::default();
        for address in found {
            let media_type = if address.kind == Kind::Image { "image/png" } else { "application/pdf" };
            media.insert(address.url, Medium { media_type: media_type.to_owned(), data: "QQ==".to_owned() });
        }
        let ask = Ask { media: &media, ..ask };
        let written = row::converter(upstream).request(&ask, AskBody::Whole(said_body.as_bytes()));
        return if written.is_ok() { "as bytes" } else { "refused" };
    }
    let adapter = row::adapter(upstream, face);
    if adapter.body_need(&ask) == BodyNeed::Scan {
        return "yes";
    }
    match adapter.request(&ask, AskBody::Whole(said_body.as_bytes())) {
        Err(_) => "refused",
        Ok(request) => {
            let UpstreamBody::Whole(written) = request.body else { return "yes" };
            let written = String::from_utf8_lossy(&written);
            let told = marker.split('|').any(|marker| written.contains(marker));
            if told { "yes" } else { "left out" }
        }
    }
}

/// A request that says something.
fn body(face: Dialect, said: &str) -> String {
    let (messages, more) = match said.starts_with('[') {
        true => (said, ""),
        false => match face {
            Dialect::Gemini => (r#"[{"role":"user","parts":[{"text":"a"}]}]"#, said),
            _ => (r#"[{"role":"user","content":"a"}]"#, said),
        },
    };
    let (before, limit) = match face {
        Dialect::Gemini => ("\"contents\":", ""),
        Dialect::OpenAiResponses => ("\"model\":\"m\",\"input\":", ""),
        Dialect::AnthropicMessages if !more.contains("max_tokens") => {
            ("\"model\":\"m\",\"messages\":", ",\"max_tokens\":4096")
        }
        _ => ("\"model\":\"m\",\"messages\":", ""),
    };
    let comma = if more.is_empty() { "" } else { "," };
    format!("{{{before}{messages}{limit}{comma}{more}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_repository_is_what_the_command_prints() {
        assert_eq!(
            include_str!("../../docs/dialects.md"),
            dialects(),
            "run `penstock docs dialects > docs/dialects.md`"
        );
    }

    #[test]
    fn what_every_pair_must_carry_is_carried() {
        let always = [
            "text",
            "instructions",
            "image by its bytes",
            "functions",
            "results of parallel calls",
            "JSON by a schema",
            "a limit of tokens",
        ];
        for Probe(name, marker, said) in PROBES.iter().filter(|probe| always.contains(&probe.0)) {
            for (n, (face, endpoint)) in FACES.into_iter().enumerate() {
                for (upstream, _) in FACES {
                    let got = carried(face, endpoint, upstream, said[n], marker);
                    assert_eq!(got, "yes", "{name} from {} to {}", face.name(), upstream.name());
                }
            }
        }
    }
}
