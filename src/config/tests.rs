//! Settings that are right, and what becomes of them. Those that are wrong are in `mistakes`.

mod mistakes;

use super::*;

/// A few providers.
struct Known;

impl Providers for Known {
    fn with_own(&self, text: &str) -> Result<Box<dyn Providers>, ProvidersRefused> {
        match text.contains("id = \"wrong\"") {
            true => Err(ProvidersRefused::Invalid {
                key: "provider \"wrong\": prefix".into(),
                problem: "no".into(),
            }),
            false => Ok(Box::new(Known)),
        }
    }
    fn provider(&self, id: &str) -> Result<ProviderDefaults, String> {
        let openai = ProviderDefaults {
            base_url: Some("https://api.openai.com".into()),
            needs_credential: true,
            organisation_header: Some("openai-organization".into()),
            project_header: Some("openai-project".into()),
            quirks: vec!["request-stream-usage"],
            ..ProviderDefaults::default()
        };
        match id {
            "openai" => Ok(openai),
            "anthropic" => {
                Ok(ProviderDefaults { base_url: Some("https://api.anthropic.com".into()), ..openai })
            }
            "openai-compatible" => Ok(ProviderDefaults::default()),
            "cloud" => Ok(ProviderDefaults {
                base_url: Some("https://cloud/{account}/ai".into()),
                params: vec![("account".into(), None), ("version".into(), Some("1".into()))],
                takes_no_credential: true,
                ..ProviderDefaults::default()
            }),
            _ => Err(format!("there is no provider \"{id}\"")),
        }
    }
    fn check_credential(&self, _: &str, credential: &str) -> Result<(), String> {
        if credential.contains('!') { Err("must be written without !".to_owned()) } else { Ok(()) }
    }
    fn check_quirks(&self, names: &[String]) -> Result<(), String> {
        let unknown = names.iter().find(|n| *n != "request-stream-usage");
        unknown.map_or(Ok(()), |name| Err(format!("there is no quirk \"{name}\"")))
    }
    fn check_param(&self, value: &str) -> Result<(), String> {
        if value.contains('/') { Err(format!("\"{value}\" holds a slash")) } else { Ok(()) }
    }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::of(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
}

fn check_with(
    text: &str,
    overrides: Overrides,
    variables: &[(&str, &str)],
) -> Result<Settings, Vec<Problem>> {
    let file = Some("penstock.toml".into());
    let source = Source { file, overrides, environment: environment(variables) };
    resolve::resolve(text, &source, &Known)
}

fn check(text: &str) -> Result<Settings, Vec<Problem>> {
    check_with(text, Overrides::default(), &[])
}

fn of_environment(variables: &[(&str, &str)]) -> Settings {
    check_with("", Overrides::default(), variables).expect("valid")
}

fn warnings(settings: &Settings) -> Vec<&str> {
    let warnings = settings.notices.iter().filter(|n| n.weight == Weight::Warning);
    warnings.map(|n| n.text.as_str()).collect()
}

const CLOUD: &str = "[[channel]]\nname = \"a\"\nprovider = \"cloud\"\nmodels = [\"m\"]\n";
const CHANNEL: &str =
    "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\n";

#[test]
fn nothing_written_gives_the_defaults_and_the_mock_channel() {
    let settings = check("").expect("valid");
    assert_eq!(settings.server.listen.port(), 3000);
    assert_eq!(settings.server.max_body, 64 << 20);
    assert!(settings.mock && settings.notices.is_empty());
}

#[test]
fn a_channel_takes_the_rows_defaults_and_its_own_settings() {
    let settings = check(&format!(
        "{CHANNEL}concurrency = 4\nmapping = {{ m = \"up\" }}\nbase_url = \"http://h:1/v1/\"\n[channel.timeouts]\nidle = \"90s\"\n[aliases]\nx = \"m\"\n"
    ))
    .expect("valid");
    let spec = &settings.catalog.channels[0];
    assert_eq!(&*spec.base_url, "http://h:1/v1");
    assert_eq!((&*spec.models[0].model, &*spec.models[0].upstream), ("m", "up"));
    assert_eq!(spec.timeouts.idle, Duration::from_secs(90));
    assert_eq!(spec.quirks.len(), 1);
    assert!(!settings.mock);
    assert!(!format!("{settings:?}").contains("\"k\""), "credentials are not printed");
}

#[test]
fn the_places_of_a_providers_address_are_filled_from_the_channel() {
    let settings = check(&format!("{CLOUD}params = {{ account = \"me\" }}\n")).expect("valid");
    let spec = &settings.catalog.channels[0];
    assert_eq!(&*spec.base_url, "https://cloud/me/ai");
    assert_eq!(spec.params, [("account".into(), "me".into()), ("version".into(), "1".into())]);
    // With an address of its own, a channel need not fill those of the default.
    let settings = check(&format!("{CLOUD}base_url = \"http://h/\"\nparams = {{ version = \"2\" }}\n"));
    let settings = settings.expect("valid");
    assert_eq!(&*settings.catalog.channels[0].base_url, "http://h");
}

#[test]
fn several_credentials_stand_in_a_list_of_secrets_one_a_line() {
    let list = "credentials = [\"a\", \"env:MORE\"]\ncredential_turn = \"random\"";
    let text = CHANNEL.replace("credential = \"k\"", list);
    let settings = check_with(&text, Overrides::default(), &[("MORE", "b\n\nc\na\n")]).expect("valid");
    let credentials = &settings.catalog.channels[0].credentials;
    assert_eq!(credentials.all().iter().map(|c| c.expose()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(credentials.turn(), penstock_actors::domain::Turn::Random);
}

#[test]
fn organisation_and_project_become_headers() {
    let settings = check(&format!("{CHANNEL}organisation = \"org-1\"\nproject = \"p\"\n")).expect("valid");
    let headers = &settings.catalog.channels[0].headers;
    let wanted = [("openai-organization".into(), "org-1".into()), ("openai-project".into(), "p".into())];
    assert_eq!(**headers, wanted);
}

#[test]
fn defaults_hold_for_channels_that_do_not_say_otherwise() {
    let settings = check(&format!(
        "[defaults.timeouts]\nidle = 7\ntotal = 100\n{CHANNEL}{}[channel.timeouts]\nidle = 9\n",
        CHANNEL.replace("\"a\"", "\"b\"")
    ))
    .expect("valid");
    let timeouts = |index: usize| settings.catalog.channels[index].timeouts;
    assert_eq!((timeouts(0).idle, timeouts(1).idle), (Duration::from_secs(7), Duration::from_secs(9)));
    assert_eq!(
        (timeouts(0).first_byte, timeouts(1).total),
        (Duration::from_secs(100), Duration::from_secs(100))
    );
}

#[test]
fn a_proxy_for_all_leads_channels_that_name_none_themselves() {
    let own = |name: &str, proxy: &str| CHANNEL.replace("\"a\"", name) + "proxy = \"" + proxy + "\"\n";
    let text = CHANNEL.to_owned() + &own("\"b\"", "none") + &own("\"c\"", "env:MY_PROXY");
    let variables = [("RELAY_PROXY", "http://u:zebra@all:1"), ("MY_PROXY", "socks5h://own")];
    let settings = check_with(&text, Overrides::default(), &variables).expect("valid");
    let hosts = settings.catalog.channels.iter().map(|c| c.proxy.as_ref().map(|p| p.host.to_string()));
    assert_eq!(hosts.collect::<Vec<_>>(), [Some("all".to_owned()), None, Some("own".to_owned())]);
    assert!(!format!("{settings:?}").contains("zebra"));
    let refused = check_with(CHANNEL, Overrides::default(), &[("RELAY_PROXY", "ftp://u:zebra@all")]);
    let sentence = refused.expect_err("refused")[0].to_string();
    assert!(sentence.starts_with("RELAY_PROXY: ") && sentence.contains("socks5h://"), "{sentence}");
    assert!(!sentence.contains("zebra"), "{sentence}");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let text =
        "[server]\nlisten = \"10.0.0.1:1\"\nmax_body = \"1MiB\"\nworkers = 3\n[mock]\nenabled = false\n";
    let listen = |overrides, variables: &[(&str, &str)]| {
        check_with(text, overrides, variables).expect("valid").server.listen.to_string()
    };
    let flag = |listen: Option<&str>, port| Overrides {
        listen: listen.map(|l| l.parse().expect("address")),
        port,
        ..Overrides::default()
    };
    let none = Overrides::default;
    let own = ("PENSTOCK_SERVER__LISTEN", "10.0.0.2:2");
    assert_eq!(listen(none(), &[]), "10.0.0.1:1");
    assert_eq!(listen(none(), &[own]), "10.0.0.2:2");
    assert_eq!(listen(none(), &[("PORT", "3")]), "10.0.0.1:3");
    assert_eq!(listen(none(), &[("PORT", "3"), ("HOST", "::1")]), "[::1]:3");
    assert_eq!(listen(none(), &[own, ("PORT", "2")]), "10.0.0.2:2");
    assert_eq!(listen(flag(None, Some(4)), &[("PORT", "3")]), "10.0.0.1:4");
    assert_eq!(listen(flag(Some("10.0.0.5:5"), None), &[own, ("PORT", "3")]), "10.0.0.5:5");

    let variables = [
        ("PENSTOCK_SERVER__MAX_BODY", "2MiB"),
        ("PENSTOCK_SERVER__WORKERS", " 5 "),
        ("PENSTOCK_SERVER__DRAIN", "40"),
        ("PENSTOCK_MOCK__ENABLED", "yes"),
        ("PENSTOCK_LOG__FORMAT", "json"),
        ("PENSTOCK_DEFAULTS__TIMEOUTS__IDLE", "9s"),
        ("PENSTOCK_DISCOVER__LOCAL", "ollama, vllm"),
        ("PENSTOCK_LOG__FILTER", ""),
    ];
    let settings = check_with(text, none(), &variables).expect("valid");
    let server = &settings.server;
    assert_eq!((server.max_body, server.workers, server.drain), (2 << 20, 5, Duration::from_secs(40)));
    assert!(
        settings.mock && settings.log.format == LogFormat::Json && settings.log.filter.starts_with("info")
    );
    let names: Vec<_> = settings.catalog.channels.iter().map(|c| c.name.to_string()).collect();
    assert_eq!(names, ["ollama", "vllm"]);
    assert_eq!(settings.catalog.channels[0].timeouts.idle, Duration::from_secs(9));
}

#[test]
fn what_containers_and_clients_call_by_the_same_name_is_no_setting() {
    let others = [
        ("PENSTOCK_KEY", "sk-x"),
        ("PENSTOCK_SERVICE_HOST", "10.0.0.9"),
        ("PENSTOCK_PORT", "tcp://10.0.0.9:3000"),
    ];
    assert!(check_with("", Overrides::default(), &others).is_ok());
    let wrong = check_with("", Overrides::default(), &[("PENSTOCK_KEYS", "sk-x")]);
    assert_eq!(wrong.expect_err("refused")[0].to_string(), "PENSTOCK_KEYS: names no setting");
}

#[test]
fn every_scalar_setting_can_be_set_by_its_variable() {
    use reference::Shown::{Comment, Default, Example};
    for section in reference::SECTIONS.iter().filter(|s| s.form == reference::Form::Table) {
        let named = section.settings.iter().map(|setting| {
            let (Default(value) | Example(value) | Comment(value)) = setting.shown;
            let name = environment::variable(&format!("{}.{}", section.name, setting.key));
            (name, value.trim_matches(['"', '[', ']']))
        });
        let named: Vec<_> = named.collect();
        let all: Vec<_> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let found = check_with("", Overrides::default(), &all);
        assert!(found.is_ok(), "{all:?}: {found:?}");
        for (name, _) in &named {
            let odd = check_with("", Overrides::default(), &[(name, "\u{1}")]);
            let wrong = check_with("", Overrides::default(), &[(&format!("{name}X"), "1")]);
            let said = wrong.expect_err("refused")[0].to_string();
            assert!(said.contains(&format!("did you mean {name}?")), "{said}");
            // A path may be anything; everything else minds what is written.
            let said = odd.map_or_else(|problems| problems[0].to_string(), |_| name.clone());
            assert!(said.starts_with(name.as_str()), "{said}");
        }
    }
}

#[test]
fn what_others_set_for_a_service_named_penstock_is_nobodys_mistake() {
    let variables = [
        ("PENSTOCK_SERVICE_HOST", "10.0.0.1"),
        ("PENSTOCK_SERVICE_PORT_HTTP", "3000"),
        ("PENSTOCK_PORT", "tcp://10.0.0.1:3000"),
        ("PENSTOCK_PORT_3000_TCP_ADDR", "10.0.0.1"),
        ("PENSTOCK_CONFIG", "penstock.toml"),
        ("PENSTOCK_MY_KEY", "0123456789abcdef"),
    ];
    let text = "[[key]]\nname = \"k\"\nsecret = \"env:PENSTOCK_MY_KEY\"\n";
    assert!(check_with(text, Overrides::default(), &variables).is_ok());
}

#[test]
fn the_variables_of_providers_make_channels() {
    let settings = of_environment(&[
        ("OPENAI_API_KEY", "sk-one"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"),
        ("OPENAI_ORG_ID", "org-x"),
        ("CLAUDE_API_KEY", "sk-two"),
        ("OLLAMA_HOST", "0.0.0.0"),
        ("GROQ_API_KEY", "no row here"),
    ]);
    let made: Vec<_> =
        settings.catalog.channels.iter().map(|c| (c.name.as_str(), &*c.provider, &*c.base_url)).collect();
    assert_eq!(
        made,
        [
            ("openai", "openai", "http://127.0.0.1:9/v1"),
            ("anthropic", "anthropic", "https://api.anthropic.com"),
            ("ollama", "openai-compatible", "http://127.0.0.1:11434"),
        ]
    );
    let openai = &settings.catalog.channels[0];
    assert_eq!(openai.headers, [("OpenAI-Organization".into(), "org-x".into())]);
    assert_eq!(openai.credentials.first().map(|c| c.expose()), Some("sk-one"));
    assert_eq!(settings.discover.channels.len(), 3);
    assert!(!settings.mock);
    assert_eq!(warnings(&settings), ["GROQ_API_KEY is set, but there is no provider groq here"]);
}

#[test]
fn a_base_url_alone_is_a_server_that_wants_no_credential() {
    let settings = of_environment(&[("OPENAI_BASE_URL", "http://127.0.0.1:9")]);
    let spec = &settings.catalog.channels[0];
    assert_eq!((&*spec.provider, spec.credentials.first().is_none()), ("openai-compatible", true));
}

#[test]
fn a_file_with_channels_gets_no_channel_by_surprise() {
    let variables = [("OPENAI_API_KEY", "sk-x"), ("OLLAMA_BASE_URL", "http://h:1")];
    let settings = check_with(CHANNEL, Overrides::default(), &variables).expect("valid");
    assert_eq!(settings.catalog.channels.len(), 1);
    assert_eq!(settings.notices.len(), 2, "each is told: {:?}", settings.notices);
    let text = format!("[discover]\nlocal = [\"ollama\"]\n{CHANNEL}");
    let settings = check_with(&text, Overrides::default(), &variables).expect("valid");
    let bases: Vec<_> = settings.catalog.channels.iter().map(|c| &*c.base_url).collect();
    assert_eq!(bases, ["https://api.openai.com", "http://h:1"], "what is named is made");
}

#[test]
fn keys_of_the_environment_open() {
    let settings = of_environment(&[
        ("API_KEYS", "sk-0123456789abcdef, 0123456789abcdeg,,sk-0123456789abcdef"),
        ("INITIAL_ROOT_TOKEN", "sk-root-0123456789abcdef"),
    ]);
    let keys: Vec<_> = settings.keys.iter().map(|k| (k.name.as_str(), k.may_pin)).collect();
    assert_eq!(keys, [("api-keys-1", false), ("api-keys-2", false), ("initial-root-token", true)]);
    assert_eq!(settings.keys[0].digest, crate::api_key::digest("sk-0123456789abcdef"));
    assert!(!format!("{settings:?}").contains("0123456789abcde"), "never shown");
}

#[test]
fn one_apis_variables_set_what_they_name() {
    let settings = check_with(
        &format!("{CHANNEL}[channel.timeouts]\nidle = 1\n"),
        Overrides::default(),
        &[
            ("RELAY_TIMEOUT", "90"),
            ("DEBUG", "true"),
            ("ONLY_ONE_LOG_FILE", "true"),
            ("SQL_DSN", "root:secret@x"),
        ],
    )
    .expect("valid");
    assert_eq!(settings.catalog.channels[0].timeouts.total, Duration::from_secs(90));
    assert!(settings.log.filter.contains("penstock=debug"));
    assert_eq!(settings.log.rotation, Rotation::Never);
    assert_eq!(settings.store.url.as_ref().map(|u| u.expose()), Some("root:secret@x"));
    assert!(settings.notices.iter().any(|n| n.text.starts_with("SQL_DSN: is store.url")));
    assert!(!format!("{:?}", settings.notices).contains("secret"));
    let settings = of_environment(&[("RELAY_TIMEOUT", "0"), ("RUST_LOG", "trace"), ("DEBUG", "true")]);
    assert_eq!(settings.log.filter, "trace");
    let foreign = Overrides { foreign: vec!["--server", "--github-oauth"], ..Overrides::default() };
    assert_eq!(warnings(&check_with("", foreign, &[]).expect("valid")).len(), 2);
}

#[test]
fn models_may_be_discovered_beside_those_that_are_mapped() {
    let text = CHANNEL.replace("[\"m\"]", "\"discover\"\nmapping = { fast = \"up\" }");
    let settings = check(&format!("{text}[aliases]\nx = \"unknown-yet\"\n")).expect("valid");
    assert_eq!(settings.discover.channels, [ChannelName("a".into())].into());
    assert_eq!(&*settings.catalog.channels[0].models[0].upstream, "up");
    assert!(settings.notices.is_empty());
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let key = "[[key]]\nname = \"k\"\nsecret = \"0123456789abcdef\"\n";
    for (text, words) in [
        (
            format!("{CHANNEL}[aliases]\nx = \"n\"\n"),
            "aliases.\"x\": no channel serves \"n\"; did you mean m?",
        ),
        (format!("{CHANNEL}enabled = false\n"), "channel \"a\": enabled = false: it serves nobody"),
        (format!("{CHANNEL}concurrency = 0\n"), "channel \"a\": concurrency = 0 lets nothing through"),
        (
            format!("{CHANNEL}{key}models = [\"other\"]\n"),
            "key \"k\": models: no channel of its group serves \"other\"",
        ),
        (format!("{CHANNEL}{key}group = \"vip\"\n"), "key \"k\": group: no channel serves the group \"vip\""),
    ] {
        let settings = check(&text).expect("valid");
        assert_eq!(warnings(&settings), [words], "{text}");
    }
    let fine = format!("{CHANNEL}{key}models = [\"x\", \"m\"]\n[aliases]\nx = \"m\"\n");
    assert!(check(&fine).expect("valid").notices.is_empty());
}

#[test]
fn a_secret_in_a_file_that_others_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("penstock.toml");
    let source = Source { file: Some(path.clone()), ..Source::default() };
    let hidden = CHANNEL.replace("\"k\"", "\"env:HOME_KEY\"");
    for (text, mode, wanted) in
        [(CHANNEL, 0o644, 1), (CHANNEL, 0o640, 1), (CHANNEL, 0o600, 0), (&hidden, 0o644, 0)]
    {
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        let source = Source { environment: environment(&[("HOME_KEY", "k")]), ..source.clone() };
        let settings = load(&source, &Known).expect("valid");
        assert_eq!(warnings(&settings).len(), wanted, "{mode:o} {text}");
        assert!(warnings(&settings).iter().all(|w| w.contains("penstock.toml:4: ")));
    }
}

#[test]
fn differences_name_what_changed_and_hide_secrets() {
    let key = |secret: &str| format!("[[key]]\nname = \"k\"\nsecret = \"{secret}-0123456789abcdef\"\n");
    let old = check(&format!("{CHANNEL}{}[aliases]\nx = \"m\"\n", key("a"))).expect("valid");
    let new = CHANNEL.replace("\"k\"", "\"other\"").replace("[\"m\"]", "[\"n\"]\nconcurrency = 4");
    let new = format!("[server]\nmax_body = \"2MiB\"\n{new}[channel.timeouts]\nidle = \"90s\"\n{}", key("b"));
    let new = check(&format!("{new}[aliases]\ny = \"n\"\n")).expect("valid");
    let said = |old: &Settings, new: &Settings| differences(old, new, (&old.server, &old.log, &old.store));
    assert_eq!(
        said(&old, &new),
        [
            "channel \"a\": concurrency none -> 4, timeouts.idle 2m -> 1m 30s, models -m +n, credential changed",
            "alias \"y\": added, n",
            "alias \"x\": removed",
            "key \"k\": secret changed",
            "server.max_body: 67108864 -> 2097152; in force after a restart",
        ]
    );
    let bare = check("").expect("valid");
    assert_eq!(said(&old, &bare)[..2], ["channel \"a\": removed", "alias \"x\": removed"]);
    assert_eq!(said(&bare, &old)[..2], ["channel \"a\": added", "alias \"x\": added, m"]);
    assert!(said(&old, &old).is_empty());
}

#[test]
fn a_dot_env_file_adds_to_the_environment() {
    let process = environment(&[("A", "process"), ("B", "")]);
    let both = process.with_file(Path::new(".env"), "A=file\nB=file\nC=file\n").expect("valid");
    assert_eq!([both.get("A"), both.get("B"), both.get("C")], [Some("process"), None, Some("file")]);
    let said = Environment::default().with_file(Path::new(".env"), "\nSECRET\n").expect_err("refused");
    assert_eq!(said.to_string(), ".env:2: a line must be NAME=value or # a comment");
    assert!(!format!("{both:?}").contains("file"), "values are not printed");
}

#[test]
fn the_reference_file_is_valid_and_shows_the_defaults() {
    let variables = [("OPENAI_API_KEY", "k"), ("PENSTOCK_EXAMPLE_KEY", "0123456789abcdef")];
    let settings = check_with(&reference(), Overrides::default(), &variables).expect("valid");
    let defaults = check("").expect("valid");
    let workers = defaults.server.workers;
    assert_eq!(Server { workers, tls: None, ..settings.server }, defaults.server);
    assert_eq!(Log { dir: None, ..settings.log }, defaults.log);
    assert_eq!(settings.discover.refresh, defaults.discover.refresh);
    let channel = &settings.catalog.channels[0];
    assert_eq!((channel.timeouts, channel.pool), Default::default());
    let bare = check(CHANNEL).expect("valid");
    let bare = &bare.catalog.channels[0];
    assert_eq!(
        (&channel.groups, channel.priority, channel.weight),
        (&bare.groups, bare.priority, bare.weight)
    );
    assert!(settings.notices.is_empty(), "{:?}", settings.notices);
}

#[test]
fn the_reference_lists_exactly_the_settings_that_can_be_read() {
    // Every field of the raw structs, read from their source.
    let source = include_str!("raw.rs");
    let mut fields: Vec<&str> = source
        .lines()
        .filter_map(|l| l.trim().strip_prefix("pub(super) ")?.split_once(':'))
        .map(|(field, _)| field)
        .filter(|f| f.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .map(|field| match field {
            "channels" => "channel",
            "keys" => "key",
            "providers" => "provider",
            field => field,
        })
        .collect();
    let mut listed: Vec<&str> = Vec::new();
    for section in reference::SECTIONS {
        listed.extend(section.name.split('.').filter(|part| !part.contains('"')));
        let is_ours = matches!(section.form, reference::Form::Table | reference::Form::Repeated);
        if is_ours || section.name.starts_with("queue.") {
            listed.extend(section.settings.iter().map(|s| s.key));
        }
    }
    for list in [&mut fields, &mut listed] {
        list.retain(|f| *f != "sha256");
        list.sort_unstable();
        list.dedup();
    }
    assert_eq!(fields, listed);
}
