//! The commands: what each takes, and which part of the library it calls.

mod docs;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{api_key::KeyFile, app, bench, config::Overrides, mock};

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
    Check(Settings),
    /// Prints a page of documentation in Markdown.
    Docs {
        #[command(subcommand)]
        page: docs::Page,
    },
    /// Asks the running server whether it is alive; for health checks. With --listen or --port no settings are read.
    Health(Settings),
    /// API keys kept in the data directory.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Makes a key and prints it once. A running server takes it up on SIGHUP.
    Create {
        /// What the key is called.
        #[arg(long, default_value = "unnamed")]
        name: String,
        #[command(flatten)]
        settings: Settings,
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
    /// The port to listen on, on every address.
    #[arg(long)]
    port: Option<u16>,
    /// Where state lives.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

impl Settings {
    fn source(self) -> app::Source {
        let overrides = Overrides { listen: self.listen.or(self.port.map(every)), data_dir: self.data_dir };
        app::Source { file: self.config, overrides }
    }
}

/// The port on every address.
fn every(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

impl Settings {
    fn load(self) -> Result<crate::config::Settings, String> {
        let mut source = self.source();
        source.find().and_then(|()| app::load(&source)).map_err(|e| e.to_string())
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
                app::serve(serve.settings.source(), key)
            }
            Command::Mock(mock) => run_mock(mock),
            Command::Bench(options) => bench::run(&options),
            Command::Check(settings) => {
                let settings = settings.load()?;
                app::check(&settings)?;
                println!("settings are valid: {} channels", settings.catalog.channels.len());
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
            Command::Key { command: KeyCommand::Create { name, settings } } => {
                let data_dir = settings.load()?.server.data_dir;
                let secret =
                    KeyFile::create(&data_dir, &name).map_err(|e| format!("{}: {e}", data_dir.display()))?;
                println!("{secret}");
                Ok(())
            }
        }
    }
}

fn run_mock(mock: Mock) -> Result<(), String> {
    let listener = mock::bind(mock.listen).map_err(|e| format!("{}: {e}", mock.listen))?;
    let served = actix_web::rt::System::new().block_on(async {
        let server = mock::serve(listener, mock.settings, mock.workers)?;
        let handle = server.handle();
        actix_web::rt::spawn(async move {
            app::terminated().await;
            handle.stop(false).await;
        });
        server.await
    });
    served.map_err(|e| e.to_string())
}
