//! What a call costs whose client speaks one dialect and whose provider speaks another: every pair, in one Penstock.
//!
//! The upstream is `penstock mock`, which speaks all of them. A pair of equal dialects passes bytes through.

use super::load;
use super::process::Place;
use super::scenario::{Ask, Scenario, answer, odd, prompt};
use super::settings::{Settings, UpstreamKind};
use super::stats::Spread;
use super::target::{Target, Upstream};
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Tokens of an answer, each a frame of the provider's stream.
const TOKENS: u64 = 200;
/// Bytes of a prompt.
const PROMPT: usize = 2048;
/// Calls in flight.
const CONNECTIONS: usize = 16;
/// Longest window.
const WINDOW: Duration = Duration::from_millis(600);

const ACCOUNT: &str = include_str!("../../src/mock/foreign/service-account.json");
const KEYS: &str = "AKIDEXAMPLE|penstock-mock-secret";

/// A provider that speaks a dialect of its own.
struct Row {
    provider: &'static str,
    shows: Shows,
    /// What its address has behind host and port.
    path: &'static str,
    /// Its own name for the model.
    model: &'static str,
    /// What a channel needs beside that.
    more: &'static str,
}

const USUAL: Row =
    Row { provider: "", shows: Shows::Secret("sk-mock"), path: "", model: "model-1", more: "" };
const PROJECT: &str = "params = { project = \"penstock-mock\", region = \"eu\" }\n";
const REGION: &str = "params = { region = \"us-east-1\" }\n";

/// Every dialect that is streamed. DeepL and PaLM answer whole, in a few words.
const ROWS: [Row; 21] = [
    Row { provider: "openai", ..USUAL },
    Row { provider: "openai-responses", ..USUAL },
    Row { provider: "anthropic", ..USUAL },
    Row { provider: "gemini", ..USUAL },
    Row { provider: "vertex", shows: Shows::Account, more: PROJECT, ..USUAL },
    Row { provider: "vertex-claude", shows: Shows::Account, more: PROJECT, ..USUAL },
    Row { provider: "bedrock", shows: Shows::Secret(KEYS), more: REGION, ..USUAL },
    Row { provider: "bedrock-claude", shows: Shows::Secret(KEYS), more: REGION, ..USUAL },
    Row { provider: "cohere", ..USUAL },
    Row { provider: "ollama-native", ..USUAL },
    Row { provider: "dashscope-native", ..USUAL },
    Row { provider: "hunyuan", shows: Shows::Secret(KEYS), ..USUAL },
    Row { provider: "dify", ..USUAL },
    Row { provider: "coze", model: "bot-7381", ..USUAL },
    Row { provider: "cohere-v1", ..USUAL },
    Row {
        provider: "wenxin",
        shows: Shows::Secret("mock-api-key|penstock-mock-secret"),
        model: "ERNIE-4.0-8K",
        ..USUAL
    },
    Row { provider: "zhipu-v3", shows: Shows::Secret("mock-id.penstock-mock-secret"), ..USUAL },
    Row {
        provider: "cloudflare-run",
        path: "/client/v4/accounts/mock/ai",
        model: "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
        more: "params = { account = \"mock\" }\n",
        ..USUAL
    },
    Row { provider: "aiproxy-library", more: "params = { library_id = \"lib-1\" }\n", ..USUAL },
    Row { provider: "replicate", model: "meta/meta-llama-3-8b-instruct", ..USUAL },
    Row {
        provider: "spark-websocket",
        shows: Shows::Secret("mock-app|penstock-mock-secret|mock-key"),
        model: "Spark-Max",
        ..USUAL
    },
];

/// What a provider wants to be shown.
#[derive(Clone, Copy)]
enum Shows {
    Secret(&'static str),
    /// A service account, for which the mock gives tokens.
    Account,
}

/// A client's dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Face {
    OpenAi,
    Responses,
    Anthropic,
    Gemini,
}

const FACES: [Face; 4] = [Face::OpenAi, Face::Responses, Face::Anthropic, Face::Gemini];

/// One pair, and what it cost.
pub struct Conversion {
    face: Face,
    provider: &'static str,
    /// Microseconds a call, by round.
    call: Vec<f64>,
    /// Microseconds a token of a stream, by round.
    token: Vec<f64>,
}

/// Measures every pair in each round. Nothing where the settings leave it out, or where the upstream speaks one
/// dialect only.
pub fn measure(
    settings: &Settings,
    place: &Place,
    upstream: &Upstream,
) -> Result<Vec<Conversion>, Box<dyn Error>> {
    if settings.conversions == 0 || settings.upstream != UpstreamKind::Mock {
        return Ok(Vec::new());
    }
    let settings = Settings { seconds: settings.seconds.min(WINDOW), ..settings.clone() };
    let channels: String = ROWS.iter().map(|row| channel(row, upstream)).collect();
    let target = Target::start_penstock(&settings.penstock, "converting", place, upstream, &channels)?;
    let mut all: Vec<Conversion> = ROWS
        .iter()
        .flat_map(|row| FACES.map(|face| (face, row.provider)))
        .map(|(face, provider)| Conversion { face, provider, call: Vec::new(), token: Vec::new() })
        .collect();
    for round in 0..settings.conversions {
        for pair in &mut all {
            let cost = |streams| -> Result<f64, Box<dyn Error>> {
                let scenario = pair.face.scenario(pair.provider, streams);
                pair.face.check(&scenario.ask, streams, &target)?;
                let window = load::measure(&settings, &scenario, &target, None, upstream)?;
                Ok(window.per_unit(window.gateway.total()))
            };
            let (call, stream) = (cost(false)?, cost(true)?);
            eprintln!(
                "conversion {}/{}  {} over {}: {call:.1} µs a call, {stream:.1} µs a stream",
                round + 1,
                settings.conversions,
                pair.face.name(),
                pair.provider,
            );
            pair.call.push(call);
            pair.token.push(stream / TOKENS as f64);
        }
    }
    Ok(all)
}

