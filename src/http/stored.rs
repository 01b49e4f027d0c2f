//! Stored responses: what `/v1/responses` keeps, so that later calls and readers can name it.
//!
//! Where it is kept is behind a port; in memory for now, bounded by bytes, the oldest gone first.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{provider::Failure, wire::sse};

/// A response that is kept.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The response, as its client saw it.
    pub response: Bytes,
    /// The items that it answered, those of earlier responses included.
    pub input: Vec<Value>,
}

/// Where responses are kept: by their key's name, so that nobody reads another's.
pub trait ResponseStore: Send + Sync {
    /// Keeps a response.
    fn put(&self, owner: &str, id: &str, stored: Stored);
    /// The response of an id.
    fn get(&self, owner: &str, id: &str) -> Option<Arc<Stored>>;
    /// The item of an id, which a kept response gave.
    fn item(&self, owner: &str, id: &str) -> Option<Value>;
    /// Forgets a response; whether it was there.
    fn delete(&self, owner: &str, id: &str) -> bool;
}

/// Keeps responses in memory.
#[derive(Debug)]
pub struct InMemory {
    most_bytes: usize,
    kept: Mutex<Kept>,
}

type Place = (String, String);

#[derive(Debug, Default)]
struct Kept {
    all: HashMap<Place, (Arc<Stored>, usize)>,
    /// In the order they came; those deleted since are still named.
    order: VecDeque<Place>,
    /// Which response gave an item.
    items: HashMap<Place, String>,
    bytes: usize,
}

impl Kept {
    fn remove(&mut self, place: &Place) -> bool {
        let Some((stored, bytes)) = self.all.remove(place) else { return false };
        self.bytes -= bytes;
        let (owner, id) = place;
        for item in ids(&stored.response) {
            let item = (owner.clone(), item);
            if self.items.get(&item) == Some(id) {
                self.items.remove(&item);
            }
        }
        true
    }
}

/// The ids of the items that a response gave.
fn ids(response: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Response {
        #[serde(default)]
        output: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        id: Option<String>,
    }
    let response = serde_json::from_slice::<Response>(response).map_or(Vec::new(), |known| known.output);
    response.into_iter().filter_map(|item| item.id).collect()
}

impl InMemory {
    /// Makes an empty store for so many bytes.
    pub fn new(most_bytes: usize) -> Self {
        Self { most_bytes, kept: Mutex::default() }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResponseStore for InMemory {
    fn put(&self, owner: &str, id: &str, stored: Stored) {
        let bytes = stored.response.len()
            + stored.input.iter().map(|item| item.to_string().len()).sum::<usize>()
            + owner.len()
            + id.len();
        if bytes > self.most_bytes / 4 {
            return;
        }
        let items = ids(&stored.response);
        let mut kept = self.kept();
        let place = (owner.to_owned(), id.to_owned());
        if !kept.remove(&place) {
            kept.order.push_back(place.clone());
        }
        kept.all.insert(place, (Arc::new(stored), bytes));
        for item in items {
            kept.items.insert((owner.to_owned(), item), id.to_owned());
        }
        kept.bytes += bytes;
        while kept.bytes > self.most_bytes
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.remove(&oldest);
        }
    }

    fn get(&self, owner: &str, id: &str) -> Option<Arc<Stored>> {
        let kept = self.kept();
        kept.all.get(&(owner.to_owned(), id.to_owned())).map(|(stored, _)| Arc::clone(stored))
    }

    fn item(&self, owner: &str, id: &str) -> Option<Value> {
        let response = self.kept().items.get(&(owner.to_owned(), id.to_owned())).cloned()?;
        let stored = self.get(owner, &response)?;
        let mut response: Value = serde_json::from_slice(&stored.response).ok()?;
        let output = response["output"].as_array_mut()?;
        output.iter_mut().find(|item| item["id"] == id).map(Value::take)
    }

    fn delete(&self, owner: &str, id: &str) -> bool {
        self.kept().remove(&(owner.to_owned(), id.to_owned()))
    }
}

/// 404: no such response, or none of this key's.
pub(super) fn not_found(id: &str) -> Failure {
    let shown: String = id.chars().take(128).collect();
    let message = format!("Response with id '{shown}' not found.");
    let mut failure = Failure::invalid_request("response_not_found", None, message);
    failure.status = 404;
    failure
}

/// A request's own items.
pub(super) fn items(request: &Map<String, Value>) -> Vec<Value> {
    match request.get("input") {
        Some(Value::Array(items)) => items.clone(),
        Some(Value::String(text)) => vec![json!({ "type": "message", "role": "user", "content": text })],
        _ => Vec::new(),
    }
}

/// What an earlier response leaves to say again: its input, then its output without what is only the answer's.
pub(super) fn history(stored: &Stored) -> Vec<Value> {
    let mut items = stored.input.clone();
    let response: Value = serde_json::from_slice(&stored.response).unwrap_or_default();
    for item in response["output"].as_array().into_iter().flatten() {
        let mut item = item.clone();
        if let Some(members) = item.as_object_mut() {
            members.remove("id");
            members.remove("status");
        }
        let is_thought = item["type"] == "reasoning";
        // A thought without its proof cannot go back.
        if !is_thought || item["encrypted_content"].is_string() {
            items.push(item);
        }
    }
    items
}

/// Finds the finished response in an answer that passes.
#[derive(Debug)]
pub(super) struct Finder {
    streams: bool,
    framer: sse::SseFramer,
    whole: Vec<u8>,
    found: Option<Bytes>,
}

/// A response longer than this is not kept, in bytes.
const LONGEST: usize = 8 << 20;

impl Finder {
    pub(super) fn of_stream() -> Self {
        Self { streams: true, ..Self::of_whole() }
    }

