//! Channels made of nothing but the environment: the usual variables of providers and of local servers.

use super::{
    Environment, Providers,
    problem::{Notice, Place, Problem},
    raw,
};

/// A channel that the environment makes, and where its parts come from.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) channel: raw::Channel,
    /// Where the channel comes from.
    pub(super) from: Place,
    /// Where its address comes from.
    pub(super) address_from: Place,
}

/// What the environment's variables come to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) made: Vec<Made>,
    pub(super) notices: Vec<Notice>,
    pub(super) problems: Vec<Problem>,
}

/// A provider's usual variables.
struct Usual {
    /// The provider's row, and the name of the channel.
    provider: &'static str,
    /// Variables for the credential; the first that is set.
    keys: &'static [&'static str],
    /// Variables for the address.
    bases: &'static [&'static str],
    /// Variables that become headers.
    headers: &'static [(&'static str, &'static str)],
}

/// A server that people run beside Penstock. Its channel has its name.
struct Local {
    name: &'static str,
    usual: &'static str,
    /// The variable for its address.
    base: &'static str,
}

const PROVIDERS: &[Usual] = &[
    Usual {
        provider: "openai",
        keys: &["OPENAI_API_KEY"],
        bases: &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
        headers: &[
            ("OpenAI-Organization", "OPENAI_ORG_ID"),
            ("OpenAI-Organization", "OPENAI_ORGANIZATION"),
            ("OpenAI-Project", "OPENAI_PROJECT_ID"),
        ],
    },
    Usual {
        provider: "anthropic",
        keys: &["ANTHROPIC_API_KEY", "CLAUDE_API_KEY"],
        bases: &["ANTHROPIC_BASE_URL"],
        headers: &[],
    },
    usual("deepseek", &["DEEPSEEK_API_KEY"], &["DEEPSEEK_BASE_URL"]),
    usual("groq", &["GROQ_API_KEY"], &["GROQ_BASE_URL"]),
    usual("mistral", &["MISTRAL_API_KEY"], &["MISTRAL_BASE_URL"]),
    usual("xai", &["XAI_API_KEY"], &["XAI_BASE_URL"]),
    usual("openrouter", &["OPENROUTER_API_KEY"], &["OPENROUTER_BASE_URL"]),
    usual("gemini-openai", &["GEMINI_API_KEY", "GOOGLE_API_KEY"], &["GEMINI_BASE_URL"]),
    usual("together", &["TOGETHER_API_KEY", "TOGETHERAI_API_KEY"], &["TOGETHER_BASE_URL"]),
    usual("siliconflow", &["SILICONFLOW_API_KEY"], &["SILICONFLOW_BASE_URL"]),
    usual("novita", &["NOVITA_API_KEY"], &["NOVITA_BASE_URL"]),
    usual("stepfun", &["STEPFUN_API_KEY", "STEP_API_KEY"], &["STEPFUN_BASE_URL"]),
    usual("minimax", &["MINIMAX_API_KEY"], &["MINIMAX_BASE_URL"]),
    usual("baichuan", &["BAICHUAN_API_KEY"], &["BAICHUAN_BASE_URL"]),
    usual("lingyiwanwu", &["LINGYIWANWU_API_KEY", "YI_API_KEY"], &[]),
    usual("volcengine", &["ARK_API_KEY", "VOLC_API_KEY"], &["ARK_BASE_URL"]),
    usual("dashscope", &["DASHSCOPE_API_KEY"], &["DASHSCOPE_BASE_URL"]),
    usual("zhipu", &["ZHIPUAI_API_KEY", "ZHIPU_API_KEY"], &[]),
    usual("cerebras", &["CEREBRAS_API_KEY"], &[]),
    usual("sambanova", &["SAMBANOVA_API_KEY"], &[]),
    usual("fireworks", &["FIREWORKS_API_KEY"], &[]),
    usual("deepinfra", &["DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"], &[]),
    usual("perplexity", &["PERPLEXITY_API_KEY"], &[]),
    usual("cohere-openai", &["COHERE_API_KEY", "CO_API_KEY"], &[]),
    usual("nvidia-nim", &["NVIDIA_API_KEY"], &[]),
    usual("hyperbolic", &["HYPERBOLIC_API_KEY"], &[]),
    usual("moonshot", &["MOONSHOT_API_KEY"], &["MOONSHOT_BASE_URL"]),
];

