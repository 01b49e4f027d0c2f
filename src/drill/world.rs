//! A drill's own folder, its mock and its gateway, and what it asks of them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    client, options,
    process::{Process, free_address},
};
use crate::{
    app,
    store::{Store, dsn::Dsn},
};

/// The secret of the key that the clients show.
pub(super) const KEY: &str = "sk-drill-0123456789abcdef";
/// What a token of a prompt costs in nano-dollars, and what a token of an answer.
pub(super) const PRICES: (i64, i64) = (1_000, 2_000);

/// After so many starts what an end left behind must be in the database.
const MOST_STARTS: u64 = 10;

/// The stage of a drill.
pub(super) struct World {
    program: PathBuf,
    url: String,
    folder: PathBuf,
    gateway: SocketAddr,
    mock_address: SocketAddr,
    _mock: Process,
    /// Removed at the end, where it is not to be kept.
    _dir: Option<tempfile::TempDir>,
}

/// Where a world's books are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    url: String,
    data: PathBuf,
}

impl Place {
    /// Opens the books.
    pub async fn open(&self) -> Result<Store, String> {
        let dsn = Dsn::parse(&self.url, &self.data).map_err(|e| e.to_string())?;
        Store::open(&dsn, None).await.map_err(|e| e.to_string())
    }
}

/// Which program serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    /// `penstock serve`, as everyone has it.
    Itself,
    /// The same, but it notes what is durable.
    Noting,
}

/// What the mock says of a call.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
pub(super) struct Served {
    pub attempts: u64,
    pub completed: u64,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
}

/// What the mock says of all calls.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
pub(super) struct AllServed {
    pub requests: u64,
}

impl World {
    /// Makes the folder and starts the mock.
    pub fn new(options: &options::World, program: &Path) -> Result<Self, String> {
        Self::with(options, program, options::Mode::default())
    }

    /// The same, with a journal that is kept so.
    pub fn with(options: &options::World, program: &Path, mode: options::Mode) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the drill's folder cannot be made: {error}");
        let (folder, dir) = match &options.keep {
            Some(folder) => (folder.clone(), None),
            None => {
                let dir = tempfile::tempdir().map_err(failed)?;
                (dir.path().to_owned(), Some(dir))
            }
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let (gateway, mock_address) = (free_address()?, free_address()?);
        let listen = mock_address.to_string();
        let mut mock = Process::start("mock", program, &["mock", "--listen", &listen], &folder)?;
        mock.await_listening(mock_address)?;
        let url = options.url.clone();
        let world =
            Self { program: program.into(), url, folder, gateway, mock_address, _mock: mock, _dir: dir };
        fs::write(world.settings_file(), world.settings(mode)).map_err(failed)?;
        Ok(world)
    }

    fn settings(&self, mode: options::Mode) -> String {
        let mode = match mode {
            options::Mode::Group => "group",
            options::Mode::Power => "power",
        };
        let (mock, url) = (self.mock_address, toml::Value::from(self.url.as_str()));
        let store = if self.url.is_empty() { String::new() } else { format!("[store]\nurl = {url}\n") };
        format!(
            "{store}\
             [journal]\nmode = \"{mode}\"\n\
             [server]\nworkers = 2\nwatch = false\ndrain = \"5s\"\n\
             [[channel]]\nname = \"mock\"\nprovider = \"mock\"\nbase_url = \"http://{mock}\"\n\
             credential = \"mock\"\nmodels = [\"m\"]\n\
             [[price]]\nmodel = \"m\"\ninput = 1.00\noutput = 2.00\n\
             [[key]]\nname = \"drill\"\nsecret = \"{KEY}\"\n"
        )
    }

    fn settings_file(&self) -> PathBuf {
        self.folder.join("penstock.toml")
    }

    /// Where everything of the drill lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The gateway's data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where a noting gateway notes.
    pub fn notes(&self) -> PathBuf {
        self.folder.join("notes")
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.gateway
    }

    /// Starts the gateway, and waits until it takes connections.
    pub fn start_gateway(&self, serves: Serves) -> Result<Process, String> {
        let (listen, notes) = (self.gateway.to_string(), self.notes().display().to_string());
        let sqlite = self.sqlite().display().to_string();
        let mut arguments = match serves {
            Serves::Itself => vec!["serve"],
            Serves::Noting => vec!["drill", "gateway", "--notes", &notes],
        };
        if serves == Serves::Noting && self.is_embedded() {
            arguments.extend(["--sqlite", &sqlite]);
        }
        arguments.extend(["--listen", &listen, "--config", "penstock.toml"]);
        let mut gateway = Process::start("gateway", &self.program, &arguments, &self.folder)?;
        gateway.await_listening(self.gateway)?;
        Ok(gateway)
    }

    /// Ends the gateway in peace. What it says it could not bring into the database in time, further starts do:
    /// gives how many it took.
    pub fn end_gateway(&self, mut gateway: Process, serves: Serves) -> Result<u64, String> {
        for starts in 0..MOST_STARTS {
            if !gateway.end()?.contains(app::LEFT_TO_REPLAY) {
                return Ok(starts);
            }
            gateway = self.start_gateway(serves)?;
        }
        Err(format!("{MOST_STARTS} starts did not bring everything into the database"))
    }

    /// Whether the database is the drill's own SQLite file.
    pub fn is_embedded(&self) -> bool {
        self.url.is_empty() || self.url.starts_with("sqlite:")
    }

    /// What the database is called in reports.
    pub fn database(&self) -> &str {
        match self.url.split_once(':').map_or("", |(scheme, _)| scheme) {
            "postgres" | "postgresql" => "PostgreSQL",
            "mysql" | "mariadb" => "MariaDB",
            _ => "SQLite",
        }
    }

    /// The embedded database's file.
    pub fn sqlite(&self) -> PathBuf {
        match self.url.strip_prefix("sqlite:") {
            Some(path) => path.into(),
            None => self.data().join("penstock.db"),
        }
    }

    /// Where the books are.
    pub fn place(&self) -> Place {
        Place { url: self.url.clone(), data: self.data() }
    }

    /// What the mock served under a call's id.
    pub fn served(&self, call: uuid::Uuid) -> Result<Option<Served>, String> {
        self.ask_mock(&format!("/_mock/calls/{call}"))
    }

    /// What the mock served in all.
    pub fn all_served(&self) -> Result<AllServed, String> {
        Ok(self.ask_mock("/_mock/calls")?.unwrap_or_default())
    }

    fn ask_mock<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, String> {
        let failed = |error: std::io::Error| format!("the mock does not answer: {error}");
        let answer = client::exchange(self.mock_address, "GET", path, "", "", None).map_err(failed)?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map(Some).map_err(|e| e.to_string()),
            404 => Ok(None),
            status => Err(format!("the mock answers {status} to {path}")),
        }
    }
}
