//! A stranger's mistakes, and the very sentences they get; `docs/mistakes.md` is made of this table.

use super::*;

struct Mistake {
    made: &'static str,
    variables: &'static [(&'static str, &'static str)],
    text: &'static str,
    says: &'static [&'static str],
}

const fn file(made: &'static str, text: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake { made, variables: &[], text, says }
}

const fn variable(
    made: &'static str,
    variables: &'static [(&'static str, &'static str)],
    says: &'static [&'static str],
) -> Mistake {
    Mistake { made, variables, text: "", says }
}

const MISTAKES: &[Mistake] = &[
    file(
        "a misspelt key",
        "[server]\nmax_bodi = \"1MiB\"\n",
        &["penstock.toml:2: server.max_bodi: there is no such setting; did you mean max_body?"],
    ),
    file(
        "a misspelt section",
        "[sever]\ndrain = 1\n",
        &["penstock.toml:1: sever: there is no such setting; did you mean server?"],
    ),
    file(
        "a key of another program",
        "[server]\ntls_cert = \"x\"\n",
        &[
            "penstock.toml:2: server.tls_cert: there is no such setting; known here are listen, data_dir, workers, \
         max_body, max_whole_body, max_bytes_in_flight, max_event, client_stall, drain, watch",
        ],
    ),
    file("not TOML", "[server\nlisten = 3\n", &["penstock.toml:1: unclosed table, expected `]`"]),
    file(
        "a text without quotation marks",
        "[server]\nlisten = 127.0.0.1:3000\n",
        &["penstock.toml:2: listen: no value of TOML; a text stands in quotation marks"],
    ),
    file(
        "a key written twice",
        "[server]\ndrain = 1\ndrain = 2\n",
        &["penstock.toml:3: drain: duplicate key"],
    ),
    file(
        "a port where an address belongs",
        "[server]\nlisten = 3000\n",
        &[
            "penstock.toml:2: server.listen: must be an address and a port such as \"127.0.0.1:3000\", not a number",
        ],
    ),
    file(
        "a journal that is never synced",
        "[journal]\nsync = 0\n",
        &["penstock.toml:2: journal.sync: must be at least 1 ms and at most 10 seconds"],
    ),
    file(
        "a request log that forgets what limits count",
        "[limits]\nspace = [\"5.00 USD per month\"]\n[retention]\nrequests = \"7d\"\n",
        &[
            "penstock.toml:4: retention.requests: must be at least 31 days while there are limits per month, which a start counts anew",
        ],
    ),
    file(
        "a journal of no mode",
        "[journal]\nmode = \"sync\"\n",
        &["penstock.toml:2: journal.mode: must be \"group\" or \"power\""],
    ),
    file(
        "a channel that costs a word",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"x\"\nmodels = [\"m\"]\n\
         cost_ratio = \"half\"\n",
        &[
            "penstock.toml:6: channel \"a\": cost_ratio: must be a decimal number like 12 or 0.075, without an exponent",
        ],
    ),
    file(
        "a quota below zero",
        "[[key]]\nname = \"a\"\nsecret = \"sk-0123456789abcdef\"\nquota = -1\n",
        &["penstock.toml:4: key \"a\": quota: must not be negative"],
    ),
    file(
        "an end that is no moment",
        "[[key]]\nname = \"a\"\nsecret = \"sk-0123456789abcdef\"\nexpires = \"next year\"\n",
        &[
            "penstock.toml:4: key \"a\": expires: must be a moment in UTC, \"2027-01-31T12:00:00Z\" or \"2027-01-31\" \
         for its beginning",
        ],
    ),
    file(
        "a key that stands under itself",
        "[[key]]\nname = \"a\"\nsecret = \"sk-0123456789abcdef\"\nparent = \"a\"\n",
        &["penstock.toml:4: key \"a\": parent: the key stands under itself"],
    ),
    file(
        "a duration in words",
        "[server]\ndrain = \"soon\"\n",
        &[
            "penstock.toml:2: server.drain: a duration is a number of seconds or a text such as \"90s\", \"500ms\", \"5m\"",
        ],
    ),
    file(
        "a size with a point",
        "[server]\nmax_body = \"1.5GB\"\n",
        &["penstock.toml:2: server.max_body: a size is a number of bytes or a text such as \"64MiB\""],
    ),
    file(
        "two caps that contradict",
        "[server]\nmax_body = \"2GiB\"\n",
        &[
            "penstock.toml:1: server.max_bytes_in_flight: is less than server.max_body, so the largest body could never \
         be taken",
        ],
    ),
    file(
        "several at once",
        "[server]\nworkers = 0\n\n[[channel]]\nname = \"a\"\nprovider = \"opena\"\nmodels = []\n",
        &[
            "penstock.toml:2: server.workers: must be more than 0",
            "penstock.toml:6: channel \"a\": provider: there is no provider \"opena\"",
            "penstock.toml:7: channel \"a\": models: a channel must serve at least one model",
        ],
    ),
    file(
        "a channel without a name",
        "[[channel]]\nprovider = \"openai\"\n",
        &["penstock.toml:1: a channel: name is missing"],
    ),
    file(
        "a channel without its credential",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\nmodels = [\"m\"]\n",
        &["penstock.toml:1: channel \"a\": credential: provider openai needs one"],
    ),
    file(
        "a credential under another name",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\napi_key = \"sk-live\"\nmodels = [\"m\"]\n",
        &[
            "penstock.toml:4: channel \"a\": api_key: there is no such setting; known here are name, id, provider, \
             base_url, params, credential, credentials, credential_turn, organisation, project, models, mapping, headers, quirks, groups, priority, weight, concurrency, \
             adaptive, pacing, longest_pause, enabled, \
             transport, proxy, cost_ratio, limits, failover_uncertain, timeouts, pool",
        ],
    ),
    file(
        "a credential from a variable that is not set",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"env:OPENAI_KEY\"\nmodels = [\"m\"]\n",
        &["penstock.toml:4: channel \"a\": credential: the environment variable OPENAI_KEY is not set"],
    ),
    file(
        "a credential from a file that is not there",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"file:/no/such/key\"\nmodels = [\"m\"]\n",
        &["penstock.toml:4: channel \"a\": credential: there is no file /no/such/key"],
    ),
    file(
        "one credential and several",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\ncredentials = [\"l\"]\nmodels = [\"m\"]\n",
        &["penstock.toml:5: channel \"a\": credentials: contradicts credential; write one of them"],
    ),
    file(
        "no credential of several",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredentials = []\nmodels = [\"m\"]\n",
        &["penstock.toml:4: channel \"a\": credentials: must hold at least one"],
    ),
    file(
        "a credential of another form than the provider's",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredentials = [\"k\", \"l!\"]\nmodels = [\"m\"]\n",
        &["penstock.toml:4: channel \"a\": credentials: number 2: must be written without !"],
    ),
    file(
        "models in one text",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = \"gpt-5.2, gpt-4o\"\n",
        &[
            "penstock.toml:5: channel \"a\": models: write a list of names, or \"discover\" for those the provider says \
             it has",
        ],
    ),
    file(
        "a mapping for a model that is not served",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\nmapping = { n = \"x\" }\n",
        &["penstock.toml:6: channel \"a\": mapping: \"n\" is not one of the channel's models"],
    ),
    file(
        "an address without http",
        "[[channel]]\nname = \"a\"\nprovider = \"openai-compatible\"\nbase_url = \"localhost:8000\"\nmodels = [\"m\"]\n",
        &[
            "penstock.toml:4: channel \"a\": base_url: \"localhost:8000\" must start with http:// or https:// and name a \
             host",
        ],
    ),
    file(
        "a negative weight",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\nweight = -1\n",
        &["penstock.toml:6: channel \"a\": weight: must be a whole number from 0 to 4294967295"],
    ),
    file(
        "a setting of a channel behind a table of it",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\n[channel.timeouts]\n\
         idle = 60\nconcurrency = 4\n",
        &[
            "penstock.toml:8: channel \"a\": timeouts.concurrency: there is no such setting; known here are connect, \
             first_byte_stream, first_byte, idle, total",
        ],
    ),
    file(
        "two channels of one name",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\n\n\
         [[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\n",
        &["penstock.toml:8: channel \"a\": name: another channel has this name"],
    ),
    file(
        "an idle limit above the total",
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\n[channel.timeouts]\n\
         idle = \"2h\"\ntotal = \"1h\"\n",
        &["penstock.toml:7: channel \"a\": timeouts.idle: 7200s is more than timeouts.total (3600s)"],
    ),
    file(
        "a key that is too short",
        "[[key]]\nname = \"k\"\nsecret = \"test\"\n",
        &["penstock.toml:3: key \"k\": secret: a key must have at least 16 characters without spaces"],
    ),
    file(
        "a key without a secret",
        "[[key]]\nname = \"k\"\n",
        &["penstock.toml:1: key \"k\": secret: give secret (the key itself, env:NAME, file:PATH) or sha256"],
    ),
    file(
        "a local server that is not known",
        "[discover]\nlocal = [\"olama\"]\n",
        &[
            "penstock.toml:2: discover.local: there is no local server \"olama\"; known are ollama, llamacpp, vllm; did you \
         mean ollama?",
        ],
    ),
    variable(
        "a misspelt variable",
        &[("PENSTOCK_SERVER__MAXBODY", "1MiB")],
        &["PENSTOCK_SERVER__MAXBODY: names no setting; did you mean PENSTOCK_SERVER__MAX_BODY?"],
    ),
    variable(
        "one underscore too few",
        &[("PENSTOCK_SERVER_LISTEN", "0.0.0.0:80")],
        &["PENSTOCK_SERVER_LISTEN: names no setting; did you mean PENSTOCK_SERVER__LISTEN?"],
    ),
    variable(
        "a channel by variables",
        &[("PENSTOCK_CHANNEL__NAME", "a")],
        &[
            "PENSTOCK_CHANNEL__NAME: names no setting: channels are written in the file, or made of a provider's own \
         variable, OPENAI_API_KEY",
        ],
    ),
    variable(
        "a variable of the wrong type",
        &[("PENSTOCK_SERVER__WORKERS", "many")],
        &["PENSTOCK_SERVER__WORKERS: server.workers: must be a whole number"],
    ),
    variable(
        "a port that is none",
        &[("PORT", "99999")],
        &["PORT: 99999 is no port; a port is a number from 0 to 65535"],
    ),
    variable(
        "two ports",
        &[("PORT", "8080"), ("PENSTOCK_SERVER__LISTEN", "0.0.0.0:3000")],
        &[
            "PENSTOCK_SERVER__LISTEN: server.listen: says 0.0.0.0:3000, and PORT says something else; leave one",
        ],
    ),
    variable(
        "two time limits",
        &[("RELAY_TIMEOUT", "30"), ("PENSTOCK_DEFAULTS__TIMEOUTS__TOTAL", "60")],
        &[
            "RELAY_TIMEOUT: PENSTOCK_DEFAULTS__TIMEOUTS__TOTAL sets defaults.timeouts.total to something else; leave one",
        ],
    ),
    variable(
        "a time limit that is none",
        &[("RELAY_TIMEOUT", "-1")],
        &["RELAY_TIMEOUT: -1 must be a whole number of seconds, or 0 for the default"],
    ),
    variable(
        "two keys of one provider",
        &[("ANTHROPIC_API_KEY", "a"), ("CLAUDE_API_KEY", "b")],
        &["ANTHROPIC_API_KEY: CLAUDE_API_KEY is set to something else; leave one of the two"],
    ),
    variable(
        "a provider's address that is none",
        &[("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", "my-server")],
        &[
            "OPENAI_BASE_URL: channel \"openai\": base_url: \"my-server\" must start with http:// or https:// and name a host",
        ],
    ),
    variable(
        "a provider's key with a line break in it",
        &[("OPENAI_API_KEY", "sk-a\nsk-b")],
        &[
            "OPENAI_API_KEY: channel \"openai\": credential: the environment variable OPENAI_API_KEY holds more than one line",
        ],
    ),
    variable(
        "weak keys",
        &[("API_KEYS", "sk-0123456789abcdef,test")],
        &["API_KEYS: api-keys-2: a key must have at least 16 characters without spaces"],
    ),
];

fn said(mistake: &Mistake) -> Vec<String> {
    let refused = check_with(mistake.text, Overrides::default(), mistake.variables);
    refused.map_or_else(|problems| problems.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

#[test]
fn each_mistake_gets_its_sentence() {
    let wrong: Vec<_> = MISTAKES
        .iter()
        .filter(|mistake| said(mistake) != mistake.says)
        .map(|mistake| format!("{}:\n  {}", mistake.made, said(mistake).join("\n  ")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_of_mistakes_is_this_table() {
    let mut page = String::from(
        "# Mistakes, and what Penstock says of them\n\n\
         `penstock check` and the start tell every mistake they can, each with its place. This page is held to the\n\
         program by a test.\n",
    );
    for mistake in MISTAKES {
        page.push_str(&format!("\n## {}\n\n```\n", mistake.made));
        for (name, value) in mistake.variables {
            page.push_str(&format!("{name}={}\n", value.escape_debug()));
        }
        page.push_str(&format!("{}```\n\n", mistake.text));
        for line in mistake.says {
            page.push_str(&format!("> {line}\n"));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mistakes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).expect("written");
    }
    assert!(
        std::fs::read_to_string(path).is_ok_and(|text| text == page),
        "write it anew: UPDATE_DOCS=1 cargo test mistakes"
    );
}

/// What is refused and stands in no page.
#[test]
fn contradictions_are_refused_with_the_keys_name() {
    for (text, words) in [
        (format!("{CHANNEL}[channel.timeouts]\nidle = 0\n"), "timeouts.idle: must be more than 0"),
        (format!("{CHANNEL}[channel.timeouts]\ntotal = 9223372036854775807\n"), "at most 30 days"),
        (CHANNEL.replace("\"a\"", "\"penstock-mock\""), "built-in mock channel"),
        (
            format!("{CHANNEL}concurrency = 9\n[channel.pool]\nmax_connections = 8\n"),
            "pool.max_connections (8)",
        ),
        (format!("{CHANNEL}quirks = [\"sing\"]\n"), "there is no quirk \"sing\""),
        (format!("{CHANNEL}[aliases]\nm = \"m\"\n"), "is an alias itself"),
        (format!("{CHANNEL}[aliases]\nm = \"x\"\n"), "a channel serves a model of this name"),
        (format!("{CHANNEL}headers = {{ Host = \"h\" }}\n"), "set by the gateway itself"),
        (format!("{CHANNEL}base_url = \"ftp://h\"\n"), "must start with http:// or https://"),
        (format!("{CHANNEL}base_url = \"http://u:p@h\"\n"), "must not hold a user name"),
        (format!("{CHANNEL}base_url = \"http://h/{{account}}\"\n"), "must not hold braces"),
        (format!("{CHANNEL}base_url = \"http://h/?a=1\"\n"), "must not hold a query"),
        (format!("{CHANNEL}base_url = \"http://h/#a\"\n"), "must not hold a query"),
        (format!("{CHANNEL}base_url = \"http://\"\n"), "is no address"),
        (format!("{CHANNEL}base_url = \"http://a b/\"\n"), "is no address"),
        (format!("{CHANNEL}base_url = \"\"\n"), "base_url"),
        (
            format!("{CHANNEL}params = {{ account = \"a\" }}\n"),
            "provider openai has no \"account\"; known are: none",
        ),
        (format!("{CLOUD}params = {{ acount = \"a\" }}\n"), "no \"acount\"; known are: account, version"),
        (format!("{CLOUD}params = {{ account = \"a/b\" }}\n"), "params: \"a/b\" holds a slash"),
        (CLOUD.to_owned(), "params: provider cloud needs account"),
        (
            format!("{CLOUD}credential = \"k\"\nbase_url = \"http://h\"\n"),
            "credential: provider cloud takes none",
        ),
        (
            format!("{CLOUD}organisation = \"o\"\nbase_url = \"http://h\"\n"),
            "organisation: provider cloud knows no organisation",
        ),
        (
            format!("{CHANNEL}organisation = \"o\"\nheaders = {{ OpenAI-Organization = \"p\" }}\n"),
            "headers set openai-organization too",
        ),
        (format!("{CHANNEL}project = \"\"\n"), "project: the secret is empty"),
        (
            "[[provider]]\nid = \"right\"\n[[provider]]\nid = \"wrong\"\nprefix = \"x\"\n".into(),
            "penstock.toml:5: provider \"wrong\": prefix: no",
        ),
        (
            format!("{CHANNEL}id = 1\n{}id = 1\n", CHANNEL.replace("\"a\"", "\"b\"")),
            "channel \"a\" has this id",
        ),
        (
            format!("[discover]\nlocal = [\"vllm\"]\n{}", CHANNEL.replace("\"a\"", "\"vllm\"")),
            "another channel",
        ),
        (
            "[defaults.timeouts]\nidle = \"2h\"\n".into(),
            "penstock.toml:2: defaults.timeouts.idle: 7200s is more",
        ),
        ("[discover]\nrefresh = 1\n".into(), "at least 10 seconds"),
        ("[[key]]\nname = \"k\"\nsha256 = \"xyz\"\n".into(), "64 hexadecimal digits"),
        ("[log]\nformat = \"xml\"\n".into(), "log.format: must be \"text\" or \"json\""),
        ("server = 3".into(), "server: must be a table, not a number"),
        ("[server]\nmax_body = -1\n".into(), "penstock.toml:2"),
    ] {
        let said = check(&text).expect_err("refused").iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(said.len() == 1 && said[0].contains(words), "{text}\nsaid: {said:?}");
    }
}

#[test]
fn no_refusal_shows_a_secret() {
    for text in [
        CHANNEL.replace("credential = \"k\"", "credental = \"sk-live-secret\""),
        CHANNEL.replace("credential = \"k\"", "credential = [\"sk-live-secret\"]"),
        CHANNEL.replace("credential = \"k\"", "credential = \"sk-live-secret"),
        CHANNEL.replace("credential = \"k\"", "credential = sk-live-secret"),
        CHANNEL.replace("credential = \"k\"", "weight = \"sk-live-secret\""),
        CHANNEL.replace("\"k\"", "\"sk-live-secret\\nx\""),
        format!("{CHANNEL}base_url = \"user:sk-live-secret@host\"\n"),
        format!("{CHANNEL}headers = {{ x = \"sk-live-secret\\u0001\" }}\n"),
    ] {
        let said = format!("{:?}", check(&text).expect_err("refused"));
        assert!(!said.contains("sk-live-secret"), "{text}\n{said}");
    }
}

#[test]
fn mistakes_in_one_place_do_not_hide_or_invent_others() {
    let text = format!(
        "{}{}[[channel]]\nprovider = \"openai\"\n{}",
        CHANNEL.replace("models", "wieght = 1\nmodels").replace("provider = \"openai\"", "provider = 3"),
        CHANNEL.replace("\"a\"", "\"b\"").replace("[\"m\"]", "[\"m\", \"m\"]"),
        CHANNEL.replace("\"a\"", "\"c\"").replace("models", "weight = \"x\"\npriority = \"y\"\nmodels"),
    );
    let said: Vec<_> = check(&text).expect_err("refused").iter().map(ToString::to_string).collect();
    let places: Vec<_> = said.iter().map(|s| s.split(": ").take(3).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(
        places,
        [
            "penstock.toml:3|channel \"a\"|provider",
            "penstock.toml:5|channel \"a\"|wieght",
            "penstock.toml:11|channel \"b\"|models",
            "penstock.toml:12|a channel|name is missing",
            "penstock.toml:18|channel \"c\"|weight",
            "penstock.toml:19|channel \"c\"|priority",
        ],
        "{said:?}"
    );
}
