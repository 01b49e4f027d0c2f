//! The settings themselves.

mod books;
mod calls;
mod keys;
mod media;
mod queue;

use super::{
    Form::{Foreign, Names, Repeated, Table},
    Kind::{List, Map, Number, Switch, Text},
    Section, Setting,
    Shown::{self, Comment, Default, Example},
};

const fn set(key: &'static str, kind: super::Kind, shown: Shown, meaning: &'static str) -> Setting {
    Setting { key, kind, shown, meaning }
}

/// Every section, in the order of the reference file.
pub(in crate::config) const SECTIONS: &[Section] = &[
    Section {
        name: "server",
        form: Table,
        about: "",
        settings: &[
            set(
                "listen",
                Text,
                Default("\"0.0.0.0:3000\""),
                "Where clients connect. Flags: --listen ADDRESS; --port PORT for the port alone.",
            ),
            set("data_dir", Text, Default("\"data\""), "Where state lives. Flag: --data-dir FOLDER."),
            set("workers", Number, Example("2"), "HTTP workers; without this line, one a core."),
            set("max_body", Text, Default("\"64MiB\""), "Longest request body, decompressed."),
            set(
                "max_whole_body",
                Text,
                Default("\"32MiB\""),
                "Longest request body for providers of another dialect, which needs it whole in memory.",
            ),
            set(
                "max_bytes_in_flight",
                Text,
                Default("\"1GiB\""),
                "Request bodies held at once, in memory and temporary files together; above it, 503.",
            ),
            set("max_event", Text, Default("\"16MiB\""), "Longest event of a stream."),
            set(
                "client_stall",
                Text,
                Default("\"5m\""),
                "A client that takes nothing of its answer for this long is cut off.",
            ),
            set(
                "drain",
                Text,
                Default("\"30s\""),
                "After SIGTERM, how long streams may go on before they are told and cut.",
            ),
            set(
                "watch",
                Switch,
                Default("true"),
                "Whether a change of this file, of a \"file:\" secret or of the keys in the data directory is taken\n\
                 up by itself, within about a second. SIGHUP does it always.",
            ),
        ],
    },
    Section {
        name: "tls",
        form: Table,
        about: "A listener under TLS, beside the one in the clear; without this section, none. New files are taken up\n\
                within a second or two; those that cannot be used are told in the log, and the old ones stay in force.",
        settings: &[
            set("listen", Text, Default("\"0.0.0.0:3443\""), ""),
            set(
                "certificate",
                Text,
                Example("\"/etc/letsencrypt/live/example.com/fullchain.pem\""),
                "PEM: the server's certificate first, then its issuers.",
            ),
            set("key", Text, Example("\"/etc/letsencrypt/live/example.com/privkey.pem\""), ""),
        ],
    },
    Section {
        name: "log",
        form: Table,
        about: "",
        settings: &[
            set(
                "filter",
                Text,
                Default("\"info,actix_server=warn\""),
                "A filter by target and level. The environment's RUST_LOG wins.",
            ),
            set("format", Text, Default("\"text\""), "\"text\" for people, \"json\" for machines."),
            set(
                "dir",
                Text,
                Example("\"logs\""),
                "A folder that gets the log too, as files; without this line, none. Flag: --log-dir FOLDER.",
            ),
            set(
                "rotation",
                Text,
                Default("\"daily\""),
                "\"daily\" begins a file each day (in UTC) and keeps 30; \"never\" writes one file.",
            ),
        ],
    },
    Section {
        name: "store",
        form: Table,
        about: "",
        settings: &[
            set(
                "url",
                Text,
                Default("\"\""),
                "Empty for a SQLite file in data_dir, or a database: postgres://user:password@host/name?sslmode=verify-full,\n\
                 mysql://user:password@host/name, user:password@tcp(host:3306)/name?tls=true, sqlite:path. It may be\n\
                 \"env:NAME\" or \"file:PATH\". The database is brought to the schema of this program at start.",
            ),
            set(
                "log_url",
                Text,
                Default("\"\""),
                "The same for the request log; empty for the same database.",
            ),
            set(
                "max_staleness",
                Text,
                Default("\"24h\""),
                "While the database is away, the keys it confirmed last go on, for as long as this; then none opens.",
            ),
        ],
    },
    Section {
        name: "journal",
        form: Table,
        about: "What is owed is written here, in data_dir, before a call goes on; from here it comes into the database.",
        settings: books::JOURNAL,
    },
    Section {
        name: "retention",
        form: Table,
        about: "What age takes from the database, in small batches; of several nodes, one does it. 0 keeps for ever.",
        settings: books::RETENTION,
    },
    Section {
        name: "mock",
        form: Table,
        about: "",
        settings: &[set(
            "enabled",
            Switch,
            Example("false"),
            "Whether the built-in mock channel serves the model penstock-echo; without this line, only while\n\
             there is no channel.",
        )],
    },
    Section {
        name: "defaults",
        form: Table,
        about: "For channels that do not say otherwise.",
        settings: &[set("proxy", Text, Default("\"none\""), "What each means stands at [[channel]].")],
    },
    Section {
        name: "defaults.timeouts",
        form: Table,
        about: "For channels that do not say otherwise; what each means stands at [channel.timeouts].",
        settings: TIMEOUTS_BARE,
    },
    Section {
        name: "discover",
        form: Table,
        about: "Models that providers say they have, for channels with models = \"discover\".",
        settings: &[
            set(
                "local",
                List,
                Default("[]"),
                "Servers on this machine that become channels, on their usual ports: \"ollama\" (11434),\n\
                 \"llamacpp\" (8080), \"vllm\" (8000).",
            ),
            set(
                "refresh",
                Text,
                Default("\"10m\""),
                "How often a provider is asked again. One that fails is asked again sooner; what it said last\n\
                 stays in force.",
            ),
        ],
    },
    queue::ALL,
    queue::OF_SPACE,
    queue::OF_MODEL,
    queue::OF_GROUP,
    queue::OF_KEY,
    media::ALL,
    Section {
        name: "provider",
        form: Foreign,
        about: "A provider of one's own, in the form of config/providers.toml, which explains every key. Penstock's own are in\n\
                docs/providers.md.",
        settings: &[
            set("id", Text, Example("\"example\""), ""),
            set("name", Text, Example("\"Example\""), ""),
            set("base_url", Text, Example("\"https://llm.example.com\""), ""),
            set("prefix", Text, Example("\"/api/v2\""), ""),
            set("auth", Text, Example("\"header:X-Example-Key\""), ""),
            set("endpoints", List, Example("[\"chat_completions\", \"embeddings\"]"), ""),
            set("paths", Map, Example("{ embeddings = \"/{model}/vectors?version={version}\" }"), ""),
            set("params", Map, Example("{ version = \"2024-01-01\" }"), ""),
            set("quirks", List, Example("[\"request-stream-usage\", \"max-tokens-only\"]"), ""),
        ],
    },
    Section {
        name: "channel",
        form: Repeated,
        about: "A channel is one way to reach models. Write as many as you have provider accounts.",
        settings: &[
            set("name", Text, Example("\"openai\""), "Permanent name."),
            set(
                "id",
                Number,
                Example("1"),
                "A number that callers may pin (sk-KEY-1), if their key allows it. Without it, no pin.",
            ),
            set(
                "provider",
                Text,
                Example("\"openai\""),
                "A provider of docs/providers.md, or one's own from above.",
            ),
            set(
                "base_url",
                Text,
                Example("\"https://api.openai.com\""),
                "Where the provider is; most have a default. With or without /v1 or whatever the provider puts there; a base\n\
                 that names a version of its own (https://host/api/v3) is used as it is.",
            ),
            set(
                "params",
                Map,
                Example("{}"),
                "What the provider's address or paths have places for, for example { api_version = \"2024-10-21\" } with azure.",
            ),
            set(
                "credential",
                Text,
                Example("\"env:OPENAI_API_KEY\""),
                "What the provider is shown. For Vertex AI a service account's key file: \"file:key.json\".",
            ),
            set(
                "credentials",
                List,
                Comment("[\"env:KEY_1\", \"file:more-keys\"]"),
                "Several in the place of one; a variable or file may hold one a line. Each request shows one, in turn or\n\
                 drawn at random (\"random\"); one that the provider refuses is set aside for a while, and the next is shown. What\n\
                 its account lets through in a time is learned of each; calls wait where none has anything left.",
            ),
            set("credential_turn", Text, Default("\"round-robin\""), ""),
            set(
                "organisation",
                Text,
                Example("\"org-example\""),
                "For providers that know them: sent as OpenAI-Organization and OpenAI-Project. Also \"env:NAME\" or \"file:PATH\".",
            ),
            set("project", Text, Example("\"proj_example\""), ""),
            set(
                "models",
                List,
                Example("[\"gpt-5.2\", \"text-embedding-3-small\"]"),
                "Models as clients ask for them, and the provider's own names where they differ. models = \"discover\"\n\
                 asks the provider which it has, at the start and now and then; names in mapping are served too.",
            ),
            set("mapping", Map, Example("{ \"gpt-5.2\" = \"gpt-5.2-2025-12-11\" }"), ""),
            set(
                "headers",
                Map,
                Example("{ \"X-Example\" = \"value\" }"),
                "Headers set on each request. Values may be \"env:NAME\" or \"file:PATH\".",
            ),
            set(
                "quirks",
                List,
                Example("[\"request-stream-usage\"]"),
                "Small named rewrites; without this line, the provider's own. docs/providers.md says what each does:\n  \
                 request-stream-usage, drop-stream-options, max-tokens-only, random-seed, clamp-temperature,\n  \
                 system-for-developer, drop-user, drop-store, drop-metadata, drop-cache-hints, split-think-tags,\n  \
                 merge-reasoning",
            ),
            set("groups", List, Default("[\"default\"]"), "Groups of callers that may use the channel."),
            set(
                "priority",
                Number,
                Default("0"),
                "Channels of the highest priority are tried first; inside a priority, calls are spread by weight and load.",
            ),
            set("weight", Number, Default("1"), ""),
            set(
                "concurrency",
                Number,
                Example("64"),
                "Requests in flight; without this line, no limit. 0 lets nothing through.",
            ),
            set(
                "adaptive",
                Text,
                Default("\"fixed\""),
                "How this limit follows what the provider bears: \"fixed\" not at all; \"aimd\" lowers it where the provider\n\
                 takes no more, and tries one more now and then; \"gradient\" lowers it where first bytes come late, too.",
            ),
            set(
                "pacing",
                Switch,
                Default("true"),
                "Whether calls wait, rather than fail, for what the provider says that it lets through in a time, or shows\n\
                 by its refusals.",
            ),
            set(
                "longest_pause",
                Text,
                Default("\"1m\""),
                "The longest that one word of the provider's (retry-after) keeps the channel from sending.",
            ),
            set("enabled", Switch, Default("true"), ""),
            set(
                "transport",
                Text,
                Default("\"http1\""),
                "By what its requests go out: \"http1\", the gateway's own HTTP/1.1, or \"awc\", the client of the actix family.",
            ),
            set(
                "proxy",
                Text,
                Default("\"none\""),
                "What its connections lead through: http://, https://, socks5:// or socks5h://, then\n\
                 user:password@host:port; or \"none\". May be \"env:NAME\" or \"file:PATH\". Every provider is tunnelled,\n\
                 plain http ones too (CONNECT). Names are resolved here for socks5, by the proxy for the others. In\n\
                 user and password, write what is special in addresses as %XX.",
            ),
            set(
                "cost_ratio",
                Number,
                Default("1"),
                "What the channel costs us, as a part of the model's price: 0.8 for a fifth off. It stands in the request log.",
            ),
            set(
                "limits",
                List,
                Default("[]"),
                "What it may take in a time, in the words of [limits]. Over it, the next channel is tried; calls that find no\n\
                 other wait for requests and tokens as for a slot, and are refused where that takes too long.",
            ),
            set(
                "failover_uncertain",
                Switch,
                Example("false"),
                "As failover.uncertain, for this channel; [failover_uncertain] says it of a model.",
            ),
        ],
    },
    Section { name: "channel.timeouts", form: Repeated, about: "", settings: TIMEOUTS },
    Section {
        name: "channel.pool",
        form: Repeated,
        about: "",
        settings: &[
            set("max_connections", Number, Default("16384"), "Open connections, counted over all workers."),
            set("idle", Text, Default("\"30s\""), "An unused connection is closed after this long,"),
            set("lifetime", Text, Default("\"10m\""), "and not reused after this long."),
        ],
    },
    Section {
        name: "aliases",
        form: Names,
        about: "Names that stand for another model.",
        settings: &[set("\"gpt-latest\"", Text, Example("\"gpt-5.2\""), "")],
    },
    Section {
        name: "model.\"gpt-5.2\"",
        form: Names,
        about: "What /v1/models says of a model, over what Penstock knows. Capabilities: tools, vision, reasoning, json,\n\
                audio, pdf.",
        settings: &[
            set("owner", Text, Example("\"openai\""), ""),
            set("context_window", Number, Example("400000"), ""),
            set("max_output_tokens", Number, Example("128000"), ""),
            set("capabilities", List, Example("[\"tools\", \"vision\", \"reasoning\", \"json\"]"), ""),
        ],
    },
    Section {
        name: "key",
        form: Repeated,
        about: "Keys. `penstock key create` makes keys of its own, in the data directory.",
        settings: keys::KEY,
    },
    calls::BACKUP_MODELS,
    calls::FAILOVER,
    calls::FAILOVER_UNCERTAIN,
    calls::LIMITS,
    calls::GROUP_LIMITS,
    calls::MODEL_LIMITS,
    Section {
        name: "prices",
        form: Table,
        about: "What models cost. Penstock knows list prices of well-known models (config/prices.toml).",
        settings: &[set(
            "models_without_price",
            Text,
            Default("\"refuse-quota\""),
            "\"refuse-quota\": refused to keys with a quota, free for others; \"refuse\"; or \"free\".",
        )],
    },
    Section {
        name: "price",
        form: Foreign,
        about: "A price of one's own, in dollars for a million tokens; also cached_read, cache_write_5m, cache_write_1h,\n\
                reasoning, audio_in, image_in, audio_out, image_out, per_call, tiers, and currency with rate and dated.\n\
                The model \"*\" is every model without a price.",
        settings: &[
            set("model", Text, Example("\"my-model\""), ""),
            set("input", Number, Example("0.25"), ""),
            set("output", Number, Example("2.00"), ""),
        ],
    },
    Section {
        name: "model_ratio",
        form: Names,
        about: "One API's ratios, charged as One API does: 1 is 2 dollars for a million prompt tokens.",
        settings: &[set("\"my-other-model\"", Number, Example("15"), "")],
    },
    Section {
        name: "completion_ratio",
        form: Names,
        about: "How many prompt tokens a generated token counts for, beside model_ratio.",
        settings: &[set("\"my-other-model\"", Number, Example("2"), "")],
    },
    Section {
        name: "group_ratio",
        form: Names,
        about: "What a group's calls are multiplied by; 1 where nothing is said.",
        settings: &[set("\"vip\"", Number, Example("0.8"), "")],
    },
];

const TIMEOUTS: &[Setting] = &[
    set(
        "connect",
        Text,
        Default("\"5s\""),
        "Name resolution, TCP and TLS; and waiting for a connection where all are in use.",
    ),
    set(
        "first_byte_stream",
        Text,
        Default("\"60s\""),
        "Until the first event of a stream that is no comment; then the next channel is tried.",
    ),
    set("first_byte", Text, Default("\"10m\""), "Until the first byte of an answer that is no stream."),
    set("idle", Text, Default("\"2m\""), "Between two reads of an answer."),
    set("total", Text, Default("\"1h\""), "From the attempt's start to the answer's end."),
];

const TIMEOUTS_BARE: &[Setting] = &[
    set("connect", Text, Default("\"5s\""), ""),
    set("first_byte_stream", Text, Default("\"60s\""), ""),
    set("first_byte", Text, Default("\"10m\""), ""),
    set("idle", Text, Default("\"2m\""), ""),
    set("total", Text, Default("\"1h\""), ""),
];
