//! The providers, and a mock of them on a loopback port.

use std::{net::SocketAddr, thread::JoinHandle};

use actix_web::dev::ServerHandle;
use penstock::mock::{self, MockSettings};
use serde_json::Value;

/// A provider with a dialect of its own, and what it can do.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its id.
    pub name: &'static str,
    /// A credential that the mock accepts.
    pub credential: &'static str,
    /// One that it refuses, where it looks.
    pub wrong_credential: Option<&'static str>,
    /// More lines of the channel's settings.
    pub more: &'static str,
    /// What the channel's address has behind host and port.
    pub path: &'static str,
    /// The provider's name for the model.
    pub model: &'static str,
    /// Whether it counts tokens.
    pub counts: bool,
    /// Whether it streams piece by piece.
    pub streams: bool,
    /// Whether its streams have an end of their own, which can be missing.
    pub ends: bool,
    /// Whether it can be told to stop.
    pub limits: bool,
    /// Whether it calls tools.
    pub tools: bool,
    /// Whether it calls several at once.
    pub parallel: bool,
    /// Whether an answer can be bound by a schema.
    pub schemas: bool,
    /// Whether it takes pictures.
    pub pictures: bool,
    /// Statuses that mean something else there, and what the client is told.
    pub statuses: &'static [(u16, u16)],
}

impl Case {
    /// The status that the client is told for one of the provider's.
    pub fn told(&self, status: u16) -> u16 {
        self.statuses.iter().find(|(theirs, _)| *theirs == status).map_or(status, |(_, told)| *told)
    }
}

const ALL: Case = Case {
    name: "",
    credential: "mock-credential",
    wrong_credential: None,
    more: "",
    path: "",
    model: "model-1",
    counts: true,
    streams: true,
    ends: true,
    limits: true,
    tools: true,
    parallel: true,
    schemas: true,
    pictures: true,
    statuses: &[],
};

/// An application or a service, which can be told nothing that only models can.
const SERVICE: Case =
    Case { limits: false, tools: false, parallel: false, schemas: false, pictures: false, ..ALL };

const SIGNED: &str = "AKIDMOCK|penstock-mock-secret";
const FORGED: &str = "AKIDMOCK|another-secret";
const REGION: &str = "params = { region = \"us-east-1\" }";

/// Every one.
pub const CASES: &[Case] = &[
    Case {
        name: "bedrock",
        credential: SIGNED,
        wrong_credential: Some(FORGED),
        more: REGION,
        model: "us.amazon.nova-pro-v1:0",
        ..ALL
    },
    Case {
        name: "bedrock-claude",
        credential: SIGNED,
        wrong_credential: Some(FORGED),
        more: REGION,
        model: "anthropic.claude-sonnet-4-5-20250929-v1:0",
        parallel: false,
        ..ALL
    },
    Case { name: "cohere", model: "command-a-03-2025", ..ALL },
    Case { name: "ollama-native", credential: "", model: "qwen3", ..ALL },
    Case {
        name: "hunyuan",
        credential: SIGNED,
        wrong_credential: Some(FORGED),
        model: "hunyuan-turbos-latest",
        limits: false,
        schemas: false,
        ..ALL
    },
    Case { name: "dashscope-native", model: "qwen-plus", schemas: false, pictures: false, ..ALL },
    Case { name: "cohere-v1", model: "command-r-plus", pictures: false, ..ALL },
    Case {
        name: "wenxin",
        credential: "mock-api-key|penstock-mock-secret",
        model: "ERNIE-4.0-8K",
        parallel: false,
        schemas: false,
        pictures: false,
        ..ALL
    },
    Case {
        name: "zhipu-v3",
        credential: "mock-id.penstock-mock-secret",
        wrong_credential: Some("mock-id.another-secret"),
        model: "chatglm_turbo",
        limits: false,
        tools: false,
        schemas: false,
        pictures: false,
        ..ALL
    },
    Case {
        name: "palm",
        model: "chat-bison-001",
        counts: false,
        streams: false,
        limits: false,
        tools: false,
        schemas: false,
        pictures: false,
        ..ALL
    },
    Case {
        name: "cloudflare-run",
        more: "params = { account = \"mock\" }",
        path: "/client/v4/accounts/mock/ai",
        model: "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
        ..ALL
    },
    Case {
        name: "aiproxy-library",
        more: "params = { library_id = \"lib-1\" }",
        model: "gpt-3.5-turbo",
        counts: false,
        limits: false,
        tools: false,
        schemas: false,
        pictures: false,
        ..ALL
    },
    Case { name: "dify", ..SERVICE },
    Case { name: "dify-completion", ..SERVICE },
    Case { name: "coze", model: "bot-7381", ..SERVICE },
    Case {
        name: "deepl-free",
        credential: "mock-credential:fx",
        wrong_credential: Some("wrong-credential:fx"),
        model: "deepl-zh",
        counts: false,
        streams: false,
        ends: false,
        statuses: &[(403, 401)],
        ..SERVICE
    },
    Case {
        name: "vertex",
        credential: ACCOUNT,
        wrong_credential: Some(STRANGER),
        more: PROJECT,
        model: "gemini-2.5-pro",
        ends: false,
        parallel: false,
        ..ALL
    },
    Case {
        name: "vertex-claude",
        credential: ACCOUNT,
        wrong_credential: Some(STRANGER),
        more: PROJECT,
        model: "claude-sonnet-4-5@20250929",
        parallel: false,
        ..ALL
    },
];

/// A service account's key file that the mock accepts.
const ACCOUNT: &str = "(account)";
/// One of a service account that it does not know.
const STRANGER: &str = "(stranger)";
const PROJECT: &str = "params = { project = \"penstock-mock\", region = \"eu\" }";

/// A running mock.
pub struct Provider {
    pub address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Provider {
    /// Starts a mock that behaves like this.
    pub fn start(settings: MockSettings) -> Self {
        let listener = mock::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = mock::serve(listener, settings, 1).unwrap();
                tell.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self { address, handle: told.recv().unwrap(), thread: Some(thread) }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        let ended = self.thread.take().unwrap().join();
        assert!(std::thread::panicking() || ended.is_ok(), "the mock panicked");
    }
}

/// The channel `up` to a provider at an address.
pub fn setting(case: &Case, address: SocketAddr) -> String {
    let account = || mock::service_account(&format!("http://{address}"));
    let credential = match case.credential {
        "" => String::new(),
        ACCOUNT => format!("credential = {}\n", serde_json::Value::from(account())),
        STRANGER => {
            let stranger = account().replace("mock@", "stranger@");
            format!("credential = {}\n", serde_json::Value::from(stranger))
        }
        credential => format!("credential = {}\n", serde_json::Value::from(credential)),
    };
    format!(
        "[[channel]]\nname = \"up\"\nprovider = \"{}\"\nbase_url = \"http://{address}{}\"\nmodels = [\"m\"]\n\
         mapping = {{ m = \"{}\" }}\n{credential}{}\n",
        case.name, case.path, case.model, case.more
    )
}

/// The data of a stream's events.
pub fn deltas(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}
