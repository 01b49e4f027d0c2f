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

enum Recalled {
    Fresh(Arc<[SocketAddr]>),
    Old(Arc<[SocketAddr]>),
    Nothing,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Arc<[SocketAddr]>,
    since: Instant,
}

impl Resolver {
    /// The addresses of a host. An old answer serves on while the resolver is asked again, or fails.
    ///
    /// # Errors
    /// What the system's resolver says, where nothing is known.
    pub async fn resolve(self: &Arc<Self>, host: &str, port: u16) -> io::Result<Arc<[SocketAddr]>> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = literal.parse() {
            return Ok(Arc::new([SocketAddr::new(ip, port)]));
        }
        let key = (host.to_owned(), port);
        match self.recall(&key) {
            Recalled::Fresh(addresses) => Ok(addresses),
            Recalled::Old(addresses) => {
                let resolver = Arc::clone(self);
                tokio::spawn(async move {
                    if let Err(error) = resolver.ask(key).await {
                        tracing::warn!(%error, "a name could not be resolved again; its old addresses serve on");
                    }
                });
                Ok(addresses)
            }
            Recalled::Nothing => self.ask(key).await,
        }
    }

    /// What is known of a name. Whoever is given an old answer is to ask again; nobody else is for a while.
    fn recall(&self, key: &(String, u16)) -> Recalled {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get_mut(key) {
            None => Recalled::Nothing,
            Some(known) if known.since.elapsed() < FRESH => Recalled::Fresh(Arc::clone(&known.addresses)),
            Some(known) => {
                known.since = Instant::now();
                Recalled::Old(Arc::clone(&known.addresses))
            }
        }
    }

    async fn ask(&self, key: (String, u16)) -> io::Result<Arc<[SocketAddr]>> {
        let found: Vec<_> = tokio::net::lookup_host((key.0.as_str(), key.1)).await?.collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        let addresses: Arc<[SocketAddr]> = found.into();
        let known = Known { addresses: Arc::clone(&addresses), since: Instant::now() };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, known);
        Ok(addresses)
    }
}
