//! What a call costs the gateway while channels and keys are few, and while they are many. All gateways run at once and
//! take turns, so that whatever else the machine does falls on each of them alike.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    options, page,
    process::{CpuMicros, Process, free_address},
};
use crate::store::{Store, dsn::Dsn};

/// Connections that ask, one call after another each.
const CONNECTIONS: u64 = 16;
/// Calls that a channel gets before anything is measured.
const CALLS_A_CHANNEL: u32 = 20;
/// Few keys.
const FEW_KEYS: u32 = 10;
/// Longest head and body of an answer, in bytes.
const LONGEST: usize = 64 << 10;

/// How models lie on channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Models {
    /// One, which every channel serves.
    One,
    /// One of its own for each channel.
    OneEach,
}

/// How much of a gateway calls ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// One model, by few keys: whatever else there is stands by.
    Little,
    /// Every model by every key, in turn.
    Everything,
}

/// A gateway's size.
#[derive(Clone, Copy, Debug)]
struct Size {
    channels: u32,
    models: Models,
    keys: u32,
    asked: Asked,
}

impl Size {
    fn name(&self) -> String {
        let Self { channels, models, keys, asked } = self;
        let one = if *asked == Asked::Little { ", one of which is asked" } else { "" };
        let few = if *asked == Asked::Little && *keys > FEW_KEYS {
            format!(", {FEW_KEYS} of which call")
        } else {
            String::new()
        };
        match (channels, models) {
            (1, _) => format!("1 channel, {keys} keys{few}"),
            (_, Models::One) => format!("{channels} channels that serve one model, {keys} keys"),
            (_, Models::OneEach) => format!("{channels} channels with a model each{one}, {keys} keys"),
        }
    }

    /// Models and keys of which calls draw one each.
    fn drawn(&self) -> (u32, u32) {
        match (self.asked, self.models) {
            (Asked::Little, _) => (1, self.keys.min(FEW_KEYS)),
            (Asked::Everything, Models::One) => (1, self.keys),
            (Asked::Everything, Models::OneEach) => (self.channels, self.keys),
        }
    }

    /// How many times the cost of the first gateway a call may cost at most.
    fn bound(&self, options: &options::Scale) -> f64 {
        match self.asked {
            Asked::Little => options.at_most,
            Asked::Everything => options.at_most_asked,
        }
    }
}

/// A running gateway, and what was measured of it.
struct Measured {
    size: Size,
    address: SocketAddr,
    process: Process,
    /// Processor microseconds a call, a round each.
    costs: Vec<f64>,
    /// The same of the HTTP workers alone.
    worker_costs: Vec<f64>,
    /// Processor microseconds in a second without calls.
    idle: f64,
}

