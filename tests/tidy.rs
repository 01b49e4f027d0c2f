//! Holds the borders of the house: who may import whom, what pure code may not name, how long files grow.
//!
//! `docs/ARCHITECTURE.md` says why; here it is checked.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What each top-level module may import of the others.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["app", "bench", "config", "docs", "drill", "mock", "store", "telemetry"]),
    ("drill", &["app", "config", "journal", "store"]),
    (
        "app",
        &[
            "api",
            "api_key",
            "clock",
            "config",
            "credential",
            "http",
            "journal",
            "known_models",
            "mock",
            "provider",
            "relay",
            "store",
            "telemetry",
            "transport",
        ],
    ),
    ("docs", &["dialect", "provider"]),
    (
        "http",
        &["api", "api_key", "clock", "dialect", "known_models", "provider", "relay", "telemetry", "wire"],
    ),
    ("api", &["api_key", "provider", "relay", "store"]),
    (
        "relay",
        &[
            "api_key",
            "clock",
            "credential",
            "dialect",
            "journal",
            "provider",
            "telemetry",
            "transport",
            "wire",
        ],
    ),
    ("mock", &["dialect", "provider", "wire"]),
    ("bench", &["mock", "wire"]),
    ("provider", &["conversation", "dialect", "wire"]),
    ("dialect", &["conversation", "wire"]),
    ("config", &["api_key", "known_models"]),
    ("known_models", &[]),
    ("store", &["api_key", "clock"]),
    ("api_key", &[]),
    ("clock", &[]),
    ("credential", &["provider"]),
    ("conversation", &[]),
    ("journal", &[]),
    ("telemetry", &[]),
    ("transport", &[]),
    ("wire", &[]),
];

/// What a module may name of the actors' crate, where that is not everything.
const MAY_NAME_OF_ACTORS: &[(&str, &[&str])] = &[("journal", &["domain", "ports"])];

/// Bytes in, values out: no I/O, no clock, no environment.
const PURE: &[&str] = &["conversation", "dialect", "provider", "wire"];
/// Decisions inside modules that are not pure.
const PURE_FILES: &[&str] = &["transport/guard.rs", "transport/http1/head.rs", "transport/http1/chunked.rs"];
const IMPURE_NAMES: &[&str] = &[
    "actix",
    "awc::",
    "tokio",
    "diesel",
    "redis",
    "std::env",
    "std::fs",
    "std::net",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "rand::",
];

/// Decisions of the actors: time and randomness are arguments.
const DECISIONS: &[&str] = &[
    "billing/ledger.rs",
    "billing/output_length.rs",
    "billing/quote.rs",
    "channel/adaptive.rs",
    "channel/breaker.rs",
    "channel/gate.rs",
    "channel/health.rs",
    "channel/learner.rs",
    "channel/learning.rs",
    "channel/line.rs",
    "channel/pace.rs",
    "channel/pacer.rs",
    "channel/queue.rs",
    "channel/rate.rs",
    "channel/rotation.rs",
    "channel/shedding.rs",
    "channel/switch.rs",
    "limiter/calendar.rs",
    "limiter/cells.rs",
    "limiter/rules.rs",
    "limiter/tagged.rs",
    "limiter/window.rs",
    "router/candidates.rs",
    "router/estimate.rs",
    "router/explain.rs",
    "router/fairness.rs",
    "router/filter.rs",
    "router/plan.rs",
    "router/rank.rs",
    "router/registry.rs",
    "router/table.rs",
    "router/ticket.rs",
    "usage_log/batch.rs",
    "usage_log/event.rs",
    "usage_log/ring.rs",
];
const UNDECIDED_NAMES: &[&str] = &["actix", "tokio", "tracing", "Instant", "SystemTime", "rand::"];

const LONGEST_FILE: usize = 500;

struct Source {
    path: PathBuf,
    /// Lines before the tests, without comments.
    code: String,
    lines: usize,
}

fn sources(root: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(root)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let before_tests = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                let code = before_tests.lines().filter(|l| !l.trim_start().starts_with("//"));
                found.push(Source {
                    code: code.collect::<Vec<_>>().join("\n"),
                    lines: text.lines().count(),
                    path: path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_owned(),
                });
            }
        }
    }
    assert!(!found.is_empty(), "{root} holds sources");
    found
}

fn is_test(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "tests.rs")
}

