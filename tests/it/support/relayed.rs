//! A TCP relay before a server, which can fall silent or cut every connection.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What the relay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass.
    Pass,
    /// Connections stay and nothing passes.
    Mute,
    /// Connections are closed, new ones at once.
    Cut,
}

/// A relay before the server of an address.
pub struct Relayed {
    /// The address through the relay.
    pub url: String,
    mode: Arc<AtomicU8>,
}

impl Relayed {
    /// Starts a relay to the server that an address names.
    pub fn to(url: &str) -> Self {
        let (before, rest) = url.split_once('@').unwrap();
        let (target, path) = rest.split_once('/').unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("{before}@{}/{path}", listener.local_addr().unwrap());
        let mode = Arc::new(AtomicU8::new(Mode::Pass as u8));
        let (target, shared) = (target.to_owned(), mode.clone());
        // In a thread of its own: tests block theirs.
        let relay = async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                if shared.load(Ordering::Relaxed) == Mode::Cut as u8 {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, shared.clone()));
                tokio::spawn(pass(from_server, to_client, shared.clone()));
            }
        };
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(relay);
        });
        Self { url, mode }
    }

    /// Changes what it does.
    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mode: Arc<AtomicU8>,
) {
    let mut buffer = vec![0; 16 << 10];
    let tick = std::time::Duration::from_millis(5);
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = until(&mode, Mode::Cut, tick) => 0,
        };
        while mode.load(Ordering::Relaxed) == Mode::Mute as u8 {
            tokio::time::sleep(tick).await;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn until(mode: &AtomicU8, wanted: Mode, tick: std::time::Duration) {
    while mode.load(Ordering::Relaxed) != wanted as u8 {
        tokio::time::sleep(tick).await;
    }
}
