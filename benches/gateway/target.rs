//! What is measured and what answers behind it: how each is started, reached and known to be ready.

use super::peers::Peer;
use super::process::{Child, Place, find, free_address, is_listening};
use super::settings::{Kind, Settings, UpstreamKind};
use super::{client, haproxy, nginx};
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// The credential the upstream is shown.
const CREDENTIAL: &str = "sk-mock";
/// The key Penstock is shown.
const API_KEY: &str = "sk-bench-0123456789abcdef0123456789abcdef";
/// The path of a chat call.
const CHAT: &str = "/v1/chat/completions";
/// How long a peer may take to start.
const PEER_START: Duration = Duration::from_secs(120);

/// What answers.
pub struct Upstream {
    /// What the report calls it.
    pub label: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
}

impl Upstream {
    /// Starts it and waits until it listens.
    pub fn start(settings: &Settings, place: &Place) -> Result<Self, Box<dyn Error>> {
        let address = free_address()?;
        let listen = address.to_string();
        let core = place.cores.upstream;
        let (label, mut child) = match settings.upstream {
            UpstreamKind::Mock => {
                let words = ["mock", "--listen", &listen, "--workers", "1"];
                ("penstock mock", Child::start(place, "mock", core, &settings.penstock, words)?)
            }
            UpstreamKind::StandIn => {
                let own = std::env::current_exe()?;
                let words = ["--stand-in", &listen];
                ("the harness's stand-in", Child::start(place, "stand-in", core, &own, words)?)
            }
        };
        child.wait_until(|| is_listening(address))?;
        Ok(Self { label, address, child })
    }

    /// Its processes.
    pub fn pids(&self) -> Vec<u32> {
        self.child.pids()
    }

    /// The upstream itself as a target: no gateway between.
    pub fn direct(&self) -> Target {
        Target {
            label: "direct".to_owned(),
            address: self.address,
            bearer: CREDENTIAL,
            call_path: CHAT.to_owned(),
            stream_path: CHAT.to_owned(),
            headers: String::new(),
            share: Share::All,
            child: None,
        }
    }
}

/// How much is asked of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Every round, every connection.
    All,
    /// A third of the rounds, few streams, a low rate.
    Peer,
}

/// Something in front of the upstream.
pub struct Target {
    /// What the report calls it.
    pub label: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it wants after `Bearer`.
    pub bearer: &'static str,
    /// The path of calls that are no streams.
    pub call_path: String,
    /// The path of streams.
    pub stream_path: String,
    /// What each request carries beside its key, whole lines.
    pub headers: String,
    /// What of it is measured: all, or the less that a slow one can do in a window.
    pub share: Share,
    child: Option<Child>,
}

impl Target {
    /// Starts one and waits until it serves.
    pub fn start(
        kind: &Kind,
        label: &str,
        place: &Place,
        upstream: &Upstream,
    ) -> Result<Self, Box<dyn Error>> {
        match kind {
            Kind::Direct => Ok(Self { label: label.to_owned(), ..upstream.direct() }),
            Kind::Nginx => Self::start_nginx(label, place, upstream),
            Kind::HaProxy => Self::start_haproxy(label, place, upstream),
            Kind::Peer(peer) => Self::start_peer(*peer, label, place, upstream),
            Kind::Penstock(program) | Kind::Plain(program) => {
                let channels = mock_channel(upstream.address);
                Self::start_penstock(program, label, place, upstream, &channels)
            }
        }
    }

    /// Its processes; none where there is no gateway.
    pub fn pids(&self) -> Vec<u32> {
        self.child.as_ref().map(Child::pids).unwrap_or_default()
    }

    /// The end of what it logged.
    pub fn last_words(&self) -> String {
        self.child.as_ref().map(Child::last_words).unwrap_or_default()
    }

    fn start_nginx(label: &str, place: &Place, upstream: &Upstream) -> Result<Self, Box<dyn Error>> {
        let program =
            nginx::program().ok_or("nginx is not installed; `make bench` as root on Debian installs it")?;
        let address = free_address()?;
        let config = nginx::write_config(place, label, address, upstream.address)?;
        let words = ["-c".as_ref(), config.as_os_str()];
        let mut child = Child::start(place, label, place.cores.gateway, &program, words)?;
        child.wait_until(|| is_listening(address))?;
        Ok(Self {
            label: label.to_owned(),
            address,
            bearer: CREDENTIAL,
            call_path: CHAT.to_owned(),
            stream_path: format!("{}{CHAT}", nginx::STREAM_PREFIX),
            headers: String::new(),
            share: Share::All,
            child: Some(child),
        })
    }

