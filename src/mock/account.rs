//! The mock's own account of what it served, in all and by call id. It outlives the gateway.
//!
//! A [`Tally`] is one request's line in the book; dropping it without an ending means that the
//! client left.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::quota::Place;

/// Call ids that are remembered; the oldest go first.
pub const CALLS_KEPT: usize = 1_000_000;

/// The account. A reset opens a new book; requests under way finish in the old one.
#[derive(Debug)]
pub struct Account {
    book: ArcSwap<Book>,
}

#[derive(Debug)]
struct Book {
    requests: AtomicU64,
    completed: AtomicU64,
    cut: AtomicU64,
    refused: AtomicU64,
    client_left: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    calls: Mutex<Calls>,
}

#[derive(Debug)]
struct Calls {
    by_id: HashMap<Arc<str>, Arc<Call>>,
    oldest_first: VecDeque<Arc<str>>,
    kept: usize,
}

#[derive(Debug, Default)]
struct Call {
    attempts: AtomicU64,
    completed: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

/// What was served in all. `requests` is the sum of the five endings, `in_flight` being one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests that came.
    pub requests: u64,
    /// Answered to the end.
    pub completed: u64,
    /// Closed on purpose.
    pub cut: u64,
    /// Answered with an error, or with garbage.
    pub refused: u64,
    /// Left by the client before the end.
    pub client_left: u64,
    /// Not ended yet.
    pub in_flight: u64,
    /// Input tokens of all answers that were begun.
    pub prompt_tokens: u64,
    /// Tokens sent.
    pub completion_tokens: u64,
}

/// What was served under one call id, summed over its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallTotals {
    /// Requests that came.
    pub attempts: u64,
    /// Answered to the end.
    pub completed: u64,
    /// Input tokens of all answers that were begun.
    pub prompt_tokens: u64,
    /// Tokens sent so far.
    pub completion_tokens: u64,
}

/// How a request ended, but for the client leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Answered to the end.
    Completed,
    /// Closed on purpose.
    Cut,
    /// Answered with an error, or with garbage.
    Refused,
}

/// One request's line in the book.
#[derive(Debug)]
pub struct Tally {
    book: Arc<Book>,
    call: Option<Arc<Call>>,
    ending: Option<Ending>,
    /// Among the requests that are served at once.
    place: Option<Place>,
}

impl Account {
    /// An account that remembers `kept` call ids.
    pub fn new(kept: usize) -> Self {
        Self { book: ArcSwap::from_pointee(Book::new(kept)) }
    }

    /// Enters a request.
    pub fn enter(&self, call_id: Option<&str>) -> Tally {
        let book = self.book.load_full();
        book.requests.fetch_add(1, Relaxed);
        let call = call_id.map(|id| book.calls.lock().unwrap_or_else(PoisonError::into_inner).open(id));
        if let Some(call) = &call {
            call.attempts.fetch_add(1, Relaxed);
        }
        Tally { book, call, ending: None, place: None }
    }

    /// Forgets everything.
    pub fn reset(&self) {
        let kept = self.book.load().calls.lock().unwrap_or_else(PoisonError::into_inner).kept;
        self.book.store(Arc::new(Book::new(kept)));
    }

    /// The totals.
    pub fn totals(&self) -> Totals {
        let book = self.book.load();
        // Endings are read before requests, so that `in_flight` cannot go below zero.
        let [completed, cut, refused, client_left, prompt_tokens, completion_tokens] = [
            &book.completed,
            &book.cut,
            &book.refused,
            &book.client_left,
            &book.prompt_tokens,
            &book.completion_tokens,
        ]
        .map(|count| count.load(Relaxed));
        let requests = book.requests.load(Relaxed);
        let in_flight = requests.saturating_sub(completed + cut + refused + client_left);
        Totals { requests, completed, cut, refused, client_left, in_flight, prompt_tokens, completion_tokens }
    }

