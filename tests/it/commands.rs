//! The program's commands: what they refuse, and in what words.

use std::time::{Duration, Instant};

use super::support::{
    Client, Process, SOON, TestApp, Upstream,
    database::Database,
    process::{program, run},
    relayed::{Mode, Relayed},
    upstream::After,
};

const CHANNEL: &str =
    "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\n";

#[test]
fn check_names_the_line_or_the_key() {
    let dir = tempfile::tempdir().unwrap();
    for (text, words) in [
        (
            "[server]\nlisten = \"127.0.0.1:0\"\nmax_bodi = 1\n".to_owned(),
            &["penstock.toml:3: ", "max_bodi", "max_body"][..],
        ),
        (format!("{CHANNEL}concurency = 3\n"), &["penstock.toml:6: ", "concurency"]),
        ("[server]\nlisten = \"nowhere\"\n".to_owned(), &["penstock.toml:2: ", "listen"]),
        ("[server]\ndrain = \"soon\"\n".to_owned(), &["penstock.toml:2: ", "duration"]),
        ("[server\n".to_owned(), &["penstock.toml:1: "]),
        (format!("{CHANNEL}{CHANNEL}"), &["channel \"a\": name"]),
        (
            format!("{CHANNEL}[channel.timeouts]\nidle = \"2h\"\ntotal = \"1h\"\n"),
            &["channel \"a\": timeouts.idle"],
        ),
        (format!("{CHANNEL}id = 1\n{}id = 1\n", CHANNEL.replace("\"a\"", "\"b\"")), &["channel \"b\": id"]),
        (format!("{CHANNEL}[aliases]\nm = \"x\"\n"), &["penstock.toml:7: aliases.\"m\""]),
        ("[server]\nmax_bytes_in_flight = \"1MiB\"\n".to_owned(), &["server.max_bytes_in_flight"]),
        (CHANNEL.replace("\"k\"", "\"env:NO_SUCH_THING\""), &["channel \"a\": credential", "NO_SUCH_THING"]),
        (CHANNEL.replace("\"k\"", "\"file:/no/such\""), &["channel \"a\": credential", "/no/such"]),
    ] {
        std::fs::write(dir.path().join("penstock.toml"), &text).unwrap();
        let output = run(dir.path(), &["check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}\n{said}");
        for word in words {
            assert!(said.contains(word), "{word} is not in\n{said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
    std::fs::write(dir.path().join("penstock.toml"), CHANNEL).unwrap();
    let output = run(dir.path(), &["check"]);
    assert_eq!(output.status.code(), Some(0));
    let output = run(dir.path(), &["check", "--config", "absent.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("absent.toml"));
}

#[test]
fn check_warns_of_what_would_serve_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{CHANNEL}groups = [\"vip\"]\n[[key]]\nname = \"k\"\nsecret = \"sk-check-0123456789abcdef\"\n\
         backup_models = [\"nowhere\"]\n[backup_models]\nm = [\"x\"]\nother = [\"m\"]\n"
    );
    std::fs::write(dir.path().join("penstock.toml"), &text).unwrap();
    let output = run(dir.path(), &["check"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for line in [
        "warning: models without a price are refused to keys with a quota, and free for others: m",
        "warning: channel \"a\": no declared key is of its groups (vip)",
        "warning: backup_models.\"m\": no channel serves \"x\"",
        "warning: key \"k\": backup_models: no channel serves \"nowhere\"",
    ] {
        assert!(said.lines().any(|l| l == line), "{line} is not in\n{said}");
    }
    assert!(!said.contains("serves \"m\""), "{said}");
}

#[test]
fn a_start_that_cannot_be_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(dir.path().join("file"), "").unwrap();
    std::fs::create_dir(dir.path().join("damaged")).unwrap();
    std::fs::write(dir.path().join("damaged/keys.json"), "{").unwrap();
    std::fs::write(dir.path().join("latin.toml"), [0xfc]).unwrap();
    std::fs::write(dir.path().join("filter.toml"), "[log]\nfilter = \"penstock=loud\"\n").unwrap();
    let tls = "[tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"none.pem\"\nkey = \"file\"\n";
    std::fs::write(dir.path().join("tls.toml"), tls).unwrap();
    for (args, words) in [
        (vec!["serve", "--config", "tls.toml"], "tls: none.pem: no certificate can be read"),
        (vec!["check", "--config", "tls.toml"], "tls: none.pem: no certificate can be read"),
        (vec!["serve", "--listen", &address], "another program listens there"),
        (vec!["serve", "--listen", "192.0.2.1:0"], "this machine has no such address"),
        (vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", "file/data"], "a file is in its way"),
        (vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", "file"], "a file is in its way"),
        (vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", "damaged"], "keys.json"),
        (
            vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", "/proc/1"],
            "the data directory /proc/1 cannot be used",
        ),
        (vec!["serve", "--listen", "127.0.0.1:0", "--log-dir", "file/logs"], "log.dir: file/logs: "),
        (vec!["serve", "--config", "damaged"], "damaged: is a folder, not a file"),
        (vec!["serve", "--config", "latin.toml"], "latin.toml: is no UTF-8"),
        (vec!["serve", "--listen", "127.0.0.1:0", "--config", "filter.toml"], "log.filter"),
        (vec!["serve", "--listen", "127.0.0.1:0", "--port", "1"], "cannot be used with"),
        (vec!["key", "create", "--data-dir", "file/data"], "file/data"),
    ] {
        let output = run(dir.path(), &args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(said.contains(words) && !said.contains("panicked"), "{args:?}\n{said}");
    }
}

/// Asks until the answer has this status, for no longer than a change may take to be in force.
async fn becomes(client: &Client, status: u16, what: &str) {
    let deadline = Instant::now() + SOON;
    while client.get("/v1/models").await.status != status {
        assert!(Instant::now() < deadline, "{what}: never {status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn the_help_of_the_mock_says_what_its_faults_take() {
    let dir = tempfile::tempdir().unwrap();
    let said = String::from_utf8(run(dir.path(), &["mock", "--help"]).stdout).unwrap();
    for words in [
        "before-head, mid-body, mid-frame, after-frames=N",
        "before-head, after-head, after-frames=N",
        "html, binary, error-200, truncated-json, huge-line=BYTES",
    ] {
        assert!(said.contains(words), "{words} is not in\n{said}");
    }
}

#[tokio::test]
async fn health_tells_whether_a_server_is_alive() {
    let mut process = Process::start("");
    let address = process.address.to_string();
    let output = run(&process.dir(), &["health", "--listen", &address]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let settings = format!("[server]\nlisten = \"{address}\"\n");
    std::fs::write(process.dir().join("other.toml"), settings).unwrap();
    assert!(
        run(&process.dir(), &["health", "--config", "other.toml"]).status.success(),
        "as the settings say"
    );
    process.signal("TERM");
    process.ended().await;
    let output = run(&process.dir(), &["health", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("/health") && said.contains("refused"), "{said}");

    let upstream = Upstream::start(|mut exchange| async move {
        exchange.answer(503, "text/plain", "no").await;
        After::Keep(exchange)
    })
    .await;
    let output = run(&process.dir(), &["health", "--listen", &upstream.address.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("503"));
}

#[tokio::test]
async fn keys_are_made_renewed_and_ended_while_calls_run() {
    let process = Process::start("");
    let key = |args: &[&str]| {
        let output = run(&process.dir(), &[&["key"], args].concat());
        assert!(output.status.success(), "{args:?} {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let first = key(&["create", "--name", "made", "--quota", "1.5", "--models", "m,n"]);
    let client = process.client();
    becomes(&client.clone().with_key(&first), 200, "made").await;
    assert_eq!(key(&["top-up", "made", "-0.25"]), "the balance of \"made\" is 1.250000000 USD");
    let second = key(&["rotate", "made"]);
    becomes(&client.clone().with_key(&second), 200, "the new secret").await;
    becomes(&client.clone().with_key(&first), 401, "the old secret").await;
    let listed = key(&["list"]);
    let line = listed.lines().find(|l| l.contains(" made ")).unwrap();
    assert!(line.contains(&second[3..11]) && line.contains("1.250000000"), "{listed}");
    assert!(!listed.contains(&second[3..]), "never the whole secret");
    key(&["revoke", "made"]);
    becomes(&client.clone().with_key(&second), 401, "revoked").await;
    let short = key(&["create", "--name", "short", "--expires-in", "1ms"]);
    let answer = client.with_key(&short);
    let deadline = Instant::now() + SOON;
    while answer.get("/v1/models").await.error_code() != "api_key_expired" {
        assert!(Instant::now() < deadline, "it never expires");
    }
    assert!([first, second, short].iter().all(|key| !process.log().contains(key)), "never said");
    assert!(std::path::Path::new(program()).is_file());
}

#[tokio::test]
async fn keys_made_before_there_was_a_store_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    let sha256 = penstock::api_key::hex(&penstock::api_key::digest("sk-of-old-0123456789"));
    let file = dir.path().join("data/keys.json");
    std::fs::write(&file, format!(r#"{{"keys":[{{"name":"old","sha256":"{sha256}"}}]}}"#)).unwrap();
    let output = run(dir.path(), &["key", "list"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains(" old "), "{output:?}");
    assert!(!file.exists() && file.with_extension("json.imported").exists());
}

#[tokio::test]
async fn a_start_without_the_database_goes_by_the_last_good_snapshot() {
    let database = Database::postgres().await;
    let relayed = Relayed::to(&database.url);
    let settings = format!("[store]\nurl = \"{}\"\n", relayed.url);
    let mut app = TestApp::start(&settings);
    assert_eq!(app.client().get("/v1/models").await.status, 200);
    let dir = app.dir();
    app.stop().join().unwrap();
    relayed.set(Mode::Cut);
    // The same data directory, and no database.
    let app = TestApp::start_in(dir, &settings);
    assert_eq!(app.client().get("/v1/models").await.status, 200);
    let ready: serde_json::Value =
        serde_json::from_str(&app.client().get("/health/ready").await.body).unwrap();
    assert_eq!((&ready["status"], &ready["keys"]["store"]), (&"ready".into(), &"away".into()), "{ready}");
    relayed.set(Mode::Pass);
    let deadline = Instant::now() + 3 * SOON;
    while !app.client().get("/health/ready").await.body.contains("reached") {
        assert!(Instant::now() < deadline, "the database is not found again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
