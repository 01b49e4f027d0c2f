//! `POST /api/reload` and `POST /api/explain`: settings read again on command; why a call would go where.
//! Both are for keys that may see routing; the management token may reload, too.

use std::{future::poll_fn, pin::Pin};

use actix_web::{HttpRequest, HttpResponse, web};
use futures_core::Stream as _;
use penstock_actors::{
    channel::gate::UNLIMITED,
    domain::Uncertain,
    limiter::{LimitHandle, Scope},
    router::{
        Pinned,
        explain::{Considered, explain},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{auth, service::authorize, state::Worker};
use crate::{
    api_key::digest,
    clock::Moment,
    provider::Failure,
    relay::{
        admit::{self, Admitted},
        models::Models,
    },
};

/// What a reload came to: what differs, or every mistake.
pub type Reloaded = Result<Vec<String>, Vec<String>>;

/// A wish that settings be read again, and where to say what came of it.
pub type ReloadWish = oneshot::Sender<Reloaded>;

/// Reloads that may be wished for at a time.
const MOST_WISHES: usize = 4;

/// Where reloads are wished for; the other end belongs to whoever reads settings.
pub fn reloads() -> (mpsc::Sender<ReloadWish>, mpsc::Receiver<ReloadWish>) {
    mpsc::channel(MOST_WISHES)
}

/// Longest body of a question, in bytes.
const LONGEST_QUESTION: usize = 1 << 20;

/// What would be called. A whole request may be sent: the rest of it does not matter.
#[derive(Deserialize)]
struct Question {
    model: String,
}

fn may_manage(admitted: &Admitted) -> Result<(), Failure> {
    match admitted.caller.may_see_routing {
        true => Ok(()),
        false => Err(admit::forbidden("management_not_allowed", "This API key may not see routing.")),
    }
}

/// Reads the settings again.
///
/// # Errors
/// 403 for keys that may not, 503 where nobody reads settings now.
pub(super) async fn reload(
    request: &HttpRequest,
    worker: &Worker,
    at: &Moment,
) -> Result<HttpResponse, Failure> {
    let root = worker.shared.api.root;
    let is_root = root.is_some_and(|root| auth::secret(request).is_ok_and(|shown| digest(&shown) == root));
    if !is_root {
        may_manage(&authorize(request, worker, at)?)?;
    }
    let (tell, told) = oneshot::channel();
    let away = || {
        let mut failure =
            Failure::gateway(503, "reload_unavailable", "Settings cannot be read again at the moment.");
        failure.retry_after = Some(std::time::Duration::from_secs(1));
        failure
    };
    let reloads = worker.shared.reloads.get().ok_or_else(away)?;
    reloads.try_send(tell).map_err(|_| away())?;
    Ok(match told.await.map_err(|_| away())? {
        Ok(differences) => HttpResponse::Ok()
            .json(json!({ "success": true, "message": "", "data": { "differences": differences } })),
        Err(problems) => HttpResponse::BadRequest().json(json!({
            "success": false,
            "message": "The settings are invalid; the old ones stay in force.",
            "data": { "problems": problems }
        })),
    })
}

/// Says of every channel whether it would be tried for a call of this key, and why not; and how the key's
/// limits stand.
///
/// # Errors
/// 400 for a body that names no model, 403 for keys that may not ask.
pub(super) async fn explained(
    admitted: &Admitted,
    payload: &mut web::Payload,
    worker: &Worker,
) -> Result<HttpResponse, Failure> {
    may_manage(admitted)?;
    let invalid = |problem: &str| Failure::invalid_request("invalid_request", Some("model"), problem);
    let mut body = Vec::new();
    while let Some(chunk) = poll_fn(|cx| Pin::new(&mut *payload).poll_next(cx)).await {
        body.extend_from_slice(&chunk.map_err(|_| invalid("The request body could not be read."))?);
        if body.len() > LONGEST_QUESTION {
            return Err(admit::too_large(LONGEST_QUESTION as u64));
        }
    }
    let question: Question = serde_json::from_slice(&body)
        .map_err(|_| invalid("Send the request that would be sent, or {\"model\": \"...\"}."))?;
    let caller = &admitted.caller;
    let table = worker.shared.relay.table.load();
    let is_known = |name: &str| table.knows(table.resolve(name));
    let backups = worker.shared.relay.backups.load();
    let models = Models::asked(&question.model, &backups, &caller.key, is_known)?;
    let limited = &*worker.shared.relay.books.limits;
    let each = models.all(&question.model).map(|asked| {
        let model = table.resolve(asked);
        let limits = limited.standing(caller.who(model));
        let considered = explain(&table, model, &caller.group, admitted.pin);
        json!({
            "asked": asked,
            "model": model,
            "allowed": admit::may_use(caller, asked, model).is_ok(),
            "candidates": considered.iter().map(|one| shown(one, backups.uncertain.get(model), limited)).collect::<Vec<_>>(),
            "limits": limits.into_iter().map(|(id, limit, used)| {
                let whose = id.scope.as_seen_by(caller.id);
                let above = caller.above.iter().find(|above| id.scope == Scope::Key(above.id));
                json!({
                    "limit": format!("{whose}_{}", id.kind.as_str()),
                    "of": above.map(|above| &above.name),
                    "allowed": limit,
                    "used": used
                })
            }).collect::<Vec<_>>(),
        })
    });
    let data =
        json!({ "revision": table.revision, "group": &*caller.group, "models": each.collect::<Vec<_>>() });
    Ok(HttpResponse::Ok().json(json!({ "success": true, "message": "", "data": data })))
}

fn shown(considered: &Considered, uncertain_of_model: Option<&Uncertain>, limited: &LimitHandle) -> Value {
    let Considered { cell, spec, upstream_model, verdict } = considered;
    let health = cell.health();
    let uncertain = uncertain_of_model.unwrap_or(&spec.care.uncertain);
    let limit = Some(cell.gate.limit()).filter(|limit| *limit != UNLIMITED);
    let breaker = upstream_model.as_ref().map(|model| cell.lines.line(model).state().as_str());
    let limits = limited
        .standing_of_channel(spec.name.as_str())
        .into_iter()
        .map(|(id, allowed, used)| json!({ "limit": id.kind.as_str(), "allowed": allowed, "used": used }));
    // What the smallest call would wait for.
    let opens = limited.opens(spec.name.as_str(), 0, 1).map(|opens| opens.first.as_millis() as u64);
    json!({
        "channel": spec.name.as_str(),
        "id": spec.id,
        "verdict": verdict.as_str(),
        "upstream_model": upstream_model.as_deref(),
        "priority": spec.priority,
        "weight": spec.weight,
        "in_flight": cell.gate.in_flight(),
        "waiting": cell.gate.waiting(),
        "limit": limit,
        "limits": limits.collect::<Vec<_>>(),
        "limits_open_in_ms": opens,
        "breaker": breaker,
        "failover_uncertain": *uncertain == Uncertain::FailsOver,
        "success_rate": health.success_rate,
        "first_byte_ms": health.first_byte.as_millis() as u64,
    })
}

/// The header by which a call asks to be told of the channels that were considered for it.
pub(super) const EXPLAIN: &str = "x-penstock-explain";

/// What a call that wishes it is told: each channel that serves the model, and its verdict at arrival.
pub(super) fn wished(request: &HttpRequest, call: &crate::relay::Call, worker: &Worker) -> Option<String> {
    if !call.caller.may_see_routing || !request.headers().contains_key(EXPLAIN) {
        return None;
    }
    let table = worker.shared.relay.table.load();
    let model = table.resolve(call.model());
    let pin: Option<Pinned> = call.pin;
    let considered = explain(&table, model, &call.caller.group, pin);
    let serving = considered.iter().filter(|c| c.upstream_model.is_some()).take(32);
    let said: Vec<_> = serving.map(|c| format!("{}={}", c.spec.name, c.verdict.as_str())).collect();
    Some(said.join(", "))
}