/// The top-level module a file of `src` belongs to.
fn module(path: &Path) -> String {
    let below = path.strip_prefix("src").unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Top-level modules named after `crate::`, singly or in braces.
fn imports(code: &str) -> Vec<String> {
    let mut names = names_after(code, "crate::");
    names.extend(names_after(code, "penstock::"));
    names
}

/// What is named right after a path's beginning, singly or in braces.
fn names_after(code: &str, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, found) in code.match_indices(path) {
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            None => names.push(word(rest)),
            Some(group) => {
                let (mut depth, mut item) = (0, String::new());
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.push(word(std::mem::take(&mut item).trim())),
                        _ if depth == 0 => item.push(c),
                        _ => {}
                    }
                }
                names.push(word(item.trim()));
            }
        }
    }
    names.retain(|n| !n.is_empty() && n.starts_with(char::is_lowercase));
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn modules_import_only_what_the_map_allows() {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut broken = Vec::new();
    for source in sources("src").iter().filter(|s| !is_test(&s.path) && !s.path.ends_with("lib.rs")) {
        let module = module(&source.path);
        let Some(may) = allowed.get(module.as_str()) else {
            broken.push(format!("{}: module {module} is not on the map", source.path.display()));
            continue;
        };
        for import in imports(&source.code) {
            if import != module && !may.contains(&import.as_str()) {
                broken.push(format!("{}: {module} may not import {import}", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn some_modules_know_only_the_plain_values_and_ports_of_the_actors() {
    let mut broken = Vec::new();
    for (module_name, may) in MAY_NAME_OF_ACTORS {
        let of_module: Vec<_> =
            sources("src").into_iter().filter(|s| module(&s.path) == *module_name).collect();
        assert!(!of_module.is_empty(), "{module_name} has sources");
        for source in of_module {
            for import in names_after(&source.code, "penstock_actors::") {
                if !may.contains(&import.as_str()) {
                    broken.push(format!("{} may not import {import} of the actors", source.path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn imports_are_read_singly_and_in_braces() {
    let code =
        "use crate::wire::sse;\nuse crate::{\n  dialect::{a, b},\n  relay,\n};\nlet x = crate::http::f();";
    assert_eq!(imports(code), ["wire", "dialect", "relay", "http"]);
}

fn check_names(sources: &[Source], of: impl Fn(&Path) -> bool, banned: &[&str]) {
    let mut broken = Vec::new();
    let mut seen = 0;
    for source in sources.iter().filter(|s| of(&s.path)) {
        seen += 1;
        for name in banned.iter().filter(|n| source.code.contains(**n)) {
            broken.push(format!("{} names {name}", source.path.display()));
        }
    }
    assert!(seen > 0 && broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn pure_code_names_no_io_clock_or_environment() {
    let pure = |path: &Path| PURE.contains(&module(path).as_str()) && !is_test(path);
    check_names(&sources("src"), pure, IMPURE_NAMES);
    for file in PURE_FILES {
        check_names(&sources("src"), |path: &Path| path == Path::new("src").join(file), IMPURE_NAMES);
    }
}

#[test]
fn only_the_transport_names_awc() {
    let others = |path: &Path| module(path) != "transport" && !is_test(path);
    check_names(&sources("src"), others, &["awc::", "use awc"]);
}

#[test]
fn only_commands_read_the_environment() {
    let others = |path: &Path| !["bench", "cli"].contains(&module(path).as_str()) && !is_test(path);
    check_names(&sources("src"), others, &["std::env::", "env::var"]);
}

#[test]
fn only_the_store_names_the_databases() {
    let others = |path: &Path| module(path) != "store" && !is_test(path);
    check_names(
        &sources("src"),
        others,
        &["diesel::", "diesel_async", "bb8", "tokio_postgres", "mysql_async", "libsqlite3"],
    );
}

#[test]
fn decisions_of_actors_are_told_the_time() {
    let decisions = |path: &Path| DECISIONS.iter().any(|d| path.ends_with(Path::new("actors/src").join(d)));
    check_names(&sources("actors/src"), decisions, UNDECIDED_NAMES);
}

#[test]
fn the_heart_knows_no_http_sql_redis_or_json() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("actors/Cargo.toml");
    let manifest: toml::Table = std::fs::read_to_string(manifest).unwrap().parse().unwrap();
    for (name, _) in manifest["dependencies"].as_table().unwrap() {
        let foreign = ["actix-web", "actix-http", "awc", "http", "diesel", "redis", "bb8", "serde_json"];
        assert!(!foreign.iter().any(|f| name == f || name.starts_with(&format!("{f}-"))), "{name}");
    }
}

#[test]
fn every_file_says_what_it_is_and_fits_in_the_head() {
    let mut broken = Vec::new();
    for root in ["src", "actors/src", "tests", "benches"] {
        for source in sources(root) {
            let text =
                std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&source.path)).unwrap();
            if !text.starts_with("//!") {
                broken.push(format!("{} does not say what it is", source.path.display()));
            }
            if source.lines > LONGEST_FILE {
                broken.push(format!("{} has {} lines", source.path.display(), source.lines));
            }
            if source.path.ends_with("mod.rs") {
                broken.push(format!("{}: use foo.rs beside foo/", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_decision_on_record_has_a_number_of_its_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/adr");
    let mut known = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let number: u32 = name.split_once('-').unwrap().0.parse().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("# {number}. ")), "{name}: its title has another number");
        let other = known.insert(number, name.clone());
        assert_eq!(other, None, "{name} has the same number");
    }
    assert!(known.keys().copied().eq(1..=known.len() as u32), "{known:?}");
}