/// Runs the drill.
pub(super) fn run(options: &options::Scale, program: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("the drill's folder cannot be made: {error}");
    let dir = tempfile::tempdir().map_err(failed)?;
    let mock = free_address()?;
    let mut upstream = Process::start("mock", program, &["mock", "--listen", &mock.to_string()], dir.path())?;
    upstream.await_listening(mock)?;
    let (many, keys) = (options.channels, options.keys);
    let sizes = [
        (1, Models::One, FEW_KEYS, Asked::Little),
        (many, Models::OneEach, FEW_KEYS, Asked::Little),
        (1, Models::One, keys, Asked::Little),
        (many, Models::One, FEW_KEYS, Asked::Everything),
        (many, Models::OneEach, FEW_KEYS, Asked::Everything),
        (1, Models::One, keys, Asked::Everything),
    ];
    let sizes = sizes.map(|(channels, models, keys, asked)| Size { channels, models, keys, asked });
    let mut measured = Vec::new();
    for (number, size) in sizes.into_iter().enumerate() {
        let folder = dir.path().join(number.to_string());
        fs::create_dir(&folder).map_err(failed)?;
        fs::write(folder.join("penstock.toml"), settings(size, mock)).map_err(failed)?;
        fill(&folder, size.keys)?;
        let address = free_address()?;
        let listen = address.to_string();
        let arguments = ["serve", "--listen", &listen, "--config", "penstock.toml"];
        let mut process = Process::start("gateway", program, &arguments, &folder)?;
        process.await_listening(address)?;
        measured.push(Measured {
            size,
            address,
            process,
            costs: Vec::new(),
            worker_costs: Vec::new(),
            idle: 0.0,
        });
    }
    let window = Duration::from_secs_f64(options.seconds);
    for one in &measured {
        // Every worker's connections to every channel, and every key asked for: what is made once is not judged.
        let (_, keys) = one.size.drawn();
        let channels = if one.size.asked == Asked::Little { 1 } else { one.size.channels };
        let needed = u64::from(channels * CALLS_A_CHANNEL).max(keys.into());
        let mut calls = 0;
        while calls < needed {
            calls += load(one, window)?;
        }
    }
    for one in &mut measured {
        let before = CpuMicros::of(one.process.id())?;
        thread::sleep(Duration::from_secs(1));
        one.idle = (CpuMicros::of(one.process.id())?.all - before.all) as f64;
    }
    for round in 0..options.rounds {
        let count = measured.len();
        for turn in 0..count {
            // Nobody is always first after another.
            let one = &mut measured[if round % 2 == 0 { turn } else { count - 1 - turn }];
            let before = CpuMicros::of(one.process.id())?;
            let calls = load(one, window)?;
            let after = CpuMicros::of(one.process.id())?;
            one.costs.push((after.all - before.all) as f64 / calls as f64);
            one.worker_costs.push((after.workers - before.workers) as f64 / calls as f64);
        }
    }
    let (table, broken) = report(&measured, options);
    println!("{table}");
    if let Some(file) = &options.page {
        page::replace(file, "scale", &table)?;
    }
    for one in measured {
        one.process.end()?;
    }
    match broken.is_empty() {
        true => Ok(()),
        false => Err(broken.join("; ")),
    }
}

fn settings(size: Size, mock: SocketAddr) -> String {
    let mut text = String::from(
        "[server]\nworkers = 2\nwatch = false\ndrain = \"1s\"\n[[price]]\nmodel = \"*\"\ninput = 1.00\noutput = 2.00\n",
    );
    for number in 0..size.channels {
        let model = match size.models {
            Models::One => 0,
            Models::OneEach => number,
        };
        text.push_str(&format!(
            "[[channel]]\nname = \"c{number}\"\nprovider = \"mock\"\nbase_url = \"http://{mock}\"\n\
             credential = \"mock\"\nmodels = [\"m{model}\"]\nconcurrency = 64\npool = {{ idle = \"10m\" }}\n"
        ));
    }
    text
}

fn secret(number: u32) -> String {
    format!("sk-scale-{number:07}-0123456789abcdef")
}

/// Makes keys in a gateway's store.
fn fill(folder: &Path, keys: u32) -> Result<(), String> {
    let data = folder.join("data");
    fs::create_dir(&data).map_err(|e| format!("{}: {e}", data.display()))?;
    let dsn = Dsn::parse("", &data).map_err(|e| e.to_string())?;
    let filled = actix_web::rt::System::new()
        .block_on(async { Store::open(&dsn, None).await?.fill_keys((0..keys).map(secret)).await });
    filled.map_err(|e| e.to_string())
}