const fn usual(
    provider: &'static str,
    keys: &'static [&'static str],
    bases: &'static [&'static str],
) -> Usual {
    Usual { provider, keys, bases, headers: &[] }
}

const LOCAL: &[Local] = &[
    Local { name: "ollama", usual: "http://127.0.0.1:11434", base: "OLLAMA_BASE_URL" },
    Local { name: "llamacpp", usual: "http://127.0.0.1:8080", base: "LLAMACPP_BASE_URL" },
    Local { name: "vllm", usual: "http://127.0.0.1:8000", base: "VLLM_BASE_URL" },
];

/// Any server that speaks as OpenAI does.
const COMPATIBLE: &str = "openai-compatible";

/// The names that `discover.local` takes.
pub(super) fn local_names() -> Vec<&'static str> {
    LOCAL.iter().map(|local| local.name).collect()
}

/// Each variable that makes a channel, and the id of the row that describes its provider, which is also the
/// channel's name.
pub fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    let keys = PROVIDERS.iter().flat_map(|usual| usual.keys.iter().map(|key| (*key, usual.provider)));
    keys.chain(LOCAL.iter().map(|local| (local.base, local.name)))
}

/// Channels of the providers whose variables are set.
pub(super) fn providers(environment: &Environment, rows: &dyn Providers) -> Found {
    let mut found = Found::default();
    let first = |names: &[&'static str]| names.iter().copied().find(|n| environment.get(n).is_some());
    for usual in PROVIDERS {
        if let Some(problem) = contradiction(environment, usual.keys) {
            found.problems.push(problem);
            continue;
        }
        let (key, base) = (first(usual.keys), first(usual.bases));
        let Some(from) = key.or(base) else { continue };
        if rows.provider(usual.provider).is_err() {
            let known = format!("{from} is set, but there is no provider {} here", usual.provider);
            found.notices.push(Notice::warning(known));
            continue;
        }
        let provider = match key {
            Some(_) => usual.provider,
            // An address without a key is a server that wants none.
            None if usual.provider == "openai" => COMPATIBLE,
            None => {
                let text = format!("{from} is set, but {} is not: no channel is made", usual.keys[0]);
                found.notices.push(Notice::warning(text));
                continue;
            }
        };
        let mut channel = bare(usual.provider, provider);
        channel.credential = key.map(|name| format!("env:{name}"));
        channel.base_url = base.and_then(|name| environment.get(name)).map(str::to_owned);
        for (header, name) in usual.headers {
            if environment.get(name).is_some() {
                channel.headers.entry((*header).to_owned()).or_insert_with(|| format!("env:{name}"));
            }
        }
        found.add(channel, from, base.unwrap_or(from));
    }
    for local in LOCAL {
        if let Some((base_url, from)) = local_address(local, environment, &mut found.notices) {
            found.add(bare_at(local.name, base_url), from, from);
        }
    }
    found
}

/// Channels of the local servers that `discover.local` names.
pub(super) fn local(names: &[String], environment: &Environment) -> Found {
    let mut found = Found::default();
    for local in LOCAL.iter().filter(|local| names.iter().any(|name| name == local.name)) {
        match local_address(local, environment, &mut found.notices) {
            Some((base_url, from)) => found.add(bare_at(local.name, base_url), from, from),
            None => found.made.push(Made {
                channel: bare_at(local.name, local.usual.to_owned()),
                from: Place::Nowhere,
                address_from: Place::Nowhere,
            }),
        }
    }
    found
}

/// Whether any variable is set that makes a channel, and which.
pub(super) fn any_set(environment: &Environment) -> Vec<&'static str> {
    let keys = PROVIDERS.iter().flat_map(|usual| usual.keys).copied();
    keys.chain(LOCAL.iter().map(|l| l.base)).filter(|name| environment.get(name).is_some()).collect()
}

