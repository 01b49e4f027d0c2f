//! `/v1/models`: what a key may use, in OpenAI's shape.

use penstock_actors::router::RouteTable;
use serde::Serialize;

use crate::{
    api_key::Caller,
    known_models::{Capability, KnownModels},
    provider::Failure,
    relay::admit,
};

/// Models have no birthday here; clients want a number.
const CREATED: u64 = 1_626_777_600;

/// OpenAI's `Model` object, and what is known beyond it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Vec<Capability>>,
    /// For callers that may see routing: the provider that is tried first.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
}

/// OpenAI's list object.
#[derive(Debug, Serialize)]
pub(super) struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

/// Every model the caller may use.
pub(super) fn list<'a>(table: &'a RouteTable, known: &KnownModels, caller: &Caller) -> List<'a> {
    let mut data: Vec<_> = table
        .models_for(&caller.group)
        .into_iter()
        .filter(|name| admit::may_use(caller, name, table.resolve(name)).is_ok())
        .map(|name| model(table, known, caller, name))
        .collect();
    data.sort_by(|a, b| a.id.cmp(b.id));
    List { object: "list", data }
}

/// One model, if the caller may use it.
///
/// # Errors
/// 404 otherwise: who may not use a model need not know that it exists.
pub(super) fn get<'a>(
    table: &'a RouteTable,
    known: &KnownModels,
    caller: &Caller,
    name: &str,
) -> Result<Model<'a>, Failure> {
    let found = table.models_for(&caller.group).into_iter().find(|m| ***m == *name);
    match found {
        Some(found) if admit::may_use(caller, found, table.resolve(found)).is_ok() => {
            Ok(model(table, known, caller, found))
        }
        _ => Err(admit::model_not_found(name)),
    }
}

fn model<'a>(table: &'a RouteTable, known: &KnownModels, caller: &Caller, name: &'a str) -> Model<'a> {
    let resolved = table.resolve(name);
    let first = table.tiers(resolved, &caller.group).first().and_then(|tier| tier.routes.first());
    let provider = first.map(|route| &*route.spec.provider);
    let facts = known.facts([name, resolved].into_iter().chain(first.map(|route| &*route.upstream_model)));
    Model {
        id: name,
        object: "model",
        created: CREATED,
        owned_by: provider.unwrap_or("penstock"),
        context_window: facts.context_window,
        max_output_tokens: facts.max_output_tokens,
        capabilities: facts.capabilities,
        provider: provider.filter(|_| caller.may_see_routing),
    }
}
