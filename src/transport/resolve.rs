//! Names to addresses, cached: the system's resolver blocks, so it is asked rarely and off the workers.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long an address is used without asking again.
const FRESH: Duration = Duration::from_secs(30);

/// Resolves and remembers.
#[derive(Debug, Default)]
pub struct Resolver {
    known: Mutex<HashMap<(String, u16), Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Arc<[SocketAddr]>,
    since: Instant,
}

impl Resolver {
    /// The addresses of a host. An old answer serves on while the resolver fails.
    ///
    /// # Errors
    /// What the system's resolver says, where nothing is known.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Arc<[SocketAddr]>> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = literal.parse() {
            return Ok(Arc::new([SocketAddr::new(ip, port)]));
        }
        let key = (host.to_owned(), port);
        let old = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = &old
            && known.since.elapsed() < FRESH
        {
            return Ok(Arc::clone(&known.addresses));
        }
        let found: io::Result<Vec<_>> = tokio::net::lookup_host((host, port)).await.map(Iterator::collect);
        match (found, old) {
            (Ok(found), _) if !found.is_empty() => {
                let known = Known { addresses: found.into(), since: Instant::now() };
                let addresses = Arc::clone(&known.addresses);
                self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, known);
                Ok(addresses)
            }
            (_, Some(old)) => Ok(old.addresses),
            (Ok(_), None) => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            (Err(error), None) => Err(error),
        }
    }
}
