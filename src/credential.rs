//! Credentials that need care: those exchanged for tokens, which run out.
//!
//! A keeper (an actor) renews each token ahead of its end and publishes it in a cell; calls load the cell and
//! ask nobody. What is asked of whom is `exchange`'s, when it is asked is decided in `renewal`; requests go
//! out by [`TokenEndpoint`], which the composition root implements.

mod cell;
mod exchange;
mod google;
mod keeper;
mod renewal;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_core::future::LocalBoxFuture;
use http::Uri;
use penstock_actors::domain::{ChannelSpec, Credential, Proxy};
use tokio::sync::Notify;

pub use cell::{Token, TokenCell, TokenError};
pub use keeper::{Keeper, Want};

use crate::provider::{
    grant::Grant,
    row::{Auth, Row},
};

/// A token that is wanted: for which credential, of whom, by which way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose tokens.
    pub grant: Grant,
    /// What is exchanged.
    pub credential: Credential,
    /// The provider's address, where it gives tokens itself.
    pub base_url: Option<Arc<str>>,
    /// What the way there leads through.
    pub proxy: Option<Arc<Proxy>>,
}

impl Wanted {
    /// The token for one of a channel's credentials.
    pub fn of(spec: &ChannelSpec, grant: Grant, credential: &Credential) -> Self {
        Self {
            grant,
            credential: credential.clone(),
            base_url: (grant == Grant::Baidu).then(|| Arc::clone(&spec.base_url)),
            proxy: spec.proxy.clone(),
        }
    }

    /// Every token that a channel needs.
    pub fn all_of(spec: &ChannelSpec) -> Vec<Self> {
        let Some(row) = spec.row.downcast::<Row>() else { return Vec::new() };
        let Auth::Token(grant) = row.auth else { return Vec::new() };
        spec.credentials.all().iter().map(|credential| Self::of(spec, grant, credential)).collect()
    }
}

/// A request for a token, posted.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// Where to.
    pub uri: Uri,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

/// An answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Who gives tokens.
pub trait TokenEndpoint: 'static {
    /// Posts a question; an answer with a bad status is an answer.
    fn ask(
        &self,
        question: Question,
        proxy: Option<Arc<Proxy>>,
    ) -> LocalBoxFuture<'static, Result<Answer, String>>;
}

/// What calls and keeper share: the cells of tokens.
#[derive(Default)]
pub struct Vault {
    cells: Mutex<Vec<(Wanted, Arc<TokenCell>)>>,
    /// Rung where a provider refused a token.
    bell: Arc<Notify>,
}

impl Vault {
    /// The cell of a token; made where nobody asked for it before. Not for the call path: links keep it.
    pub fn cell(&self, wanted: &Wanted) -> Arc<TokenCell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = cells.iter().find(|(known, _)| known == wanted) {
            return Arc::clone(cell);
        }
        let cell = Arc::new(TokenCell::new(Arc::clone(&self.bell)));
        cells.push((wanted.clone(), Arc::clone(&cell)));
        cell
    }

    /// Forgets the cells that are not wanted; calls that still hold one go on with it.
    fn keep(&self, wanted: &[Wanted]) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|(known, _)| wanted.contains(known));
    }
}
