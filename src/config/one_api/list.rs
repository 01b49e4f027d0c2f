//! The variables themselves: One API's own, then those that a well-known fork of it added.

use super::{
    Act,
    Does::{self, Awaits, Honoured, Needless, Replaced},
    Name,
    Secrecy::{Plain, Secret},
};

const fn plain(name: &'static str, does: Does) -> Name {
    Name { name, secrecy: Plain, does }
}

const fn secret(name: &'static str, does: Does) -> Name {
    Name { name, secrecy: Secret, does }
}

const DATABASE: Does = Needless("the pool and the statements of the database take care of themselves");
const NODES: Does = Awaits("several nodes and Redis are not built");
const CONSOLE: Does = Awaits("the console and its management API are not built");
const PROBES: Does = Awaits("tests of channels by the clock are not built");
const BOOKS: Does = Awaits("accounts and their books are not built");
const LIMITS: Does = Awaits("limits by address and by key are not built; channels have concurrency");
const MEDIA: Does = Awaits("media are passed on to the provider, not fetched");
const GEMINI: Does = Awaits("Gemini's own dialect is not built");
const RULE: Does = Awaits("the rule that switches off channels by their success rate is not built");
const LIVE: Does = Needless("settings are held in memory and a change is in force within about a second");
const TOKENS: Does = Needless("tokens are counted by the providers; no tokenizer is loaded");

/// Every name.
pub(in crate::config) const NAMES: &[Name] = &[
    plain("PORT", Honoured(Act::Port, "the port of server.listen")),
    plain("HOST", Honoured(Act::Host, "the address of server.listen")),
    plain(
        "DEBUG",
        Honoured(Act::Debug, "true has Penstock's own debug lines logged (log.filter); limits stay in force"),
    ),
    plain("GIN_MODE", Honoured(Act::GinMode, "debug has Penstock's own debug lines logged (log.filter)")),
    plain(
        "RELAY_TIMEOUT",
        Honoured(
            Act::RelayTimeout,
            "seconds for a whole attempt (defaults.timeouts.total); 0 is the default",
        ),
    ),
    secret(
        "RELAY_PROXY",
        Honoured(
            Act::RelayProxy,
            "leads every channel's connections, unless the channel says otherwise (defaults.proxy)",
        ),
    ),
    plain(
        "ENFORCE_INCLUDE_USAGE",
        Honoured(Act::IncludeUsage, "usage is always asked for in streams (quirk request-stream-usage)"),
    ),
    secret(
        "INITIAL_ROOT_TOKEN",
        Honoured(Act::RootToken, "is an API key for every model, for as long as it is set"),
    ),
    plain(
        "ONLY_ONE_LOG_FILE",
        Honoured(Act::OneLogFile, "true writes one file into log.dir (log.rotation = \"never\")"),
    ),
    plain("TZ", Awaits("nothing depends on the time zone; times of the log are UTC")),
    plain("DEBUG_SQL", DATABASE),
    secret("SQL_DSN", Honoured(Act::SqlDsn, "is store.url; empty for SQLite")),
    secret("LOG_SQL_DSN", Honoured(Act::LogSqlDsn, "is store.log_url")),
    plain(
        "SQLITE_PATH",
        Honoured(Act::SqlitePath, "the file of SQLite (store.url), where SQL_DSN is not set"),
    ),
    plain("SQLITE_BUSY_TIMEOUT", DATABASE),
    plain("SQL_MAX_IDLE_CONNS", DATABASE),
    plain("SQL_MAX_OPEN_CONNS", DATABASE),
    plain("SQL_MAX_LIFETIME", DATABASE),
    plain("SQL_CONN_MAX_LIFETIME", DATABASE),
    secret("REDIS_CONN_STRING", NODES),
    plain("REDIS_MASTER_NAME", NODES),
    secret("REDIS_PASSWORD", NODES),
    plain("NODE_TYPE", NODES),
    plain("MEMORY_CACHE_ENABLED", LIVE),
    plain("SYNC_FREQUENCY", LIVE),
    secret("SESSION_SECRET", CONSOLE),
    secret(
        "INITIAL_ROOT_ACCESS_TOKEN",
        Honoured(
            Act::RootAccessToken,
            "opens the management API (GET /api/calls/ID), for as long as it is set",
        ),
    ),
    plain("FRONTEND_BASE_URL", CONSOLE),
    plain("THEME", CONSOLE),
    plain("CHANNEL_TEST_FREQUENCY", PROBES),
    plain("CHANNEL_UPDATE_FREQUENCY", Needless("One API does nothing with it either")),
    plain("POLLING_INTERVAL", PROBES),
    plain("TEST_PROMPT", PROBES),
    plain("BATCH_UPDATE_ENABLED", BOOKS),
    plain("BATCH_UPDATE_INTERVAL", BOOKS),
    plain("GLOBAL_API_RATE_LIMIT", LIMITS),
    plain("GLOBAL_WEB_RATE_LIMIT", LIMITS),
    secret("USER_CONTENT_REQUEST_PROXY", MEDIA),
    plain("USER_CONTENT_REQUEST_TIMEOUT", MEDIA),
    plain("GEMINI_SAFETY_SETTING", GEMINI),
    plain("GEMINI_VERSION", GEMINI),
    plain("ENABLE_METRIC", RULE),
    plain("METRIC_QUEUE_SIZE", RULE),
    plain("METRIC_SUCCESS_RATE_THRESHOLD", RULE),
    plain("METRIC_SUCCESS_CHAN_SIZE", RULE),
    plain("METRIC_FAIL_CHAN_SIZE", RULE),
    plain("TIKTOKEN_CACHE_DIR", TOKENS),
    plain("DATA_GYM_CACHE_DIR", TOKENS),
    // The fork's.
    secret("CRYPTO_SECRET", Awaits("channels are in the settings file; nothing in the database is sealed")),
    plain("STREAMING_TIMEOUT", Replaced("set defaults.timeouts.idle")),
    plain("MAX_REQUEST_BODY_MB", Replaced("set server.max_body")),
    plain("STREAM_SCANNER_MAX_BUFFER_MB", Replaced("set server.max_event")),
    plain("FORCE_STREAM_OPTION", Replaced("set quirks of a channel (request-stream-usage)")),
    plain("RELAY_MAX_IDLE_CONNS", Replaced("set pool.max_connections of a channel")),
    plain("RELAY_MAX_IDLE_CONNS_PER_HOST", Replaced("set pool.max_connections of a channel")),
    plain("GENERATE_DEFAULT_TOKEN", Replaced("a first key is made and shown where there is none")),
    plain("TLS_INSECURE_SKIP_VERIFY", Needless("certificates are always checked")),
    plain("ERROR_LOG_ENABLED", Needless("failures are always logged")),
];
