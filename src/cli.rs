//! The commands: what each takes, and which part of the library it calls.

mod books;
mod docs;
mod keys;
mod migrate;

use std::{
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

use crate::{
    app, bench,
    config::{self, ConfigError, Environment, Overrides, Weight},
    drill, mock,
};

/// One address, one key, every model.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves clients; what happens when no command is given.
    Serve(Serve),
    /// Answers as OpenAI and as Anthropic would, for trials, tests and benches.
    Mock(Mock),
    /// Loads an OpenAI-compatible API, Penstock or not, and tells its latencies.
    Bench(Box<bench::BenchOptions>),
    /// Reads the settings, says what is wrong with them, and ends.
    Check {
        #[command(flatten)]
        settings: Settings,
        /// Checks the books in the store too: entries, balances and the request log against each other.
        #[arg(long)]
        books: bool,
    },
    /// Asks the running server whether it is alive; for health checks. With --listen or --port no settings are read.
    Health(Settings),
    /// Asks the running server how its channels stand: limits, calls in flight and waiting, expected waits.
    Status {
        #[command(flatten)]
        settings: Settings,
        /// An API key that may see routing; needed where the server is not on this machine.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints a page of documentation that is made of the code.
    Docs {
        #[command(subcommand)]
        page: docs::Page,
    },
    /// Kills, power cuts and databases that stop, under load; and whether the books balance afterwards.
    #[command(hide = true)]
    Drill {
        #[command(subcommand)]
        drill: drill::Drill,
    },
    /// Brings the databases to the schema of this program, as every start does, and says what it did.
    Migrate(migrate::Migrate),
    /// API keys kept in the store. A running server takes changes up within a second.
    Key {
        #[command(subcommand)]
        command: keys::KeyCommand,
    },
}

#[derive(Args, Debug)]
struct Settings {
    /// The settings file; `penstock.toml` where there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, for example 127.0.0.1:3000.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "port")]
    listen: Option<SocketAddr>,
    /// The port to listen on; the address stays what it is.
    #[arg(long)]
    port: Option<u16>,
    /// Where state lives.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// A folder that gets the log too.
    #[arg(long, value_name = "FOLDER")]
    log_dir: Option<PathBuf>,
    #[command(flatten)]
    bella: Bella,
}

/// Flags of Bella OpenAPI's start script: accepted, so that a line that has them still starts.
#[derive(Args, Debug)]
struct Bella {
    #[arg(long, hide = true, value_name = "URL")]
    server: Option<String>,
    #[arg(long, hide = true, value_name = "ID:SECRET")]
    github_oauth: Option<String>,
    #[arg(long, hide = true, value_name = "ID:SECRET")]
    google_oauth: Option<String>,
    #[arg(long, hide = true)]
    skip_auth: bool,
}

impl Bella {
    /// The flags that were given; never their values, which hold secrets.
    fn given(&self) -> Vec<&'static str> {
        [
            ("--server", self.server.is_some()),
            ("--github-oauth", self.github_oauth.is_some()),
            ("--google-oauth", self.google_oauth.is_some()),
            ("--skip-auth", self.skip_auth),
        ]
        .into_iter()
        .filter_map(|(flag, given)| given.then_some(flag))
        .collect()
    }
}

/// The port on every address.
fn every(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

impl Settings {
    fn source(self) -> Result<app::Source, ConfigError> {
        let overrides = Overrides {
            listen: self.listen,
            port: self.port,
            foreign: self.bella.given(),
            data_dir: self.data_dir,
            log_dir: self.log_dir,
        };
        let mut source = app::Source { file: self.config, overrides, environment: environment()? };
        source.find()?;
        Ok(source)
    }

    fn load(self) -> Result<config::Settings, String> {
        self.source().and_then(|source| app::load(&source)).map_err(|e| e.to_string())
    }
}

/// The process's environment, and what `.env` adds to it. The one place that reads either.
fn environment() -> Result<Environment, ConfigError> {
    let environment = Environment::of(std::env::vars_os());
    let path = Path::new(".env");
    match std::fs::read_to_string(path) {
        Ok(text) => environment.with_file(path, &text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(environment),
        Err(error) => Err(ConfigError::Unreadable { path: path.into(), error }),
    }
}

#[derive(Args, Debug)]
struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Makes a key and prints a call with it. Done anyway where there is no key yet.
    #[arg(long)]
    fresh_key: bool,
}

#[derive(Args, Debug)]
struct Mock {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3001")]
    listen: SocketAddr,
    /// HTTP workers.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[command(flatten)]
    settings: mock::MockSettings,
    #[command(flatten)]
    limits: mock::MockLimits,
}

impl Cli {
    /// Runs the command; the error is a sentence for the terminal.
    ///
    /// # Errors
    /// Whatever keeps the command from doing its work.
    pub fn run(self) -> Result<(), String> {
        match self.command.unwrap_or(Command::Serve(self.serve)) {
            Command::Serve(serve) => {
                let key = if serve.fresh_key { app::FirstKey::Fresh } else { app::FirstKey::IfNone };
                app::serve(serve.settings.source().map_err(|e| e.to_string())?, key)
            }
            Command::Mock(mock) => run_mock(mock),
            Command::Bench(options) => bench::run(&options),
            Command::Check { settings, books } => {
                let settings = settings.load()?;
                app::check(&settings)?;
                let lints = config::only_checked(&settings);
                for notice in settings.notices.iter().chain(&lints).filter(|n| n.weight == Weight::Warning) {
                    println!("warning: {}", notice.text);
                }
                println!(
                    "settings are valid: {}, {}",
                    counted(settings.catalog.channels.len(), "channel"),
                    counted(settings.keys.len(), "key")
                );
                if books {
                    println!("{}", books::check(&settings)?);
                }
                Ok(())
            }
            Command::Docs { page } => {
                page.print();
                Ok(())
            }
            Command::Health(settings) => {
                let listen = match settings.listen.or(settings.port.map(every)) {
                    Some(listen) => listen,
                    None => settings.load()?.server.listen,
                };
                app::health(listen)
            }
            Command::Drill { drill } => {
                let program = std::env::current_exe().map_err(|e| e.to_string())?;
                drill::run(drill, &program)
            }
            Command::Status { settings, key, json } => {
                let listen = match settings.listen.or(settings.port.map(every)) {
                    Some(listen) => listen,
                    None => settings.load()?.server.listen,
                };
                let form = if json { app::StatusForm::Json } else { app::StatusForm::Text };
                println!("{}", app::status(listen, key.as_deref(), form)?);
                Ok(())
            }
            Command::Migrate(migrate) => migrate.run(),
            Command::Key { command } => command.run(),
        }
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn run_mock(mock: Mock) -> Result<(), String> {
    let listener = mock::bind(mock.listen).map_err(|e| format!("{}: {e}", mock.listen))?;
    let served = actix_web::rt::System::new().block_on(async {
        let server = mock::serve_within(listener, mock.settings, mock.limits, mock.workers)?;
        let handle = server.handle();
        actix_web::rt::spawn(async move {
            app::terminated().await;
            handle.stop(false).await;
        });
        server.await
    });
    served.map_err(|e| e.to_string())
}
