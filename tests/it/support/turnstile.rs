//! An upstream that lets each call through only when it is told to, and counts how many are inside.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

use super::Upstream;

/// See the module's sentence.
pub struct Turnstile {
    pub upstream: Upstream,
    turns: Arc<Semaphore>,
    most: Arc<AtomicUsize>,
}

impl Turnstile {
    pub async fn start() -> Self {
        let (turns, inside, most): (_, Arc<AtomicUsize>, Arc<AtomicUsize>) =
            (Arc::new(Semaphore::new(0)), Arc::default(), Arc::default());
        let (next, highest) = (turns.clone(), most.clone());
        let upstream = Upstream::start(move |exchange| {
            let (turns, inside, most) = (next.clone(), inside.clone(), highest.clone());
            async move {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                turns.acquire().await.unwrap().forget();
                inside.fetch_sub(1, Ordering::SeqCst);
                exchange.answer_well("hi").await
            }
        })
        .await;
        Self { upstream, turns, most }
    }

    /// Lets so many calls through.
    pub fn turn(&self, calls: usize) {
        self.turns.add_permits(calls);
    }

    /// The most calls that were inside at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub fn channel(&self, name: &str, more: &str) -> String {
        self.upstream.channel(name, more)
    }

    pub fn count(&self) -> usize {
        self.upstream.count()
    }
}
