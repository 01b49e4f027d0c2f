//! How many bytes of request bodies may be held at once, over all workers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts held bytes against a cap.
#[derive(Debug)]
pub struct ByteBudget {
    used: AtomicU64,
    cap: u64,
}

impl ByteBudget {
    /// Makes a budget of `cap` bytes.
    pub fn new(cap: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), cap })
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Starts holding nothing.
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { budget: Arc::clone(self), bytes: 0 }
    }
}

/// Bytes held by one body. Dropping it gives them back.
#[derive(Debug)]
pub struct Held {
    budget: Arc<ByteBudget>,
    bytes: u64,
}

impl Held {
    /// Holds `more` bytes; false where the cap forbids it, and then nothing changes.
    #[must_use]
    pub fn grow(&mut self, more: u64) -> bool {
        let room = |used: u64| used.checked_add(more).filter(|sum| *sum <= self.budget.cap);
        let grown = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if grown {
            self.bytes += more;
        }
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_never_passes_the_cap_and_comes_back() {
        let budget = ByteBudget::new(10);
        let (mut a, mut b) = (budget.hold(), budget.hold());
        assert!(a.grow(6) && b.grow(4));
        assert!(!a.grow(1) && !b.grow(u64::MAX));
        drop(a);
        assert!(b.grow(6));
        assert_eq!(budget.used(), 10);
        drop(b);
        assert_eq!(budget.used(), 0);
    }
}
