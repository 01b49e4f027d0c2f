//! A token as it is published: one keeper writes it, calls load it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::Notify;

/// A token in force.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Which one it is of its cell's.
    pub number: u64,
    text: Arc<str>,
    bearer: HeaderValue,
}

impl Token {
    /// Makes the cell's token of this number; `None` where no header can carry it.
    pub(super) fn new(number: u64, text: &str) -> Option<Self> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
        bearer.set_sensitive(true);
        Some(Self { number, text: text.into(), bearer })
    }

    /// The token itself, for the place that writes it into a request.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// It as the value of `Authorization`.
    pub fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, hidden)", self.number)
    }
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The credential was refused, or is none.
    #[error("the credential was refused: {0}")]
    Refused(String),
    /// Nobody answered, or not as agreed.
    #[error("{0}")]
    Unavailable(String),
}

/// How things stand with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It was not asked for yet, or no answer came.
    Pending,
    /// It can be shown.
    Ready(Token),
    /// There is none.
    Failed(TokenError),
}

/// Where a token is published.
#[derive(Debug)]
pub struct TokenCell {
    state: ArcSwap<State>,
    changed: Notify,
    /// Number after the last one that a provider refused.
    refused: AtomicU64,
    bell: Arc<Notify>,
}

impl TokenCell {
    pub(super) fn new(bell: Arc<Notify>) -> Self {
        let state = ArcSwap::from_pointee(State::Pending);
        Self { state, changed: Notify::new(), refused: AtomicU64::new(0), bell }
    }

    /// The token in force, once it is known whether there is one: at the first start that takes a moment.
    ///
    /// # Errors
    /// [`TokenError`] where there is none for now.
    pub async fn token(&self) -> Result<Token, TokenError> {
        loop {
            if let Some(known) = self.known() {
                return known;
            }
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(known) = self.known() {
                return known;
            }
            changed.await;
        }
    }

    /// The token in force or why there is none; `None` where that is not known yet.
    pub fn known(&self) -> Option<Result<Token, TokenError>> {
        match &**self.state.load() {
            State::Pending => None,
            State::Ready(token) => Some(Ok(token.clone())),
            State::Failed(error) => Some(Err(error.clone())),
        }
    }

    /// Tells that a provider refused the token of this number, so that another is got ahead of time.
    pub fn refuse(&self, number: u64) {
        if self.refused.fetch_max(number + 1, Relaxed) <= number {
            self.bell.notify_one();
        }
    }

    /// Whether the token of this number was refused.
    pub(super) fn is_refused(&self, number: u64) -> bool {
        self.refused.load(Relaxed) > number
    }

    pub(super) fn publish(&self, state: State) {
        self.state.store(Arc::new(state));
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_early_waits_and_a_refusal_rings_once() {
        let bell = Arc::new(Notify::new());
        let cell = Arc::new(TokenCell::new(Arc::clone(&bell)));
        let waiting = tokio::spawn({
            let cell = Arc::clone(&cell);
            async move { cell.token().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(cell.known(), None);
        let token = Token::new(1, "t").expect("a token");
        cell.publish(State::Ready(token.clone()));
        assert_eq!(waiting.await.expect("no panic"), Ok(token));
        cell.refuse(1);
        bell.notified().await;
        assert!(cell.is_refused(1) && !cell.is_refused(2));
        cell.refuse(1);
        let again = tokio::time::timeout(std::time::Duration::ZERO, bell.notified()).await;
        assert!(again.is_err(), "one refusal rings once");
        assert_eq!(Token::new(1, "a\nb"), None);
        assert_eq!(format!("{:?}", Token::new(3, "secret")), "Some(Token(3, hidden))");
    }
}
