//! A worker's idle connections, a list a channel: the last used is used first; what is old, of old settings
//! or in others' way is closed. What a connection is, the transports say.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{
    Uri,
    uri::{Authority, Scheme},
};
use penstock_actors::{
    channel::{ChannelCell, SlotMap},
    domain::PoolSettings,
};

use super::{
    SharedTransport, TransportError,
    dial::{Dialer, Peer},
};

/// How often a worker looks for connections to close when nothing asks it to.
const SWEEP: Duration = Duration::from_secs(2);

/// What can be kept.
pub(super) trait Idle {
    /// Whether the connection, at rest, can carry another request.
    fn is_open(&mut self) -> bool;
}

/// A connection, and by what it is known.
pub(super) struct Line<C> {
    pub(super) connection: C,
    tag: Tag,
    last_used: Instant,
}

/// What tells whether a connection is of use. Taken before the connection is opened, so that settings that
/// change meanwhile make it old.
pub(super) struct Tag {
    /// Where the connection leads: a call may still hold the address of older settings.
    origin: (Option<Scheme>, Option<Authority>),
    generation: u64,
    limits: PoolSettings,
    opened: Instant,
}

impl Tag {
    /// The tag of a connection that the dialer, which is made beside it, will open.
    pub(super) fn and_dialer(
        cell: &ChannelCell,
        uri: &Uri,
        shared: &Arc<SharedTransport>,
    ) -> Result<(Self, Dialer), TransportError> {
        let no_host = || TransportError::Resolve("the base URL names no host".to_owned());
        // Read before the settings: where these are newer, the connection is closed too early, not too late.
        let generation = cell.generation();
        let spec = cell.spec();
        let dialer = Dialer {
            peer: Peer::of(uri).ok_or_else(no_host)?,
            connect_timeout: spec.timeouts.connect,
            connections: Arc::clone(&cell.connections),
            shared: Arc::clone(shared),
            proxy: spec.proxy.clone(),
            pinned: None,
        };
        let origin = (uri.scheme().cloned(), uri.authority().cloned());
        Ok((Self { origin, generation, limits: spec.pool, opened: Instant::now() }, dialer))
    }

    /// For how long a connection is kept.
    pub(super) fn limits(&self) -> PoolSettings {
        self.limits
    }

    fn leads_to(&self, uri: &Uri) -> bool {
        self.origin.0.as_ref() == uri.scheme() && self.origin.1.as_ref() == uri.authority()
    }
}

impl<C: Idle> Line<C> {
    pub(super) fn new(connection: C, tag: Tag) -> Self {
        Self { connection, last_used: tag.opened, tag }
    }

    fn is_usable(&mut self, cell: &ChannelCell, now: Instant) -> bool {
        let Tag { generation, limits, opened, .. } = &self.tag;
        *generation == cell.generation()
            && now.saturating_duration_since(self.last_used) < limits.idle
            && now.saturating_duration_since(*opened) < limits.lifetime
            && self.connection.is_open()
    }
}

/// See the module's sentence. A handle: what it stands for lasts as long as one of them.
pub(super) struct Pool<C>(Rc<RefCell<SlotMap<Kept<C>>>>);

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

/// A channel's idle connections, the last used at the end.
struct Kept<C> {
    cell: Arc<ChannelCell>,
    lines: Vec<Line<C>>,
}

impl<C: Idle + 'static> Pool<C> {
    /// Makes the pool of the calling worker, and the task that sweeps it.
    pub(super) fn new(shared: &SharedTransport) -> Self {
        let kept: Rc<RefCell<SlotMap<Kept<C>>>> = Rc::default();
        let mut evict = shared.evictions();
        let weak = Rc::downgrade(&kept);
        actix_rt::spawn(async move {
            while let Some(kept) = weak.upgrade() {
                kept.borrow_mut().retain(|_, channel| channel.sweep(Instant::now()));
                drop(kept);
                let _ = tokio::time::timeout(SWEEP, evict.changed()).await;
            }
        });
        Self(kept)
    }

    /// A connection of the channel to this address.
    pub(super) fn take(&self, cell: &ChannelCell, uri: &Uri) -> Option<Line<C>> {
        let mut kept = self.0.borrow_mut();
        let lines = &mut kept.get_mut(&cell.slot)?.lines;
        let now = Instant::now();
        std::iter::from_fn(|| lines.pop()).find_map(|mut line| {
            let usable = line.tag.leads_to(uri) && line.is_usable(cell, now);
            usable.then_some(line)
        })
    }

    /// Keeps a connection that has served a request, unless someone waits for its place.
    pub(super) fn keep(&self, cell: Arc<ChannelCell>, mut line: Line<C>) {
        line.last_used = Instant::now();
        if cell.connections.waiting() > 0 || !line.is_usable(&cell, line.last_used) {
            return;
        }
        let mut kept = self.0.borrow_mut();
        kept.entry(cell.slot).or_insert_with(|| Kept { cell, lines: Vec::new() }).lines.push(line);
    }
}

impl<C: Idle> Kept<C> {
    /// Closes what is of no use any more; false where nothing is left.
    fn sweep(&mut self, now: Instant) -> bool {
        self.lines.retain_mut(|line| line.is_usable(&self.cell, now));
        let wanted = (self.cell.connections.waiting() as usize).min(self.lines.len());
        self.lines.drain(..wanted);
        !self.lines.is_empty()
    }
}
