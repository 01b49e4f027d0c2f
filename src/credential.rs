//! Credentials that need care: those exchanged for tokens, which run out, and several that one channel shows
//! in turn.
//!
//! A keeper (an actor) renews each token ahead of its end and publishes it in a cell; calls load the cell and
//! ask nobody. What is asked of whom is `exchange`'s, when it is asked is decided in `renewal`; requests go
//! out by [`TokenEndpoint`], which the composition root implements.

mod cell;
mod exchange;
mod google;
mod keeper;
mod renewal;
mod rotation;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use futures_core::future::LocalBoxFuture;
use http::Uri;
use penstock_actors::domain::{ChannelName, ChannelSpec, Credential, Credentials, Proxy};
use tokio::sync::Notify;

pub use cell::{Token, TokenCell, TokenError};
pub use keeper::{Keeper, Want};
pub use rotation::Rotation;

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

/// What calls and keeper share: the cells of tokens, and where channels stand in their credentials.
#[derive(Default)]
pub struct Vault {
    cells: Mutex<Vec<(Wanted, Arc<TokenCell>)>>,
    rotations: Mutex<HashMap<ChannelName, Arc<Rotation>>>,
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

    /// Where a channel stands in its credentials, the same for every worker. Links keep it.
    pub fn rotation(&self, channel: &ChannelName, credentials: &Credentials, now: Instant) -> Arc<Rotation> {
        let mut rotations = self.rotations.lock().unwrap_or_else(PoisonError::into_inner);
        let rotation = match rotations.get(channel) {
            Some(rotation) if rotation.is_of(credentials) => return Arc::clone(rotation),
            Some(old) => Arc::new(old.with(credentials, now)),
            None => Arc::new(Rotation::new(credentials.clone(), now)),
        };
        rotations.insert(channel.clone(), Arc::clone(&rotation));
        rotation
    }

    /// Forgets the cells that are not wanted; calls that still hold one go on with it.
    fn keep(&self, wanted: &[Wanted]) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|(known, _)| wanted.contains(known));
    }
}