    /// What was served under a call id, if it is remembered.
    pub fn call(&self, id: &str) -> Option<CallTotals> {
        let book = self.book.load();
        let call = book.calls.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()?;
        Some(CallTotals {
            attempts: call.attempts.load(Relaxed),
            completed: call.completed.load(Relaxed),
            prompt_tokens: call.prompt_tokens.load(Relaxed),
            completion_tokens: call.completion_tokens.load(Relaxed),
        })
    }
}

impl Tally {
    /// Counts the input tokens of an answer that is begun.
    pub fn read(&self, prompt_tokens: u64) {
        self.book.prompt_tokens.fetch_add(prompt_tokens, Relaxed);
        if let Some(call) = &self.call {
            call.prompt_tokens.fetch_add(prompt_tokens, Relaxed);
        }
    }

    /// Counts tokens as sent.
    pub fn wrote(&self, tokens: u32) {
        if tokens == 0 {
            return;
        }
        self.book.completion_tokens.fetch_add(tokens.into(), Relaxed);
        if let Some(call) = &self.call {
            call.completion_tokens.fetch_add(tokens.into(), Relaxed);
        }
    }

    /// Keeps a place until the end.
    pub fn keep(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// Ends the line; what is said first holds.
    pub fn end(&mut self, ending: Ending) {
        self.place = None;
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(ending);
        match ending {
            Ending::Completed => self.book.completed.fetch_add(1, Relaxed),
            Ending::Cut => self.book.cut.fetch_add(1, Relaxed),
            Ending::Refused => self.book.refused.fetch_add(1, Relaxed),
        };
        if let (Ending::Completed, Some(call)) = (ending, &self.call) {
            call.completed.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.ending.is_none() {
            self.book.client_left.fetch_add(1, Relaxed);
        }
    }
}

impl Book {
    fn new(kept: usize) -> Self {
        let calls = Calls { by_id: HashMap::new(), oldest_first: VecDeque::new(), kept };
        Self {
            requests: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            client_left: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
            calls: Mutex::new(calls),
        }
    }
}

impl Calls {
    fn open(&mut self, id: &str) -> Arc<Call> {
        if let Some(call) = self.by_id.get(id) {
            return Arc::clone(call);
        }
        if self.oldest_first.len() >= self.kept
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        let id: Arc<str> = id.into();
        let call = Arc::new(Call::default());
        self.oldest_first.push_back(Arc::clone(&id));
        self.by_id.insert(id, Arc::clone(&call));
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_one_ending() {
        let account = Account::new(8);
        for ending in [Ending::Completed, Ending::Cut, Ending::Refused] {
            account.enter(None).end(ending);
        }
        let mut told_twice = account.enter(Some("a"));
        told_twice.read(3);
        told_twice.wrote(2);
        told_twice.end(Ending::Completed);
        told_twice.end(Ending::Cut);
        drop(account.enter(Some("a")));
        let _open = account.enter(None);
        let totals = Totals {
            requests: 6,
            completed: 2,
            cut: 1,
            refused: 1,
            client_left: 1,
            in_flight: 1,
            prompt_tokens: 3,
            completion_tokens: 2,
        };
        assert_eq!(account.totals(), totals);
        let call = CallTotals { attempts: 2, completed: 1, prompt_tokens: 3, completion_tokens: 2 };
        assert_eq!(account.call("a"), Some(call));
    }

    #[test]
    fn the_oldest_call_is_forgotten_first() {
        let account = Account::new(2);
        for id in ["a", "b", "a", "c"] {
            account.enter(Some(id));
        }
        assert_eq!(account.call("a"), None);
        assert!(account.call("b").is_some() && account.call("c").is_some());
    }

    #[test]
    fn a_request_under_way_does_not_reach_into_the_new_book() {
        let account = Account::new(2);
        let mut open = account.enter(Some("a"));
        account.reset();
        open.wrote(5);
        open.end(Ending::Completed);
        assert_eq!(account.totals(), Totals::default());
        assert_eq!(account.call("a"), None);
    }
}
