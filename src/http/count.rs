//! Counts of a request's tokens, where no channel for the model counts them: estimated here.

use actix_web::HttpResponse;

use super::state::Worker;
use crate::{
    dialect::{Face, estimate},
    provider::Failure,
    relay::{Call, Refused, admit, settle::CallRecord},
};

/// Answers with an estimate; it costs nothing.
///
/// # Errors
/// 400 for a request that is wrong, 404 for a model that nobody serves, 413 for one that is too long.
pub(super) async fn locally(
    worker: &Worker,
    call: &Call,
    mut record: CallRecord,
) -> Result<HttpResponse, Box<Refused>> {
    match counted(worker, call).await {
        Ok((face, tokens)) => {
            record.completed();
            let body = face.count(tokens);
            Ok(HttpResponse::Ok().content_type("application/json").body(body))
        }
        Err(failure) => {
            record.refused(&failure);
            Err(failure.into())
        }
    }
}

async fn counted(worker: &Worker, call: &Call) -> Result<(&'static dyn Face, u64), Failure> {
    let relay = &worker.shared.relay;
    let table = relay.table.load();
    let model = table.resolve(call.model());
    if table.tiers(model, &call.caller.group).is_empty() {
        return Err(admit::model_not_found(call.model()));
    }
    if call.body.len() > relay.max_whole_body {
        return Err(admit::too_large(relay.max_whole_body));
    }
    let face = call.face.face().ok_or_else(|| admit::model_not_found(call.model()))?;
    let body = call.body.whole().await.map_err(|error| {
        tracing::error!(%error, "request body could not be read");
        Failure::gateway(500, "body_unreadable", "The request body cannot be read at the moment.")
    })?;
    let conversation = face.parse_counted(&body).map_err(|error| {
        let param = Some(error.param.as_str()).filter(|param| !param.is_empty());
        Failure::invalid_request(error.code, param, error.message)
    })?;
    Ok((face, estimate::prompt(&conversation)))
}
