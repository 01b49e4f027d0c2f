//! A limit on waiting whose timer is made only when there is something to wait for.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// The limit passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed;

/// Does work for at most `limit`, counted from where it first has to wait.
///
/// The timer lies apart: tokio aligns timers to cache lines, and a future that held one would have to be
/// aligned so as a whole, which allocators are slow at.
///
/// # Errors
/// [`Passed`] where the work was not done in time; it is dropped then.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Passed> {
    let mut work = pin!(work);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(Passed))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_done_in_time_or_dropped() {
        assert_eq!(within(Duration::ZERO, async { 7 }).await, Ok(7));
        let second = Duration::from_secs(1);
        assert_eq!(within(second * 2, sleep(second)).await, Ok(()));
        assert_eq!(within(second, sleep(second * 2)).await, Err(Passed));
    }
}
