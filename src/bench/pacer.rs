//! Sleeps more finely than the runtime, whose timers tick once a millisecond: a late start would be counted as
//! the target's latency.

use std::time::Instant;

#[cfg(target_os = "linux")]
pub use linux::Pacer;

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, time::Instant};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::net::unix::pipe::Receiver;

    /// A timer of the kernel's. It is waited for and read as a pipe is.
    pub struct Pacer(Receiver);

    impl Pacer {
        /// Makes one; must run inside a runtime.
        ///
        /// # Errors
        /// What the system says.
        pub fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Receiver::from_owned_fd_unchecked(timer).map(Self)
        }

        /// Sleeps until `due`. Others get their turn even if that has passed.
        ///
        /// # Errors
        /// What the system says.
        pub async fn until(&self, due: Instant) -> io::Result<()> {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tokio::task::yield_now().await;
                return Ok(());
            }
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let once = Itimerspec { it_interval: zero, it_value: left };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            let mut expirations = [0; 8];
            loop {
                self.0.readable().await?;
                match self.0.try_read(&mut expirations) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read.map(|_| ()),
                }
            }
        }
    }
}

/// The runtime's timer, where there is no finer one: starts are up to a millisecond late, and are counted so.
#[cfg(not(target_os = "linux"))]
pub struct Pacer;

#[cfg(not(target_os = "linux"))]
impl Pacer {
    /// Makes one.
    ///
    /// # Errors
    /// None here.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Sleeps until `due`.
    ///
    /// # Errors
    /// None here.
    pub async fn until(&self, due: Instant) -> std::io::Result<()> {
        if due <= Instant::now() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep_until(due.into()).await;
        }
        Ok(())
    }
}

/// Processor time of the calling thread so far, in nanoseconds, where the system tells it.
pub fn thread_time() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// Nanoseconds from `earlier` to `later`; 0 where they stand the other way round.
pub fn nanoseconds(earlier: Instant, later: Instant) -> u64 {
    u64::try_from(later.saturating_duration_since(earlier).as_nanos()).unwrap_or(u64::MAX)
}
