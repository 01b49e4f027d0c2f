//! Keeping responses: what a call continues is put in front of its input, and what it is answered is stored.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
};
use bytes::Bytes;
use penstock_actors::domain::Delivery;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    route::Shown,
    stored::{Finder, ResponseStore, Stored, history, items, not_found},
};
use crate::{
    dialect::Dialect,
    provider::{Endpoint, Failure},
    relay::{
        Call, RelayShared, admit,
        spool::{Spool, SpoolWriter},
    },
    wire::json::{Kind, Scanner, TopLevel},
};

/// Shows or deletes a stored response.
///
/// # Errors
/// 404 where the key has none of this id.
pub(super) fn show(
    store: &dyn ResponseStore,
    owner: &str,
    id: &str,
    shown: Shown,
) -> Result<HttpResponse, Failure> {
    if shown == Shown::Deleted {
        return match store.delete(owner, id) {
            true => {
                let gone = json!({ "id": id, "object": "response", "deleted": true });
                Ok(HttpResponse::Ok().json(gone))
            }
            false => Err(not_found(id)),
        };
    }
    let stored = store.get(owner, id).ok_or_else(|| not_found(id))?;
    Ok(match shown {
        Shown::Response | Shown::Deleted => {
            HttpResponse::Ok().content_type("application/json").body(stored.response.clone())
        }
        Shown::Items => {
            let mut data = stored.input.clone();
            for (n, item) in data.iter_mut().enumerate() {
                if item.get("id").is_none() {
                    item["id"] = format!("item_{id}_{n}").into();
                }
            }
            let end = |item: Option<&Value>| item.map(|item| item["id"].clone());
            HttpResponse::Ok().json(json!({
                "object": "list",
                "first_id": end(data.first()),
                "last_id": end(data.last()),
                "has_more": false,
                "data": data,
            }))
        }
    })
}

/// Puts what a call continues in front of its input, and items in the place of references to them. What is not
/// stored here is left to the provider, which may know it.
///
/// # Errors
/// 413 or 503 where the whole does not fit.
pub(super) async fn continued(
    store: &dyn ResponseStore,
    owner: &str,
    spool: Spool,
    top: TopLevel,
    relay: &RelayShared,
) -> Result<(Spool, TopLevel), Failure> {
    let named = top.field("previous_response_id").filter(|field| field.kind == Kind::String);
    let named = named.map(|field| serde_json::from_slice::<String>(&field.raw).unwrap_or_default());
    let stored = named.and_then(|id| store.get(owner, &id));
    if stored.is_some() && spool.len() > relay.max_whole_body {
        return Err(admit::too_large(relay.max_whole_body));
    }
    if stored.is_none() && spool.len() > LONGEST {
        return Ok((spool, top));
    }
    let body = spool.whole().await.map_err(|_| unreadable())?;
    if stored.is_none() && memchr::memmem::find(&body, REFERENCE.as_bytes()).is_none() {
        return Ok((spool, top));
    }
    let item = |id: &str| store.item(owner, id);
    let Some(joined) = join(&body, stored.as_deref(), item) else { return Ok((spool, top)) };
    let mut scanner = Scanner::new(Dialect::OpenAiResponses.watches());
    let top = scanner.push(&joined).and_then(|()| scanner.finish()).map_err(|_| unreadable())?;
    let mut writer = SpoolWriter::new(relay.bytes.hold());
    writer.push(joined).await.map_err(|_| admit::too_many_bytes())?;
    let spool = writer.finish().await.map_err(|_| admit::too_many_bytes())?;
    Ok((spool, top))
}

/// The type of an item that stands for another one.
const REFERENCE: &str = "item_reference";

fn unreadable() -> Failure {
    Failure::gateway(500, "body_unreadable", "The request body cannot be read at the moment.")
}

/// The request with the history in front of its input and references resolved; its own values stay as they were
/// written. `None` where it is no such request or nothing changes.
fn join(body: &[u8], stored: Option<&Stored>, item: impl Fn(&str) -> Option<Value>) -> Option<Bytes> {
    let mut request: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
    let own = request.remove("input")?;
    let mut all: Vec<String> = stored.map_or(Vec::new(), history).iter().map(Value::to_string).collect();
    let mut changes = stored.is_some();
    if own.get().starts_with('[') {
        for one in serde_json::from_str::<Vec<&RawValue>>(own.get()).ok()? {
            let found = referred(one).and_then(|id| item(&id));
            changes |= found.is_some();
            all.push(found.map_or_else(|| one.get().to_owned(), |found| found.to_string()));
        }
    } else {
        all.push(format!("{{\"type\":\"message\",\"role\":\"user\",\"content\":{}}}", own.get()));
    }
    if !changes {
        return None;
    }
    if stored.is_some() {
        request.remove("previous_response_id");
    }
    request.insert("input".to_owned(), RawValue::from_string(format!("[{}]", all.join(","))).ok()?);
    serde_json::to_vec(&request).ok().map(Bytes::from)
}

/// The id of the item that this one stands for.
fn referred(item: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Reference {
        r#type: String,
        id: String,
    }
    let item = serde_json::from_str::<Reference>(item.get()).ok()?;
    (item.r#type == REFERENCE).then_some(item.id)
}

/// Stores the answer of one call.
pub(super) struct Keeper {
    store: Arc<dyn ResponseStore>,
    owner: String,
    input: Vec<Value>,
    finder: Finder,
}

/// A longer request is not kept, in bytes.
const LONGEST: u64 = 4 << 20;

impl Keeper {
    /// The keeper of a call whose answer is to be stored: responses are, unless they say otherwise.
    pub(super) async fn of(call: &Call, store: &Arc<dyn ResponseStore>) -> Option<Self> {
        let declined = call.top.field("store").is_some_and(|field| field.raw == b"false");
        if call.endpoint != Endpoint::Responses || declined || call.body.len() > LONGEST {
            return None;
        }
        let body = call.body.whole().await.ok()?;
        let input = items(&serde_json::from_slice(&body).ok()?);
        let finder = match call.facts.delivery {
            Delivery::Stream => Finder::of_stream(),
            Delivery::Whole => Finder::of_whole(),
        };
        Some(Self { store: Arc::clone(store), owner: call.caller.key.clone(), input, finder })
    }

    /// Looks at an answer while it passes.
    pub(super) fn watch(self, answer: HttpResponse) -> HttpResponse {
        answer.map_body(|_, body| BoxBody::new(Watched { body, keeper: Some(self) }))
    }

    fn keep(self) {
        if let Some((id, response)) = self.finder.finish() {
            self.store.put(&self.owner, &id, Stored { response, input: self.input });
        }
    }
}

/// An answer's body that is stored once it is over.
struct Watched {
    body: BoxBody,
    keeper: Option<Keeper>,
}

impl MessageBody for Watched {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_next(cx);
        match &polled {
            Poll::Ready(Some(Ok(chunk))) => {
                if let Some(keeper) = &mut self.keeper {
                    keeper.finder.push(chunk);
                }
            }
            Poll::Ready(None) => {
                if let Some(keeper) = self.keeper.take() {
                    keeper.keep();
                }
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }
}
