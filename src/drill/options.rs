//! What each drill takes.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

/// Drills of the books. Each starts a mock and a gateway of its own, on free ports and a folder of its own.
#[derive(Debug, Subcommand)]
pub enum Drill {
    /// Kills the gateway at random moments and starts it again.
    Crash(Crash),
    /// Kills it, and takes away what its disk had not been asked to keep.
    Power(Power),
    /// Stops the database, also while the gateway starts.
    Outage(Outage),
    /// Counts SQL statements under load.
    Statements(Statements),
    /// Has a channel learn the limits of a provider, with limits that halve and double.
    Learning(Learning),
    /// Has one of three channels fail in each way there is, and tells what clients see of it.
    Failover(Failover),
    /// Measures what a call costs with few channels and keys, and with many.
    Scale(Scale),
    /// Loads a gateway for a long time, and tells whether what it holds grows.
    Soak(Soak),
    /// The gateway of the other drills, which notes what is durable.
    #[command(hide = true)]
    Gateway(Gateway),
}

/// What all drills take.
#[derive(Args, Clone, Debug)]
pub struct World {
    /// The database, as in store.url; SQLite in the drill's own folder where there is none. It should be empty.
    #[arg(long, value_name = "URL", default_value = "")]
    pub url: String,
    /// Clients at a time.
    #[arg(long, default_value_t = 12)]
    pub clients: usize,
    /// What chance goes by.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keeps the drill's folder, and makes it here.
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
}

/// Kills.
#[derive(Args, Debug)]
pub struct Crash {
    #[command(flatten)]
    pub world: World,
    /// How often.
    #[arg(long, default_value_t = 200)]
    pub kills: u32,
}

/// Power cuts.
#[derive(Args, Debug)]
pub struct Power {
    #[command(flatten)]
    pub world: World,
    /// How often.
    #[arg(long, default_value_t = 20)]
    pub cuts: u32,
    /// As journal.mode; with "power" no call whose final byte was seen may be lost.
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
}

/// What the journal's settlements must survive before their answers end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The process.
    #[default]
    Group,
    /// The machine.
    Power,
}

/// A database that stops.
#[derive(Args, Debug)]
pub struct Outage {
    #[command(flatten)]
    pub world: World,
    /// For how long.
    #[arg(long, default_value_t = 300)]
    pub seconds: u64,
    /// A shell command that stops the database; SQLite is locked by another writer instead.
    #[arg(long, value_name = "COMMAND", requires = "start")]
    pub stop: Option<String>,
    /// A shell command that has it go on.
    #[arg(long, value_name = "COMMAND", requires = "stop")]
    pub start: Option<String>,
}

/// Statements under load.
#[derive(Args, Debug)]
pub struct Statements {
    #[command(flatten)]
    pub world: World,
    /// For how long the load lasts; at most 40.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// The most statements a call.
    #[arg(long, default_value_t = 0.05)]
    pub at_most: f64,
}

/// A provider with limits.
#[derive(Args, Debug)]
pub struct Learning {
    /// What the provider says of its limits: headers, retry-after or nothing.
    #[arg(long, default_value = "headers", value_parser = ["headers", "retry-after", "nothing"])]
    pub tells: String,
    /// How the channel's limit follows: aimd or gradient.
    #[arg(long, default_value = "aimd", value_parser = ["aimd", "gradient"])]
    pub adaptive: String,
    /// How long each of three parts lasts: as it is, halved, and as it was.
    #[arg(long, default_value_t = 180)]
    pub seconds: u64,
    /// Clients at a time.
    #[arg(long, default_value_t = 48)]
    pub clients: usize,
}

/// Channels that fail.
#[derive(Args, Debug)]
pub struct Failover {
    /// Calls a second, sent when they are due, whatever becomes of those before.
    #[arg(long, default_value_t = 60)]
    pub rate: u32,
    /// For how long a channel fails in each way, in seconds.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Has it fail in these ways alone.
    #[arg(long, value_name = "WAYS", value_delimiter = ',')]
    pub only: Vec<Way>,
    /// Fails where more calls than so many percent of those that could be saved were lost, in one of the ways.
    #[arg(long, default_value_t = 1.0)]
    pub at_most: f64,
    /// Keeps the drill's folder, and makes it here.
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
}

/// How a channel fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// It answers 500 to one call in three.
    SomeErrors,
    /// It answers 500.
    Errors,
    /// It stalls before the first byte.
    Stalls,
    /// It closes the connection before the head of an answer.
    Closes,
    /// It cuts answers in the middle.
    Cuts,
    /// It refuses its credential.
    BadKey,
    /// It dies.
    Dies,
}

/// Many channels and keys.
#[derive(Args, Debug)]
pub struct Scale {
    /// Channels, where they are many.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub channels: u32,
    /// Keys, where they are many.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub keys: u32,
    /// How often each gateway has its turn.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How long a turn lasts, in seconds.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Fails where many channels or keys that stand by make a call cost more than so many times.
    #[arg(long, default_value_t = 1.10)]
    pub at_most: f64,
    /// Fails where many that are all asked in turn make a call cost more than so many times.
    #[arg(long, default_value_t = 1.50)]
    pub at_most_asked: f64,
    /// A page that gets the table, between <!-- scale --> and <!-- end of scale -->.
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
}

/// A long time.
#[derive(Args, Debug)]
pub struct Soak {
    /// For how long.
    #[arg(long, default_value_t = 30.0)]
    pub minutes: f64,
    /// Calls a second; without this, half of what the channel's slots can serve.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// What is held may grow by so many times the usual bounds: a short run still warms up.
    #[arg(long, default_value_t = 1.0)]
    pub slack: f64,
}

/// The gateway of a drill.
#[derive(Args, Debug)]
pub struct Gateway {
    /// Its settings.
    #[arg(long)]
    pub config: PathBuf,
    /// Where it listens.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where it notes what is durable, and what it counted when it ends.
    #[arg(long)]
    pub notes: PathBuf,
    /// The file of its database, where that is SQLite.
    #[arg(long)]
    pub sqlite: Option<PathBuf>,
}
