//! `/v1/models`: what a key may use, in OpenAI's shape.

use penstock_actors::router::RouteTable;
use serde::Serialize;

use crate::{api_key::Caller, provider::Failure, relay::admit};

/// Models have no birthday here; clients want a number.
const CREATED: u64 = 1_626_777_600;

/// OpenAI's `Model` object.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
}

/// OpenAI's list object.
#[derive(Debug, Serialize)]
pub(super) struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

/// Every model the caller may use.
pub(super) fn list<'a>(table: &'a RouteTable, caller: &Caller) -> List<'a> {
    let mut data: Vec<_> = table
        .models_for(&caller.group)
        .into_iter()
        .filter(|name| admit::may_use(caller, name, table.resolve(name)).is_ok())
        .map(|name| model(table, caller, name))
        .collect();
    data.sort_by(|a, b| a.id.cmp(b.id));
    List { object: "list", data }
}

/// One model, if the caller may use it.
///
/// # Errors
/// 404 otherwise: who may not use a model need not know that it exists.
pub(super) fn get<'a>(table: &'a RouteTable, caller: &Caller, name: &str) -> Result<Model<'a>, Failure> {
    let known = table.models_for(&caller.group).into_iter().find(|m| ***m == *name);
    match known {
        Some(known) if admit::may_use(caller, known, table.resolve(known)).is_ok() => {
            Ok(model(table, caller, known))
        }
        _ => Err(admit::model_not_found(name)),
    }
}

fn model<'a>(table: &'a RouteTable, caller: &Caller, name: &'a str) -> Model<'a> {
    let tiers = table.tiers(table.resolve(name), &caller.group);
    let owner = tiers.first().and_then(|t| t.routes.first()).map_or("penstock", |r| &*r.spec.provider);
    Model { id: name, object: "model", created: CREATED, owned_by: owner }
}
