//! The listener, the log and discovery: defaults, and what contradicts.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use penstock_actors::{domain::Credential, limiter::Rules};

use super::Resolver;
use crate::config::{Log, Notice, Overrides, Place, Server, Store, Tls, problem::At, raw, units::Span};

const DEFAULT_PORT: u16 = 3000;
const DEFAULT_TLS_PORT: u16 = 3443;
/// Longer durations are mistakes, and clocks overflow at some.
pub(super) const LONGEST_DURATION: Duration = Duration::from_secs(30 * 24 * 3600);
/// More often would be a burden to providers.
const OFTENEST_REFRESH: Duration = Duration::from_secs(10);

impl Resolver<'_> {
    pub(super) fn server(
        &mut self,
        raw: raw::Server,
        tls: Option<raw::Tls>,
        port: Option<u16>,
        host: Option<IpAddr>,
        overrides: &Overrides,
    ) -> Server {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT);
        let listen = self.listen(raw.listen.unwrap_or(any), port, host, overrides);
        let server = Server {
            listen,
            data_dir: raw.data_dir.unwrap_or_else(|| PathBuf::from("data")),
            workers: raw
                .workers
                .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
            max_body: raw.max_body.map_or(64 << 20, |s| s.0),
            max_whole_body: raw.max_whole_body.map_or(32 << 20, |s| s.0),
            max_bytes_in_flight: raw.max_bytes_in_flight.map_or(1 << 30, |s| s.0),
            max_event: raw.max_event.map_or(16 << 20, |s| s.0 as usize),
            client_stall: raw.client_stall.map_or(Duration::from_secs(300), |s| s.0),
            drain: raw.drain.map_or(Duration::from_secs(30), |s| s.0),
            watch: raw.watch.unwrap_or(true),
            tls: tls.map(|tls| Tls {
                listen: tls.listen.unwrap_or(SocketAddr::new(any.ip(), DEFAULT_TLS_PORT)),
                certificate: tls.certificate,
                key: tls.key,
            }),
        };
        let at = |key: &str| At::Setting(format!("server.{key}"));
        for (key, value) in [
            ("workers", server.workers as u64),
            ("max_body", server.max_body),
            ("max_whole_body", server.max_whole_body),
            ("max_event", server.max_event as u64),
            ("client_stall", server.client_stall.as_millis() as u64),
        ] {
            if value == 0 {
                self.refuse(&at(key), "must be more than 0");
            }
        }
        for (key, span) in [("client_stall", server.client_stall), ("drain", server.drain)] {
            if span > LONGEST_DURATION {
                self.refuse(&at(key), "must be at most 30 days");
            }
        }
        if server.workers > 1024 {
            self.refuse(&at("workers"), "must be at most 1024");
        }
        if server.tls.as_ref().is_some_and(|tls| tls.listen == server.listen && tls.listen.port() != 0) {
            let problem = "is server.listen; each needs an address of its own";
            self.refuse(&At::Setting("tls.listen".into()), problem);
        }
        if server.data_dir.as_os_str().is_empty() {
            self.refuse(&at("data_dir"), "must name a folder");
        }
        if server.max_bytes_in_flight < server.max_body {
            let problem = "is less than server.max_body, so the largest body could never be taken";
            self.refuse(&at("max_bytes_in_flight"), problem);
        }
        server
    }

    /// The address of the setting, with what `--port`, `PORT` and `HOST` change of it.
    fn listen(
        &mut self,
        mut listen: SocketAddr,
        port: Option<u16>,
        host: Option<IpAddr>,
        overrides: &Overrides,
    ) -> SocketAddr {
        let differs = [
            ("PORT", port.is_some_and(|p| p != listen.port())),
            ("HOST", host.is_some_and(|h| h != listen.ip())),
        ];
        let differing = differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name);
        match self.document.place(&At::Setting("server.listen".into()).path()) {
            Place::Flag(flag) => {
                for name in differing {
                    self.notices.push(Notice::warning(format!("{name} has no effect: {flag} wins")));
                }
            }
            Place::Variable(variable) if variable.starts_with("PENSTOCK_") => {
                for name in differing {
                    let problem = format!("says {listen}, and {name} says something else; leave one");
                    self.refuse(&At::Setting("server.listen".into()), problem);
                }
            }
            _ => {
                listen.set_port(port.unwrap_or(listen.port()));
                listen.set_ip(host.unwrap_or(listen.ip()));
            }
        }
        if let Some(port) = overrides.port {
            listen.set_port(port);
        }
        listen
    }

    /// The log; `RUST_LOG` wins over the filter.
    pub(super) fn log(&mut self, raw: raw::Log) -> Log {
        let filter = raw.filter.unwrap_or_else(|| "info,actix_server=warn".to_owned());
        if raw.dir.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
            self.refuse(&At::Setting("log.dir".into()), "must name a folder");
        }
        Log {
            filter: self.environment.get("RUST_LOG").map_or(filter, str::to_owned),
            format: raw.format,
            dir: raw.dir,
            rotation: raw.rotation,
        }
    }

    pub(super) fn store(
        &mut self,
        raw: &raw::Store,
        journal: &raw::Journal,
        retention: &raw::Retention,
        limits: &Rules,
    ) -> Store {
        let mut address = |key: &str, written: &Option<String>| {
            let at = At::Setting(format!("store.{key}"));
            let written = written.as_deref().filter(|w| !w.trim().is_empty())?;
            self.secret(&at, written).map(Credential::new)
        };
        let (url, log_url) = (address("url", &raw.url), address("log_url", &raw.log_url));
        let max_staleness = raw.max_staleness.map_or(Duration::from_secs(24 * 3600), |s| s.0);
        if max_staleness.is_zero() || max_staleness > LONGEST_DURATION {
            let at = At::Setting("store.max_staleness".into());
            self.refuse(&at, "must be more than 0 and at most 30 days");
        }
        let (journal, retention) = (self.journal(journal), self.retention(retention, limits));
        Store { url, log_url, max_staleness, journal, retention }
    }

    pub(super) fn refresh(&mut self, raw: Option<Span>) -> Duration {
        let refresh = raw.map_or(Duration::from_secs(600), |s| s.0);
        if !(OFTENEST_REFRESH..=LONGEST_DURATION).contains(&refresh) {
            let at = At::Setting("discover.refresh".into());
            self.refuse(&at, "must be at least 10 seconds and at most 30 days");
        }
        refresh
    }
}
