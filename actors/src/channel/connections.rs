//! A channel's open connections, counted over all workers against its cap. Not the connections themselves.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// Counts open connections and lets callers wait for a place.
#[derive(Debug)]
pub struct Connections {
    open: AtomicU32,
    cap: AtomicU32,
    /// Grows when a caller found no place.
    pressure: AtomicU64,
    opened: AtomicU64,
    waiting: AtomicU32,
    freed: Notify,
}

impl Connections {
    /// Makes a counter with room for `cap` connections.
    pub fn new(cap: u32) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU32::new(0),
            cap: AtomicU32::new(cap),
            pressure: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            freed: Notify::new(),
        })
    }

    /// Takes a place if there is one now.
    pub fn try_open(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let cap = self.cap.load(Ordering::Relaxed);
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < cap).then_some(open + 1))
            .ok()?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Some(ConnectionSlot { of: Arc::clone(self) })
    }

    /// Takes a place as soon as there is one; `on_wait` is told once if that is not now.
    ///
    /// The caller bounds the wait; giving up by dropping the future loses no place.
    pub async fn open(self: &Arc<Self>, on_wait: impl FnOnce()) -> ConnectionSlot {
        if let Some(slot) = self.try_open() {
            return slot;
        }
        let _waiting = Waiting::new(&self.waiting);
        let mut on_wait = Some(on_wait);
        loop {
            // Registered before looking, so that a place freed in between is not missed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(slot) = self.try_open() {
                return slot;
            }
            if let Some(tell) = on_wait.take() {
                self.pressure.fetch_add(1, Ordering::Relaxed);
                tell();
            }
            freed.await;
        }
    }

    /// Changes the cap. Open connections stay until they are closed.
    pub fn set_cap(&self, cap: u32) {
        self.cap.store(cap, Ordering::Relaxed);
        self.freed.notify_waiters();
    }

    /// Connections open now.
    pub fn count(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// The cap in force.
    pub fn cap(&self) -> u32 {
        self.cap.load(Ordering::Relaxed)
    }

    /// Connections opened since the channel was first seen.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Callers that wait for a place now; a connection that is not needed should make way for them.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// How often a caller found no place.
    pub fn pressure(&self) -> u64 {
        self.pressure.load(Ordering::Relaxed)
    }
}

/// A caller without a place, counted while it waits.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A place for one open connection. Dropping it gives it back.
#[derive(Debug)]
pub struct ConnectionSlot {
    of: Arc<Connections>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.of.open.fetch_sub(1, Ordering::Relaxed);
        self.of.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_waits_for_a_place_and_tells_so_once() {
        let connections = Connections::new(1);
        let held = connections.try_open().expect("room");
        let mut told = 0;
        {
            let mut waiting = Box::pin(connections.open(|| told += 1));
            tokio::select! {
                biased;
                _ = &mut waiting => panic!("there is no place"),
                () = std::future::ready(()) => {}
            }
            drop(held);
            let slot = waiting.await;
            assert_eq!((connections.count(), connections.waiting()), (1, 0));
            drop(slot);
        }
        assert_eq!((told, connections.pressure(), connections.count()), (1, 1, 0));
    }

    #[tokio::test]
    async fn who_gives_up_waiting_passes_the_place_on() {
        let connections = Connections::new(1);
        let held = connections.try_open().expect("room");
        let wait = || Box::pin(connections.open(|| ()));
        let (mut first, mut second) = (wait(), wait());
        for waiting in [&mut first, &mut second] {
            tokio::select! {
                biased;
                _ = waiting => panic!("there is no place"),
                () = std::future::ready(()) => {}
            }
        }
        drop(held);
        drop(first);
        drop(second.await);
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn a_raised_cap_makes_room() {
        let connections = Connections::new(0);
        assert!(connections.try_open().is_none());
        connections.set_cap(1);
        assert!(connections.try_open().is_some());
    }
}
