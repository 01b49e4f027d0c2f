//! `POST /v1/completions`: echoes each prompt; whole or streamed.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use super::{copies, read_body, usage, usage_wanted};
use crate::mock::{
    answer::{Answer, Ask, Said, quoted},
    body::Part,
    check::{Param, Rule, Wrong, elements, may, must, text},
    failure::Refusal,
    text::{Words, count},
};

const PARAMS: &[Param] = &[
    must("model", Rule::Text),
    must("prompt", Rule::TextOrArray),
    may("stream", Rule::Bool),
    may("stream_options", Rule::Object),
    may("best_of", Rule::Whole(0, 20)),
    may("echo", Rule::Bool),
    may("frequency_penalty", Rule::Number(-2.0, 2.0)),
    may("logit_bias", Rule::Object),
    may("logprobs", Rule::Whole(0, 5)),
    may("max_tokens", Rule::Whole(0, i64::MAX)),
    may("n", Rule::Whole(1, 128)),
    may("presence_penalty", Rule::Number(-2.0, 2.0)),
    may("seed", Rule::Whole(i64::MIN, i64::MAX)),
    may("stop", Rule::TextOrArray),
    may("suffix", Rule::Text),
    may("temperature", Rule::Number(0.0, 2.0)),
    may("top_p", Rule::Number(0.0, 1.0)),
    may("user", Rule::Text),
];

/// Answers.
///
/// # Errors
/// A [`Refusal`] where the request is wrong.
pub fn answer(ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let fields = read_body(ask, PARAMS)?;
    let prompts = prompts(fields.get("prompt").ok_or(Wrong::Missing("prompt".into()))?)?;
    let most = fields.count("max_tokens");
    let prompt_tokens = prompts.iter().map(|prompt| prompt.tokens).sum();
    let speeches: Vec<_> =
        prompts.iter().map(|prompt| ask.words(|| format!("echo: {}", prompt.text), most)).collect();
    let n = copies(&fields, speeches.iter().map(Words::len_hint).sum())?;
    let choices: Vec<_> = speeches.iter().flat_map(|words| (0..n).map(move |_| words)).collect();
    let tokens = choices.iter().map(|words| words.left()).sum::<u32>();
    let model = fields.text("model").unwrap_or_default();
    let head = format!(
        "{{\"id\":\"cmpl-mock{:016x}\",\"object\":\"text_completion\",\"created\":{},\"model\":{},\"system_fingerprint\":\"fp_mock\",\"choices\":[",
        ask.serial,
        ask.now,
        quoted(ask.model(&model))
    );
    let usage = usage(prompt_tokens, tokens.into());
    let said = if fields.is_true("stream") {
        let usage = usage_wanted(ask, &fields).then_some(usage);
        Said::Stream(stream(&head, &choices, usage, !ask.settings.no_done))
    } else {
        let usage = (!ask.settings.no_usage).then_some(usage);
        Said::Whole(whole(&head, &choices, usage), tokens)
    };
    Ok(Answer { prompt_tokens, said })
}

fn finish(words: &Words) -> &'static str {
    if words.shortened { "\"length\"" } else { "\"stop\"" }
}

fn whole(head: &str, choices: &[&Words], usage: Option<String>) -> Bytes {
    let mut out = BytesMut::from(head.as_bytes());
    for (index, words) in choices.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"text\":\"" } else { b"{\"text\":\"" });
        (*words).clone().write_all(&mut out);
        let finish = finish(words);
        let _ = write!(out, "\",\"index\":{index},\"logprobs\":null,\"finish_reason\":{finish}}}");
    }
    out.extend_from_slice(b"]");
    if let Some(usage) = usage {
        let _ = write!(out, ",\"usage\":{usage}");
    }
    out.extend_from_slice(b"}");
    out.freeze()
}

fn stream(head: &str, choices: &[&Words], usage: Option<String>, with_done: bool) -> Vec<Part> {
    let null_usage = if usage.is_some() { ",\"usage\":null" } else { "" };
    let before = Bytes::from(format!("data: {head}{{\"text\":\""));
    let mut parts = Vec::with_capacity(2 * choices.len() + 2);
    for (index, words) in choices.iter().enumerate() {
        let after = |finish: &str| {
            format!("\",\"index\":{index},\"logprobs\":null,\"finish_reason\":{finish}}}]{null_usage}}}\n\n")
        };
        parts.push(Part::Words {
            before: before.clone(),
            words: (*words).clone(),
            after: Bytes::from(after("null")),
        });
        parts.push(Part::Frame([&before, after(finish(words)).as_bytes()].concat().into(), 0));
    }
    if let Some(usage) = usage {
        parts.push(Part::Frame(Bytes::from(format!("data: {head}],\"usage\":{usage}}}\n\n")), 0));
    }
    if with_done {
        parts.push(Part::Frame(Bytes::from_static(b"data: [DONE]\n\n"), 0));
    }
    parts
}

struct Prompt {
    text: String,
    tokens: u64,
}

/// A text, texts, tokens, or arrays of tokens; tokens are echoed as their numbers.
fn prompts(raw: &RawValue) -> Result<Vec<Prompt>, Refusal> {
    if let Some(text) = text(raw) {
        return Ok(vec![Prompt { tokens: count(&text) as u64, text: text.into_owned() }]);
    }
    let items = elements(raw);
    let Some(first) = items.first() else { return Err(Wrong::Empty("prompt".into()).into()) };
    if !matches!(first.get().as_bytes().first(), Some(b'"' | b'[')) {
        return Ok(vec![of_tokens(raw, "prompt")?]);
    }
    items
        .iter()
        .enumerate()
        .map(|(n, item)| match text(item) {
            Some(text) => Ok(Prompt { tokens: count(&text) as u64, text: text.into_owned() }),
            None => of_tokens(item, &format!("prompt[{n}]")),
        })
        .collect()
}

fn of_tokens(raw: &RawValue, place: &str) -> Result<Prompt, Refusal> {
    Rule::Filled.check(raw, || place.to_owned())?;
    let tokens = elements(raw);
    for (n, token) in tokens.iter().enumerate() {
        Rule::Whole(0, i64::MAX).check(token, || format!("{place}[{n}]"))?;
    }
    let text = tokens.iter().map(|token| token.get()).collect::<Vec<_>>().join(" ");
    Ok(Prompt { text, tokens: tokens.len() as u64 })
}
