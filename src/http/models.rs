//! The list of models: what a key may use, in the shape of the client's dialect.

use actix_web::HttpResponse;
use penstock_actors::router::RouteTable;
use serde_json::{Value, json};

use crate::{
    api_key::Caller,
    dialect::Dialect,
    known_models::{Capability, KnownModels},
    provider::Failure,
    relay::admit,
};

/// Models have no birthday here; clients want a number.
const CREATED: u64 = 1_626_777_600;
/// The same, as a date.
const CREATED_AT: &str = "2021-07-20T10:40:00Z";

/// A model, and what is known of it.
#[derive(Debug, PartialEq, Eq)]
struct Model<'a> {
    id: &'a str,
    owned_by: &'a str,
    context_window: Option<u64>,
    max_output_tokens: Option<u64>,
    capabilities: Option<Vec<Capability>>,
    /// For callers that may see routing: the provider that is tried first.
    provider: Option<&'a str>,
}

/// Every model the caller may use.
pub(super) fn list(table: &RouteTable, known: &KnownModels, caller: &Caller, face: Dialect) -> HttpResponse {
    let mut all: Vec<_> = table
        .models_for(&caller.group)
        .into_iter()
        .filter(|name| admit::may_use(caller, name, table.resolve(name)).is_ok())
        .map(|name| model(table, known, caller, name))
        .collect();
    all.sort_by(|a, b| a.id.cmp(b.id));
    let shown: Vec<_> = all.iter().map(|model| shown(model, face)).collect();
    HttpResponse::Ok().json(match face {
        Dialect::AnthropicMessages => json!({
            "data": shown,
            "has_more": false,
            "first_id": all.first().map(|model| model.id),
            "last_id": all.last().map(|model| model.id),
        }),
        Dialect::Gemini => json!({ "models": shown }),
        _ => json!({ "object": "list", "data": shown }),
    })
}

/// One model, if the caller may use it.
///
/// # Errors
/// 404 otherwise: who may not use a model need not know that it exists.
pub(super) fn get(
    table: &RouteTable,
    known: &KnownModels,
    caller: &Caller,
    name: &str,
    face: Dialect,
) -> Result<HttpResponse, Failure> {
    let found = table.models_for(&caller.group).into_iter().find(|m| ***m == *name);
    match found {
        Some(found) if admit::may_use(caller, found, table.resolve(found)).is_ok() => {
            Ok(HttpResponse::Ok().json(shown(&model(table, known, caller, found), face)))
        }
        _ => Err(admit::model_not_found(name)),
    }
}

/// A model as its dialect's `Model` object, and what is known beyond it.
fn shown(model: &Model<'_>, face: Dialect) -> Value {
    let mut object = match face {
        Dialect::AnthropicMessages => json!({
            "type": "model",
            "id": model.id,
            "display_name": model.id,
            "created_at": CREATED_AT,
            "lifecycle": "active",
            "max_input_tokens": model.context_window,
            "max_tokens": model.max_output_tokens,
        }),
        Dialect::Gemini => json!({
            "name": format!("models/{}", model.id),
            "version": "001",
            "displayName": model.id,
            "inputTokenLimit": model.context_window,
            "outputTokenLimit": model.max_output_tokens,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }),
        _ => json!({
            "id": model.id,
            "object": "model",
            "created": CREATED,
            "owned_by": model.owned_by,
        }),
    };
    let mut add = |name: &str, value: Value| {
        if !value.is_null() {
            object[name] = value;
        }
    };
    if !matches!(face, Dialect::AnthropicMessages | Dialect::Gemini) {
        add("context_window", json!(model.context_window));
        add("max_output_tokens", json!(model.max_output_tokens));
        add("capabilities", json!(model.capabilities));
    }
    add("provider", json!(model.provider));
    object
}

fn model<'a>(table: &'a RouteTable, known: &KnownModels, caller: &Caller, name: &'a str) -> Model<'a> {
    let resolved = table.resolve(name);
    let first = table.tiers(resolved, &caller.group).first().and_then(|tier| tier.routes.first());
    let provider = first.map(|route| &*route.spec.provider);
    let facts = known.facts([name, resolved].into_iter().chain(first.map(|route| &*route.upstream_model)));
    Model {
        id: name,
        owned_by: provider.unwrap_or("penstock"),
        context_window: facts.context_window,
        max_output_tokens: facts.max_output_tokens,
        capabilities: facts.capabilities,
        provider: provider.filter(|_| caller.may_see_routing),
    }
}