fn channel(row: &Row, upstream: &Upstream) -> String {
    let Row { provider, shows, path, model, more } = row;
    let address = upstream.address;
    let credential = match shows {
        Shows::Secret(secret) => format!("\"{secret}\""),
        Shows::Account => {
            let mut account: serde_json::Value = serde_json::from_str(ACCOUNT).unwrap_or_default();
            account["token_uri"] = format!("http://{address}/token").into();
            format!("'{account}'")
        }
    };
    format!(
        "[[channel]]\nname = \"{provider}\"\nprovider = \"{provider}\"\nbase_url = \"http://{address}{path}\"\n\
         credential = {credential}\nmodels = [\"{provider}\"]\nmapping = {{ {provider} = \"{model}\" }}\n\
         headers = {{ x-penstock-mock-tokens = \"{TOKENS}\", x-penstock-mock-latency-ms = \"0\", \
         x-penstock-mock-ttft-ms = \"0\", x-penstock-mock-pace-ms = \"0\" }}\n{more}\n"
    )
}

impl Face {
    fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAI chat",
            Self::Responses => "OpenAI responses",
            Self::Anthropic => "Anthropic",
            Self::Gemini => "Gemini",
        }
    }

    fn scenario(self, model: &str, streams: bool) -> Scenario {
        let (text, brief) = (prompt(PROMPT), "Be brief.");
        let (path, body) = match self {
            Self::OpenAi => (
                "/v1/chat/completions".to_owned(),
                format!(
                    r#"{{"model":"{model}","stream":{streams},"messages":[{{"role":"system","content":"{brief}"}},{{"role":"user","content":"{text}"}}]}}"#
                ),
            ),
            Self::Responses => (
                "/v1/responses".to_owned(),
                format!(
                    r#"{{"model":"{model}","stream":{streams},"store":false,"instructions":"{brief}","input":[{{"role":"user","content":[{{"type":"input_text","text":"{text}"}}]}}]}}"#
                ),
            ),
            Self::Anthropic => (
                "/v1/messages".to_owned(),
                format!(
                    r#"{{"model":"{model}","stream":{streams},"max_tokens":1000,"system":"{brief}","messages":[{{"role":"user","content":"{text}"}}]}}"#
                ),
            ),
            Self::Gemini => (
                format!(
                    "/v1beta/models/{model}:{}",
                    if streams { "streamGenerateContent?alt=sse" } else { "generateContent" }
                ),
                format!(
                    r#"{{"systemInstruction":{{"parts":[{{"text":"{brief}"}}]}},"contents":[{{"role":"user","parts":[{{"text":"{text}"}}]}}]}}"#
                ),
            ),
        };
        Scenario {
            key: "conversion",
            title: String::new(),
            connections: CONNECTIONS,
            ask: Ask::of(path, body),
            frames: None,
            stagger: Duration::ZERO,
        }
    }

    /// Makes one call and looks whether its answer is whole and says something.
    fn check(self, ask: &Ask, streams: bool, target: &Target) -> Result<(), Box<dyn Error>> {
        let body = answer(ask, target)?;
        let is_right = if streams {
            let (end, piece) = match self {
                Self::OpenAi => ("data: [DONE]", "\"content\":"),
                Self::Responses => ("\"response.completed\"", "\"response.output_text.delta\""),
                Self::Anthropic => ("\"message_stop\"", "\"text_delta\""),
                Self::Gemini => ("\"finishReason\"", "\"text\":"),
            };
            let count = |wanted: &str| memchr::memmem::find_iter(&body, wanted).count() as u64;
            count(end) > 0 && count(piece) >= TOKENS / 2
        } else {
            let said = match self {
                Self::OpenAi => "/choices/0/message/content",
                Self::Responses => "/output/0/content/0/text",
                Self::Anthropic => "/content/0/text",
                Self::Gemini => "/candidates/0/content/parts/0/text",
            };
            let json: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
            let said = json.as_ref().and_then(|json| json.pointer(said)?.as_str());
            said.is_some_and(|text| text.len() as u64 >= TOKENS)
        };
        if is_right { Ok(()) } else { Err(odd(target, &body)) }
    }
}

/// The tables, in Markdown.
pub fn tables(f: &mut fmt::Formatter<'_>, all: &[Conversion]) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "\n## Conversions: processor time of the gateway, µs\n\n\
         A client of each dialect (columns) over a provider of each (rows); equal dialects pass through. Prompts of \
         {:.0} KB, answers of {TOKENS} tokens, {CONNECTIONS} at once. What a stream costs is divided by its tokens, \
         each a frame of the provider's: a call's own cost is in that, too.",
        PROMPT as f64 / 1024.0
    )?;
    type Costs = fn(&Conversion) -> &[f64];
    let by: [(&str, Costs, usize); 2] =
        [("A whole answer, per call", |c| &c.call, 1), ("A stream, per token", |c| &c.token, 2)];
    for (title, of, places) in by {
        writeln!(f, "\n### {title}\n")?;
        writeln!(f, "| provider | {} |", FACES.map(Face::name).join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(FACES.len()))?;
        for Row { provider, .. } in ROWS {
            write!(f, "| {provider} |")?;
            for face in FACES {
                let pair = all.iter().find(|c| c.face == face && c.provider == provider);
                let costs = pair.map(of).unwrap_or_default();
                write!(f, " {:.places$} |", Spread::of(costs.iter().copied()))?;
            }
            writeln!(f)?;
        }
    }
    Ok(())
}
