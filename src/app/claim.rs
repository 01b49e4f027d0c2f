//! This process's claim to its node, in the database: made before the books are written, renewed while it
//! runs. A data directory that was copied to a second machine is found here; the lock on it does not see that.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::{
    journal::Node,
    relay::books::BooksShared,
    store::{Claimant, Claimed, Ended, LateStore, Store, StoreError, Voice},
};

/// How often a claim is renewed.
const RENEW: Duration = Duration::from_secs(2);
/// How often a claim is tried that could not be made yet.
const TRY: Duration = Duration::from_millis(500);
/// A holder that was not renewed for so long, by the wall clock, has ended, whatever the clocks differ.
const LONG_GONE: Duration = Duration::from_secs(60);
/// A holder that does not move for so long has ended.
const STILL: Duration = Duration::from_secs(10);

/// The node, and who claims it.
pub(super) struct Claim {
    node: RefCell<Node>,
    claimant: Claimant,
    store: Arc<LateStore>,
    /// The holder that is in the way: when it was seen last, and since when it has not moved.
    watched: RefCell<Option<(i64, Instant)>>,
    is_noted: RefCell<Noted>,
}

/// Whether the claim is written down in the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noted {
    Yes,
    No,
}

/// What a try came to.
enum Tried {
    Ours,
    /// Who is in the way may have ended; that shows later.
    Wait,
    /// Another process speaks for the node.
    Conflict(String),
}

impl Claim {
    pub(super) fn new(node: Node, store: Arc<LateStore>) -> Rc<Self> {
        let claimant = Claimant {
            node: node.node(),
            nonce: node.nonce().to_owned(),
            place: node.place(),
            may_follow: node.may_follow().to_vec(),
        };
        let (node, is_noted) = (RefCell::new(node), RefCell::new(Noted::No));
        Rc::new(Self { node, claimant, store, watched: RefCell::default(), is_noted })
    }

    /// The node.
    pub(super) fn node(&self) -> std::cell::Ref<'_, Node> {
        self.node.borrow()
    }

    /// The node, to be written.
    pub(super) fn node_mut(&self) -> std::cell::RefMut<'_, Node> {
        self.node.borrow_mut()
    }

    /// Claims the node at the start. Where the database is away, that is done later.
    ///
    /// # Errors
    /// A sentence, where another process speaks for the node.
    pub(super) async fn make(&self) -> Result<(), String> {
        loop {
            let Ok(store) = self.store.get() else { return Ok(()) };
            match self.attempt(&store).await {
                Ok(Tried::Ours) => return Ok(()),
                Ok(Tried::Conflict(sentence)) => return Err(sentence),
                Ok(Tried::Wait) => tokio::time::sleep(TRY).await,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "the node is claimed when the database is back");
                    return Ok(());
                }
                Err(error) => return Err(format!("the node cannot be claimed: {error}")),
            }
        }
    }

    /// Renews the claim for as long as the gateway runs, and makes it where that was not possible. Where
    /// another process has it, no call is dispatched any more.
    pub(super) fn keep(self: &Rc<Self>, books: &Arc<BooksShared>) {
        let (claim, books) = (Rc::downgrade(self), Arc::downgrade(books));
        actix_web::rt::spawn(async move {
            let mut pause = TRY;
            loop {
                tokio::time::sleep(pause).await;
                let (Some(claim), Some(books)) = (claim.upgrade(), books.upgrade()) else { return };
                let Ok(store) = claim.store.get() else { continue };
                let tried = claim.attempt(&store).await;
                let is_conflict = matches!(tried, Ok(Tried::Conflict(_)));
                let was_conflict = match tried {
                    // What is not known does not change what is in force.
                    Err(_) | Ok(Tried::Wait) => continue,
                    _ => books.is_elsewhere.swap(is_conflict, Ordering::Relaxed),
                };
                pause = if is_conflict { TRY } else { RENEW };
                match tried {
                    Ok(Tried::Conflict(sentence)) if !was_conflict => {
                        tracing::error!(problem = sentence, "no call is dispatched any more");
                    }
                    Ok(Tried::Ours) if was_conflict => {
                        tracing::info!("the node is ours again; calls are dispatched")
                    }
                    _ => {}
                }
            }
        });
    }

    /// Lets go of the claim: the next start need not wait.
    pub(super) async fn release(&self) {
        let Ok(store) = self.store.get() else { return };
        if *self.is_noted.borrow() == Noted::No {
            return;
        }
        match tokio::time::timeout(RENEW, store.release_node(&self.claimant)).await {
            Ok(Ok(())) => {}
            _ => tracing::warn!("the claim to the node was not given back; another place waits for its end"),
        }
    }

    async fn attempt(&self, store: &Store) -> Result<Tried, StoreError> {
        let now_ms = super::now_ms();
        let watched = *self.watched.borrow();
        let ended = match watched {
            Some((seen_ms, since)) if since.elapsed() >= STILL => Ended::SeenLast(seen_ms),
            _ => Ended::SeenBefore(now_ms.saturating_sub(LONG_GONE.as_millis() as i64)),
        };
        Ok(match store.claim_node(&self.claimant, now_ms, ended).await? {
            Claimed::Ours(epoch) => {
                self.is_ours(epoch);
                Tried::Ours
            }
            Claimed::Alive(seen_ms) => {
                self.store.speak(Voice::NotOurs);
                match watched {
                    // It moves: it lives.
                    Some((before, _)) if before != seen_ms => Tried::Conflict(self.is_taken()),
                    Some(_) => Tried::Wait,
                    None => {
                        *self.watched.borrow_mut() = Some((seen_ms, Instant::now()));
                        Tried::Wait
                    }
                }
            }
            Claimed::Elsewhere => {
                self.store.speak(Voice::NotOurs);
                Tried::Conflict(self.is_older())
            }
        })
    }

    fn is_ours(&self, epoch: i64) {
        self.watched.borrow_mut().take();
        if *self.is_noted.borrow() == Noted::No {
            tracing::debug!(node = self.claimant.node, epoch, "the node is claimed");
            match self.node.borrow_mut().set_claimed() {
                Ok(()) => *self.is_noted.borrow_mut() = Noted::Yes,
                // The claim can be followed by what is written there already.
                Err(error) => tracing::warn!(%error, "the claim to the node was not written down"),
            }
        }
        self.store.speak(Voice::Ours);
    }

    fn is_taken(&self) -> String {
        format!(
            "another process runs as node {} with a copy of this data directory ({}); give this one a data \
             directory of its own (server.data_dir), or stop the other",
            self.claimant.node,
            self.node().folder().display()
        )
    }

    fn is_older(&self) -> String {
        let node = self.claimant.node;
        format!(
            "node {node} went on elsewhere with a copy of this data directory ({}), so that this one is out of \
             date; give it a data directory of its own (server.data_dir). If the database was put back from a \
             backup instead, delete the row of node {node} from its table node_claim",
            self.node().folder().display()
        )
    }
}
