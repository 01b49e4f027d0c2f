//! Other gateways, from their registry packages at the versions of `benches/peers.txt`: where they are, how each is
//! started with what its makers recommend for production.

use super::process::{Child, Place, find};
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A gateway that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// LiteLLM's proxy, in Python.
    LiteLlm,
    /// Portkey's gateway, on Node.
    Portkey,
}

/// Names and versions, one a line; `benches/prepare.sh` installs by the same list.
const PINNED: &str = include_str!("../peers.txt");

impl Peer {
    /// Its name in `BENCH_TARGETS` and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::LiteLlm => "litellm",
            Self::Portkey => "portkey",
        }
    }

    /// The version that is measured.
    pub fn version(self) -> &'static str {
        let line = PINNED.lines().find_map(|line| line.strip_prefix(self.name()));
        line.map_or("unknown", str::trim)
    }

    /// What starts it, if it is installed.
    pub fn program(self) -> Option<PathBuf> {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench").join(format!(
            "{}-{}",
            self.name(),
            self.version()
        ));
        let inside = match self {
            Self::LiteLlm => "bin/litellm",
            Self::Portkey => "node_modules/@portkey-ai/gateway/build/start-server.js",
        };
        let file = place.join(inside);
        (place.join(".complete").is_file() && file.is_file()).then_some(file)
    }

    /// What runs it, for the report.
    pub fn runtime(self) -> Option<PathBuf> {
        match self {
            Self::LiteLlm => Some(self.program()?.with_file_name("python3")),
            Self::Portkey => find("node"),
        }
    }

    /// The path that tells that it serves.
    pub fn health(self) -> &'static str {
        match self {
            Self::LiteLlm => "/health/liveliness",
            Self::Portkey => "/",
        }
    }

    /// What each request must carry beside its key.
    pub fn headers(self, upstream: SocketAddr) -> String {
        match self {
            Self::LiteLlm => String::new(),
            Self::Portkey => format!(
                "x-portkey-provider: openai\r\nx-portkey-custom-host: http://{upstream}/v1\r\n\
                 x-portkey-forward-headers: x-penstock-mock-tokens,x-penstock-mock-pace-ms,\
                 x-penstock-mock-ttft-ms,x-penstock-mock-latency-ms\r\n"
            ),
        }
    }

    /// Starts it: one worker, as everyone has one core; no logs, no telemetry, no database.
    pub fn start(
        self,
        place: &Place,
        label: &str,
        listen: SocketAddr,
        upstream: SocketAddr,
        key: &str,
    ) -> Result<Child, Box<dyn Error>> {
        let missing = || format!("{} is not installed; see benches/prepare.sh", self.name());
        let program = self.program().ok_or_else(missing)?.display().to_string();
        let port = listen.port().to_string();
        // `env`, because a child gets nothing of the harness's environment.
        let env = find("env").ok_or("env is missing")?;
        let words: Vec<String> = match self {
            Self::LiteLlm => {
                let file = place.dir.path().join("litellm.yaml");
                std::fs::write(&file, litellm_config(upstream, key))?;
                let file = file.display().to_string();
                let own = ["LITELLM_MODE=PRODUCTION", "LITELLM_LOG=ERROR", &program, "--config", &file];
                let more = ["--host", "127.0.0.1", "--port", &port, "--num_workers", "1"];
                own.into_iter().chain(more).map(str::to_owned).collect()
            }
            Self::Portkey => {
                let node = find("node").ok_or("node is not installed")?.display().to_string();
                let port = format!("--port={port}");
                ["NODE_ENV=production", &node, &program, "--headless", &port].map(str::to_owned).to_vec()
            }
        };
        Child::start(place, label, place.cores.gateway, &env, words)
    }
}

fn litellm_config(upstream: SocketAddr, key: &str) -> String {
    format!(
        "\
model_list:
  - model_name: penstock-echo
    litellm_params:
      model: openai/penstock-echo
      api_base: http://{upstream}/v1
      api_key: sk-mock
general_settings:
  master_key: {key}
  # So that the mock hears what it is asked for.
  forward_client_headers_to_llm_api: true
litellm_settings:
  set_verbose: false
  telemetry: false
  request_timeout: 600
"
    )
}
