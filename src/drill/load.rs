//! The clients of a drill: streams and not, failing, cut off, leaving; and what each of them saw.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use penstock_actors::domain::CallId;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{client, world::KEY};

/// How long a client waits after it was refused a connection.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client saw of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saw {
    /// The final byte of an answer.
    FinalByte,
    /// The final byte of a refusal.
    Refusal(u16),
    /// An answer that did not come to its end, or was left.
    Part,
    /// No answer.
    Nothing,
}

/// A call, from outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Not known where there was no answer.
    pub call: Option<CallId>,
    pub saw: Saw,
    /// Whether the provider was to say what was consumed.
    pub tells_usage: bool,
    /// Whether nothing stood in the way of a whole answer.
    pub is_plain: bool,
    /// When it ended.
    pub at: Instant,
}

/// Clients that go on until they are stopped.
pub(super) struct Load {
    is_over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    clients: Vec<JoinHandle<()>>,
}

/// What a client asks for.
struct Wish {
    headers: String,
    body: String,
    is_stream: bool,
    tells_usage: bool,
    is_plain: bool,
    leave_after: Option<usize>,
}

impl Load {
    /// Starts the clients.
    pub fn start(address: SocketAddr, clients: usize, seed: u64) -> Self {
        let (is_over, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Seen>>>::default());
        let clients = (0..clients as u64).map(|client| {
            let (is_over, seen) = (Arc::clone(&is_over), Arc::clone(&seen));
            thread::spawn(move || {
                let mut chance = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(client));
                while !is_over.load(Ordering::Relaxed) {
                    let one = call(address, &wish(&mut chance));
                    if one.saw == Saw::Nothing {
                        thread::sleep(PAUSE);
                    }
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            })
        });
        let clients = clients.collect();
        Self { is_over, seen, clients }
    }

    /// Lets the clients end their calls, and gives what they saw.
    pub fn stop(self) -> Result<Vec<Seen>, String> {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().map_err(|_| "a client of the drill panicked".to_owned())?;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *seen))
    }
}

fn call(address: SocketAddr, wish: &Wish) -> Seen {
    let answer = client::exchange(
        address,
        "POST",
        "/v1/chat/completions",
        &wish.headers,
        &wish.body,
        wish.leave_after,
    );
    let answer = answer.unwrap_or_default();
    let is_proper = match wish.is_stream {
        true => answer.body.windows(12).any(|end| end == b"data: [DONE]"),
        false => {
            serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok_and(|a| a["usage"].is_object())
        }
    };
    let saw = match answer.status {
        0 => Saw::Nothing,
        200 if answer.is_whole && is_proper => Saw::FinalByte,
        status if status != 200 && answer.is_whole => Saw::Refusal(status),
        _ => Saw::Part,
    };
    let call = answer.call.map(|id| CallId(id.as_u128()));
    Seen { call, saw, tells_usage: wish.tells_usage, is_plain: wish.is_plain, at: Instant::now() }
}

/// Six in ten prompt and whole, the others slow, failing, cut off or left.
fn wish(chance: &mut StdRng) -> Wish {
    let is_stream = chance.random_bool(0.5);
    let words = "word ".repeat(chance.random_range(1..60));
    let content = serde_json::json!({
        "model": "m", "stream": is_stream, "messages": [{ "role": "user", "content": words }]
    });
    // A long one notes its progress on the way.
    let (tokens, pace) = match chance.random_range(0..10) {
        0 => (chance.random_range(600..1_500), 1),
        _ => (chance.random_range(1..40), chance.random_range(0..4)),
    };
    let latency = chance.random_range(0..60);
    let mut headers = format!(
        "authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
         x-penstock-mock-tokens: {tokens}\r\nx-penstock-mock-latency-ms: {latency}\r\n\
         x-penstock-mock-pace-ms: {pace}\r\n"
    );
    let (mut tells_usage, mut is_plain, mut leave_after) = (true, false, None);
    match chance.random_range(0..20) {
        0 => headers.push_str("x-penstock-mock-status: 503\r\n"),
        1 => headers.push_str("x-penstock-mock-cut: mid-body\r\n"),
        2 => headers.push_str("x-penstock-mock-garbage: html\r\n"),
        3 => {
            headers.push_str("x-penstock-mock-no-usage: 1\r\n");
            tells_usage = false;
        }
        4 | 5 => leave_after = Some(chance.random_range(1..2_000)),
        _ => is_plain = true,
    }
    Wish { headers, body: content.to_string(), is_stream, tells_usage, is_plain, leave_after }
}
