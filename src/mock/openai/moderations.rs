//! `POST /v1/moderations`: what names violence is flagged as such.

use serde_json::{Map, Value, json};

use super::read_body;
use crate::mock::{
    answer::{Answer, Ask},
    check::{Param, Rule, Wrong, elements, may, must, object, text},
    failure::Refusal,
};

const PARAMS: &[Param] = &[must("input", Rule::TextOrArray), may("model", Rule::Text)];

const CATEGORIES: &[&str] = &[
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// Answers.
///
/// # Errors
/// A [`Refusal`] where the request is wrong.
pub fn answer(ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let fields = read_body(ask, PARAMS)?;
    let texts = texts(fields.get("input").ok_or(Wrong::Missing("input".into()))?)?;
    let model = fields.text("model").unwrap_or("omni-moderation-latest".into());
    let results: Vec<_> = texts.iter().map(|text| result(text.contains("violence"))).collect();
    let body =
        json!({"id": format!("modr-mock{}", ask.serial), "model": ask.model(&model), "results": results});
    Ok(Answer::plain(body.to_string(), 0))
}

/// One text for each result: a text, several, or the parts of one input.
fn texts(input: &serde_json::value::RawValue) -> Result<Vec<String>, Refusal> {
    if let Some(one) = text(input) {
        return Ok(vec![one.into_owned()]);
    }
    let elements = elements(input);
    if elements.is_empty() {
        return Err(Wrong::Empty("input".into()).into());
    }
    let mut texts = Vec::new();
    let mut parts = None::<String>;
    for (n, element) in elements.into_iter().enumerate() {
        if let Some(part) = object(element) {
            let at = format!("input[{n}]");
            part.check(&at, &[must("type", Rule::OneOf(&["text", "image_url"]))])?;
            let is_text = part.text("type").as_deref() == Some("text");
            let wanted = if is_text { must("text", Rule::Text) } else { must("image_url", Rule::Object) };
            part.check(&at, &[wanted])?;
            parts.get_or_insert_default().push_str(&part.text("text").unwrap_or_default());
        } else {
            Rule::Text.check(element, || format!("input[{n}]"))?;
            texts.extend(text(element).map(|text| text.into_owned()));
        }
    }
    texts.extend(parts);
    Ok(texts)
}

fn result(violent: bool) -> Value {
    let hit = |name: &str| violent && name == "violence";
    let map = |value: &dyn Fn(&str) -> Value| {
        CATEGORIES.iter().map(|name| ((*name).to_owned(), value(name))).collect::<Map<_, _>>()
    };
    json!({
        "flagged": violent,
        "categories": map(&|name| hit(name).into()),
        "category_scores": map(&|name| if hit(name) { 0.9 } else { 0.001 }.into()),
        "category_applied_input_types": map(&|_| json!(["text"])),
    })
}