/// Has calls made for a time, and gives how many were.
fn load(one: &Measured, lasts: Duration) -> Result<u64, String> {
    let (is_over, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (size, address) = (one.size, one.address);
    let clients = (0..CONNECTIONS).map(|client| {
        let (is_over, calls) = (Arc::clone(&is_over), Arc::clone(&calls));
        let seed = client + 1_000 * one.costs.len() as u64;
        thread::spawn(move || -> Result<(), String> {
            let mut chance = StdRng::seed_from_u64(seed);
            let mut connection = Connection::open(address).map_err(|e| e.to_string())?;
            while !is_over.load(Ordering::Relaxed) {
                let (models, keys) = size.drawn();
                let (model, key) = (chance.random_range(0..models), chance.random_range(0..keys));
                connection.call(model, key).map_err(|e| e.to_string())?;
                calls.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    });
    let clients: Vec<_> = clients.collect();
    thread::sleep(lasts);
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().map_err(|_| "a client of the drill panicked".to_owned())??;
    }
    match calls.load(Ordering::Relaxed) {
        0 => Err(format!("{}: no call was answered", size.name())),
        calls => Ok(calls),
    }
}

/// A connection that is kept.
struct Connection {
    tcp: TcpStream,
    bytes: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { tcp, bytes: vec![0; LONGEST] })
    }

    /// Asks once; anything but a whole answer of status 200 is an error.
    fn call(&mut self, model: u32, key: u32) -> io::Result<()> {
        let body =
            format!("{{\"model\":\"m{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}");
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: penstock\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            secret(key),
            body.len()
        );
        self.tcp.write_all(request.as_bytes())?;
        let mut filled = 0;
        loop {
            let count = self.tcp.read(&mut self.bytes[filled..])?;
            filled += count;
            let answer = &self.bytes[..filled];
            match whole(answer) {
                Some(200) => return Ok(()),
                None if count > 0 && filled < LONGEST => {}
                _ => {
                    let text = String::from_utf8_lossy(answer).into_owned();
                    return Err(io::Error::other(format!("a call was answered with {text}")));
                }
            }
        }
    }
}

/// The status of an answer that is all there, by its length.
fn whole(answer: &[u8]) -> Option<u16> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(answer).ok()? else { return None };
    let header = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"))?;
    let body: usize = std::str::from_utf8(header.value).ok()?.parse().ok()?;
    (answer.len() >= length + body).then_some(head.code?)
}

/// The table, and the bounds that are broken: all medians are compared with the first.
fn report(measured: &[Measured], options: &options::Scale) -> (String, Vec<String>) {
    let costs = |of: fn(&Measured) -> &[f64]| measured.iter().map(|one| spread(of(one))).collect::<Vec<_>>();
    let (all, workers) = (costs(|one| &one.costs), costs(|one| &one.worker_costs));
    let mut table = String::from(
        "| gateway | processor time a call, µs | against the first | of the HTTP workers | against the first | \
         idle, ms a second |\n|---|---|---|---|---|---|\n",
    );
    let mut broken = Vec::new();
    let shown = |[median, low, high]: [f64; 3]| format!("{median:.1} ({low:.1} to {high:.1})");
    for (at, one) in measured.iter().enumerate() {
        let (ratio, of_workers) = (all[at][0] / all[0][0], workers[at][0] / workers[0][0]);
        let bound = one.size.bound(options);
        if ratio > bound {
            broken.push(format!(
                "{}: a call costs {ratio:.2} times as much, more than {bound}",
                one.size.name()
            ));
        }
        table.push_str(&format!(
            "| {} | {} | {ratio:.2} | {} | {of_workers:.2} | {:.1} |\n",
            one.size.name(),
            shown(all[at]),
            shown(workers[at]),
            one.idle / 1_000.0
        ));
    }
    (table, broken)
}

/// Median, lowest and highest.
fn spread(costs: &[f64]) -> [f64; 3] {
    let mut sorted = costs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) && middle > 0 {
        (at(middle - 1) + at(middle)) / 2.0
    } else {
        at(middle)
    };
    [median, at(0), at(sorted.len().saturating_sub(1))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_once_its_length_is_there() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(whole(format!("{head}a").as_bytes()), None);
        assert_eq!(whole(format!("{head}ab").as_bytes()), Some(200));
        assert_eq!(whole(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"), Some(503));
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), [2.0, 1.0, 3.0]);
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), [2.5, 1.0, 4.0]);
    }
}