    fn start_haproxy(label: &str, place: &Place, upstream: &Upstream) -> Result<Self, Box<dyn Error>> {
        let program = haproxy::program().ok_or("haproxy is not installed; see benches/prepare.sh")?;
        let address = free_address()?;
        let config = haproxy::write_config(place, label, address, upstream.address)?;
        let words = ["-db".as_ref(), "-f".as_ref(), config.as_os_str()];
        let mut child = Child::start(place, label, place.cores.gateway, &program, words)?;
        child.wait_until(|| is_listening(address))?;
        Ok(Self { label: label.to_owned(), address, child: Some(child), ..upstream.direct() })
    }

    fn start_peer(
        peer: Peer,
        label: &str,
        place: &Place,
        upstream: &Upstream,
    ) -> Result<Self, Box<dyn Error>> {
        let address = free_address()?;
        let mut child = peer.start(place, label, address, upstream.address, API_KEY)?;
        child.wait_up_to(PEER_START, || {
            client::get(address, peer.health()).is_ok_and(|(status, _)| status == 200)
        })?;
        Ok(Self {
            label: label.to_owned(),
            address,
            bearer: API_KEY,
            headers: peer.headers(upstream.address),
            share: Share::Peer,
            child: Some(child),
            ..upstream.direct()
        })
    }

    /// Starts a Penstock with these channels, as the configuration file has them.
    pub fn start_penstock(
        program: &Path,
        label: &str,
        place: &Place,
        upstream: &Upstream,
        channels: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let program = find_program(program)?;
        let address = free_address()?;
        let data = tempfile::Builder::new().prefix("data-").tempdir_in(place.dir.path())?.keep();
        let config = data.with_extension("toml");
        std::fs::write(&config, penstock_config(address, &data, channels))?;
        let words = ["serve".as_ref(), "--config".as_ref(), config.as_os_str()];
        let mut child = Child::start(place, label, place.cores.gateway, &program, words)?;
        child.wait_until(|| client::get(address, "/health").is_ok_and(|(status, _)| status == 200))?;
        Ok(Self {
            label: label.to_owned(),
            address,
            bearer: API_KEY,
            child: Some(child),
            ..upstream.direct()
        })
    }
}

/// Starts every target of the settings.
pub fn start_all(
    settings: &Settings,
    place: &Place,
    upstream: &Upstream,
) -> Result<Vec<Target>, Box<dyn Error>> {
    let labels = labels(&settings.targets);
    let pairs = settings.targets.iter().zip(&labels);
    pairs.map(|(kind, label)| Target::start(kind, label, place, upstream)).collect()
}

/// What the report calls each target; the second of a kind is numbered.
pub fn labels(kinds: &[Kind]) -> Vec<String> {
    let name = |kind: &Kind| match kind {
        Kind::Nginx => "nginx",
        Kind::Penstock(_) => "penstock",
        Kind::Plain(_) => "plain",
        Kind::HaProxy => "haproxy",
        Kind::Peer(peer) => peer.name(),
        Kind::Direct => "direct",
    };
    let number = |index: usize| {
        let own = name(&kinds[index]);
        match kinds[..index].iter().filter(|kind| name(kind) == own).count() {
            0 => own.to_owned(),
            before => format!("{own} {}", before + 1),
        }
    };
    (0..kinds.len()).map(number).collect()
}

fn find_program(program: &Path) -> Result<std::path::PathBuf, String> {
    let found = if program.components().count() == 1 { find(&program.to_string_lossy()) } else { None };
    let path = found.unwrap_or_else(|| program.to_owned());
    if path.is_file() { Ok(path) } else { Err(format!("no penstock at {}", path.display())) }
}

fn penstock_config(listen: SocketAddr, data: &Path, channels: &str) -> String {
    format!(
        "\
[server]
listen = \"{listen}\"
workers = 1
data_dir = \"{data}\"

[[key]]
name = \"bench\"
secret = \"{API_KEY}\"

{channels}",
        data = data.display()
    )
}

fn mock_channel(upstream: SocketAddr) -> String {
    format!(
        "\
[[channel]]
name = \"mock\"
provider = \"mock\"
base_url = \"http://{upstream}\"
credential = \"{CREDENTIAL}\"
models = [\"penstock-echo\"]
"
    )
}
