//! Settings files that are right, and the sentence each mistake gets.

use super::*;

struct Known;

impl Providers for Known {
    fn with_own(&self, text: &str) -> Result<Box<dyn Providers>, ProvidersRefused> {
        match text.contains("id = \"wrong\"") {
            true => Err(ProvidersRefused::Invalid { key: "provider \"wrong\"".into(), problem: "no".into() }),
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
            "cloud" => Ok(ProviderDefaults {
                base_url: Some("https://cloud/{account}/ai".into()),
                params: vec![("account".into(), None), ("version".into(), Some("1".into()))],
                takes_no_credential: true,
                ..ProviderDefaults::default()
            }),
            _ => Err(format!("there is no provider \"{id}\"")),
        }
    }
    fn check_quirks(&self, names: &[String]) -> Result<(), String> {
        let unknown = names.iter().find(|n| *n != "request-stream-usage");
        unknown.map_or(Ok(()), |name| Err(format!("there is no quirk \"{name}\"")))
    }
    fn check_param(&self, value: &str) -> Result<(), String> {
        if value.contains('/') { Err(format!("\"{value}\" holds a slash")) } else { Ok(()) }
    }
}

fn check(text: &str) -> Result<Settings, ConfigError> {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("penstock.toml");
    std::fs::write(&path, text).expect("written");
    load(Some(&path), &Overrides::default(), &Known)
}

fn refusal(text: &str) -> String {
    check(text).expect_err("refused").to_string()
}

const CHANNEL: &str =
    "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\n";