impl Found {
    fn add(&mut self, channel: raw::Channel, from: &str, address_from: &str) {
        self.notices.push(Notice::info(format!("{from} makes the channel {}", channel.name)));
        let (from, address_from) =
            (Place::Variable(from.to_owned()), Place::Variable(address_from.to_owned()));
        self.made.push(Made { channel, from, address_from });
    }
}

/// Two variables for one thing that say different things.
fn contradiction(environment: &Environment, names: &[&str]) -> Option<Problem> {
    let mut set = names.iter().filter_map(|name| Some((*name, environment.get(name)?)));
    let (first, value) = set.next()?;
    let (other, _) = set.find(|(_, other)| *other != value)?;
    Some(Problem::variable(first, format!("{other} is set to something else; leave one of the two")))
}

fn local_address(
    local: &Local,
    environment: &Environment,
    notices: &mut Vec<Notice>,
) -> Option<(String, &'static str)> {
    let host = environment.get("OLLAMA_HOST").filter(|_| local.name == "ollama").map(ollama);
    match (environment.get(local.base), host) {
        (Some(base), Some(host)) if base.trim_end_matches('/') != host => {
            notices.push(Notice::info("OLLAMA_BASE_URL is used, not OLLAMA_HOST"));
            Some((base.to_owned(), local.base))
        }
        (Some(base), _) => Some((base.to_owned(), local.base)),
        (None, Some(host)) => Some((host, "OLLAMA_HOST")),
        (None, None) => None,
    }
}

/// The address that Ollama's own variable means: `0.0.0.0`, `:11434`, `host`, `http://host:port`.
fn ollama(written: &str) -> String {
    let written = written.trim().trim_end_matches('/');
    let (scheme, rest) = written.split_once("://").unwrap_or(("", written));
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (rest, if scheme.is_empty() { "11434" } else { "" }),
    };
    // What a server listens on everywhere is reached on loopback.
    let host = match host {
        "" | "0.0.0.0" | "[::]" | "::" | "[" => "127.0.0.1",
        host => host,
    };
    let colon = if port.is_empty() { "" } else { ":" };
    format!("{}://{host}{colon}{port}", if scheme.is_empty() { "http" } else { scheme })
}

fn bare_at(name: &str, base_url: String) -> raw::Channel {
    raw::Channel { base_url: Some(base_url), ..bare(name, COMPATIBLE) }
}

fn bare(name: &str, provider: &str) -> raw::Channel {
    raw::Channel {
        name: name.to_owned(),
        id: None,
        provider: provider.to_owned(),
        base_url: None,
        params: Default::default(),
        credential: None,
        credentials: None,
        credential_turn: raw::Turn::default(),
        organisation: None,
        project: None,
        headers: Default::default(),
        quirks: None,
        models: Some(raw::Models::Discovered),
        mapping: Default::default(),
        groups: None,
        priority: 0,
        weight: 1,
        concurrency: None,
        adaptive: raw::Adaptive::default(),
        pacing: true,
        longest_pause: None,
        enabled: true,
        timeouts: raw::Timeouts::default(),
        pool: raw::Pool::default(),
        transport: raw::Transport::default(),
        proxy: None,
        cost_ratio: None,
        failover_uncertain: None,
        limits: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollamas_own_variable_is_read_as_it_reads_it() {
        for (written, wanted) in [
            ("0.0.0.0", "http://127.0.0.1:11434"),
            (":9999", "http://127.0.0.1:9999"),
            ("host", "http://host:11434"),
            ("host:1", "http://host:1"),
            ("http://host:1/", "http://host:1"),
            ("https://host", "https://host"),
        ] {
            assert_eq!(ollama(written), wanted, "{written}");
        }
    }
}