    pub(super) fn of_whole() -> Self {
        Self { streams: false, framer: sse::SseFramer::new(LONGEST), whole: Vec::new(), found: None }
    }

    /// Looks at the next bytes.
    pub(super) fn push(&mut self, chunk: &Bytes) {
        if !self.streams {
            if self.whole.len() + chunk.len() <= LONGEST {
                self.whole.extend_from_slice(chunk);
            }
            return;
        }
        let found = &mut self.found;
        let _too_long_to_keep = self.framer.push(chunk.clone(), |frame| {
            let event = sse::parse(&frame);
            if matches!(event.event, b"response.completed" | b"response.incomplete") {
                *found = event.data.map(|data| Bytes::copy_from_slice(&data));
            }
        });
    }

    /// The response and its id, once the answer is over.
    pub(super) fn finish(self) -> Option<(String, Bytes)> {
        let response = match self.streams {
            true => {
                let mut event: Value = serde_json::from_slice(&self.found?).ok()?;
                event["response"].take()
            }
            false => serde_json::from_slice(&self.whole).ok()?,
        };
        let id = response["id"].as_str()?.to_owned();
        Some((id, response.to_string().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> Stored {
        Stored { response: Bytes::copy_from_slice(text.as_bytes()), input: vec![] }
    }

    #[test]
    fn nobody_reads_what_another_stored() {
        let store = InMemory::new(1000);
        store.put("a", "1", stored("{}"));
        assert!(store.get("a", "1").is_some() && store.get("b", "1").is_none());
        assert!(!store.delete("b", "1") && store.delete("a", "1") && store.get("a", "1").is_none());
        assert_eq!(store.kept().bytes, 0);
    }

    #[test]
    fn an_item_is_found_while_its_response_is_kept_and_by_its_owner_alone() {
        let store = InMemory::new(1000);
        store.put("a", "1", stored(r#"{"output":[{"id":"i","type":"reasoning"},{"type":"message"}]}"#));
        assert_eq!(store.item("a", "i"), Some(json!({ "id": "i", "type": "reasoning" })));
        assert!(store.item("b", "i").is_none() && store.item("a", "j").is_none());
        store.put("a", "2", stored(r#"{"output":[{"id":"i","type":"message"}]}"#));
        assert!(store.delete("a", "1"), "the second response gave the item since");
        assert_eq!(store.item("a", "i"), Some(json!({ "id": "i", "type": "message" })));
        assert!(store.delete("a", "2") && store.item("a", "i").is_none());
        assert!(store.kept().items.is_empty());
    }

    #[test]
    fn the_oldest_goes_first_and_the_bound_holds() {
        let store = InMemory::new(1000);
        for n in 0..50 {
            store.put("a", &n.to_string(), stored(&"x".repeat(97)));
            assert!(store.kept().bytes <= 1000);
        }
        assert!(store.get("a", "0").is_none() && store.get("a", "49").is_some());
        store.put("a", "huge", stored(&"x".repeat(900)));
        assert!(store.get("a", "huge").is_none(), "one must not drive out the others");
    }

    #[test]
    fn a_response_is_found_in_a_stream_cut_anywhere() {
        let stream = b"event: response.output_text.delta\ndata: {}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"output\":[]}}\n\n";
        for cut in 0..stream.len() {
            let mut finder = Finder::of_stream();
            finder.push(&Bytes::copy_from_slice(&stream[..cut]));
            finder.push(&Bytes::copy_from_slice(&stream[cut..]));
            assert_eq!(finder.finish().map(|(id, _)| id).as_deref(), Some("r"), "cut at {cut}");
        }
        let mut cut = Finder::of_stream();
        cut.push(&Bytes::copy_from_slice(&stream[..60]));
        assert!(cut.finish().is_none());
    }

    #[test]
    fn a_history_is_what_was_said_without_the_answers_own_fields() {
        let stored = Stored {
            response: Bytes::from_static(
                br#"{"output":[{"type":"reasoning","id":"rs","summary":[]},{"type":"message","id":"m","status":"completed","role":"assistant","content":[]}]}"#,
            ),
            input: vec![json!({ "role": "user", "content": "a" })],
        };
        assert_eq!(
            history(&stored),
            [
                json!({ "role": "user", "content": "a" }),
                json!({ "type": "message", "role": "assistant", "content": [] })
            ]
        );
    }
}