#[test]
fn nothing_written_gives_the_defaults_and_the_mock_channel() {
    let settings = check("").expect("valid");
    assert_eq!(settings.server.listen.port(), 3000);
    assert_eq!(settings.server.max_body, 64 << 20);
    assert!(settings.mock);
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

const CLOUD: &str = "[[channel]]\nname = \"a\"\nprovider = \"cloud\"\nmodels = [\"m\"]\n";

#[test]
fn a_channel_fills_the_places_of_its_providers_address() {
    let channel = |text: &str| check(text).expect(text).catalog.channels[0].clone();
    let spec = channel(&format!("{CLOUD}params = {{ account = \"me\" }}\n"));
    assert_eq!(&*spec.base_url, "https://cloud/me/ai");
    assert_eq!(spec.params, [("account".into(), "me".into()), ("version".into(), "1".into())]);
    let spec = channel(&format!("{CLOUD}base_url = \"http://h//\"\nparams = {{ version = \"2\" }}\n"));
    assert_eq!(&*spec.base_url, "http://h");
    assert_eq!(spec.params, [("version".into(), "2".into())]);
}

#[test]
fn organisation_and_project_become_headers() {
    let settings = check(&format!("{CHANNEL}organisation = \"org-1\"\nproject = \"p\"\n")).expect("valid");
    let headers = &settings.catalog.channels[0].headers;
    let wanted = [("openai-organization".into(), "org-1".into()), ("openai-project".into(), "p".into())];
    assert_eq!(**headers, wanted);
}

#[test]
fn misspelt_keys_are_refused_with_their_place() {
    let said = refusal("[server]\nlisten = \"127.0.0.1:1\"\nmax_bodi = 3\n");
    assert!(said.contains("line 3") && said.contains("max_bodi"), "{said}");
    let said = refusal(&format!("{CHANNEL}concurency = 3\n"));
    assert!(said.contains("line 6") && said.contains("concurency"), "{said}");
}

#[test]
fn a_refusal_does_not_show_the_line_which_may_hold_a_secret() {
    let said = refusal(&CHANNEL.replace("credential = \"k\"", "credental = \"sk-live-secret\""));
    assert!(said.contains("credental") && said.contains("line 4, column 1"), "{said}");
    assert!(!said.contains("sk-live-secret"), "{said}");
}

#[test]
fn contradictions_are_refused_with_the_keys_name() {
    for (text, words) in [
        (format!("{CHANNEL}{CHANNEL}"), "channel \"a\": name: another channel has this name"),
        (format!("{CHANNEL}[channel.timeouts]\nidle = \"2h\"\ntotal = \"1h\"\n"), "timeouts.idle"),
        (format!("{CHANNEL}[channel.timeouts]\nidle = 0\n"), "timeouts.idle: must be more than 0"),
        (format!("{CHANNEL}[channel.timeouts]\ntotal = 9223372036854775807\n"), "at most 30 days"),
        (CHANNEL.replace("\"a\"", "\"penstock-mock\""), "built-in mock channel"),
        (
            format!("{CHANNEL}concurrency = 9\n[channel.pool]\nmax_connections = 8\n"),
            "pool.max_connections (8)",
        ),
        (format!("{CHANNEL}mapping = {{ n = \"up\" }}\n"), "\"n\" is not one of the channel's models"),
        (format!("{CHANNEL}quirks = [\"sing\"]\n"), "there is no quirk \"sing\""),
        (format!("{CHANNEL}[aliases]\nx = \"nope\"\n"), "no channel serves \"nope\""),
        (format!("{CHANNEL}[aliases]\nm = \"m\"\n"), "is an alias itself"),
        (format!("{CHANNEL}headers = {{ Host = \"h\" }}\n"), "set by the gateway itself"),
        (format!("{CHANNEL}base_url = \"ftp://h\"\n"), "must start with http:// or https://"),
        (CHANNEL.replace("openai", "opnai"), "there is no provider \"opnai\""),
        (CHANNEL.replace("credential = \"k\"\n", ""), "credential: provider openai needs one"),
        (CHANNEL.replace("\"k\"", "\"env:PENSTOCK_NO_SUCH_VARIABLE\""), "is not set"),
        (format!("{CHANNEL}base_url = \"http://h/{{account}}\"\n"), "must not hold braces"),
        (format!("{CHANNEL}base_url = \"http://h/?a=1\"\n"), "must not hold a query"),
        (format!("{CHANNEL}base_url = \"http://h/#a\"\n"), "must not hold a query"),
        (format!("{CHANNEL}base_url = \"http://\"\n"), "is no address"),
        (format!("{CHANNEL}base_url = \"http://a b/\"\n"), "is no address"),
        (format!("{CHANNEL}base_url = \"http://u:p@h\"\n"), "must not hold a user name"),
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
        ("[[provider]]\nid = \"wrong\"\n".into(), "provider \"wrong\": no"),
        (CHANNEL.replace("[\"m\"]", "[]"), "at least one model"),
        ("[server]\nmax_body = \"2GiB\"\n".into(), "could never be taken"),
        ("[server]\nworkers = 0\n".into(), "server.workers: must be more than 0"),
        ("[[key]]\nname = \"k\"\n".into(), "give secret"),
        ("[[key]]\nname = \"k\"\nsecret = \"short\"\n".into(), "at least 16 characters"),
        ("[[key]]\nname = \"k\"\nsha256 = \"xyz\"\n".into(), "64 hexadecimal digits"),
    ] {
        let said = refusal(&text);
        assert!(said.contains(words), "{text}\nsaid: {said}");
    }
}

#[test]
fn wrong_types_are_refused_with_their_place() {
    for text in
        ["server = 3", "[server]\nlisten = 3\n", "[server]\nmax_body = -1\n", "[server]\ndrain = \"soon\"\n"]
    {
        let said = refusal(text);
        assert!(said.contains("line"), "{text}\nsaid: {said}");
    }
}

#[test]
fn differences_name_what_changed_and_hide_secrets() {
    let old = check(CHANNEL).expect("valid").catalog;
    let new = check(&CHANNEL.replace("\"k\"", "\"other\"").replace("models", "concurrency = 4\nmodels"))
        .expect("valid")
        .catalog;
    assert_eq!(differences(&old, &new), ["channel a: concurrency None -> Some(4), credential changed"]);
    assert_eq!(differences(&old, &Catalog::default()), ["channel a: removed"]);
    assert_eq!(differences(&Catalog::default(), &old), ["channel a: added"]);
}

#[test]
fn the_reference_file_is_valid_and_names_every_setting() {
    let text = include_str!("../../config/penstock.toml");
    let secretless = text
        .replace("\"env:OPENAI_API_KEY\"", "\"k\"")
        .replace("\"env:PENSTOCK_EXAMPLE_KEY\"", "\"0123456789abcdef\"");
    let settings = check(&secretless).expect("valid");
    let defaults = check("").expect("valid");
    let workers = defaults.server.workers;
    assert_eq!(Server { workers, tls: None, ..settings.server }, defaults.server, "it shows the defaults");
    assert_eq!(settings.log, defaults.log);
    assert_eq!(settings.catalog.channels[0].timeouts, Default::default());
    assert_eq!(settings.catalog.channels[0].pool, Default::default());
    // Every field of the raw structs, read from their source.
    let fields =
        include_str!("raw.rs").lines().filter_map(|l| l.trim().strip_prefix("pub(super) ")?.split_once(':'));
    for (field, _) in fields.filter(|(f, _)| f.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
        let singular = field.trim_end_matches('s');
        let shown = [
            format!("\n{field} = "),
            format!("[{field}]"),
            format!("[[{singular}]]"),
            format!(".{field}]"),
            format!("\n{field}="),
            format!("{field} = \"...\""),
        ];
        assert!(shown.iter().any(|s| text.contains(s.as_str())), "{field} is not in config/penstock.toml");
    }
}
