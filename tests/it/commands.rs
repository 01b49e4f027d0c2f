//! The program's commands: what they refuse, and in what words.

use super::support::{
    Process, Upstream,
    process::{program, run},
    upstream::After,
};

#[test]
fn check_names_the_line_or_the_key() {
    let dir = tempfile::tempdir().unwrap();
    const CHANNEL: &str =
        "[[channel]]\nname = \"a\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\n";
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
async fn a_key_that_is_made_opens_after_a_hangup() {
    let process = Process::start("");
    let output = run(&process.dir(), &["key", "create", "--name", "made"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let client = process.client().with_key(&key);
    assert_eq!(client.get("/v1/models").await.status, 401);
    process.hang_up("settings read again");
    assert_eq!(client.get("/v1/models").await.status, 200);
    assert!(!process.log().contains(&key), "never said");
    std::fs::write(process.dir().join("data/keys.json"), "{").unwrap();
    process.hang_up("were not applied");
    assert_eq!(client.get("/v1/models").await.status, 200, "a damaged file changes nothing");
    assert!(std::path::Path::new(program()).is_file());
}

#[test]
fn a_full_data_directory_is_told_before_a_key_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let full = dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"])
        .arg(&full)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("not tried: this user may mount nothing");
        return;
    }
    let _ = std::fs::write(full.join("filler"), vec![0; 64 << 10]);
    let output = run(dir.path(), &["serve", "--listen", "127.0.0.1:0", "--data-dir", "full"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let unmounted = std::process::Command::new("umount").arg(&full).status();
    assert!(unmounted.unwrap().success());
    assert!(!output.status.success() && said.contains("make room"), "{said}");
}

#[test]
fn documents_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    for (document, words) in [("config", "max_bytes_in_flight"), ("one-api", "`SQL_DSN`")] {
        let output = run(dir.path(), &["docs", document]);
        assert!(String::from_utf8_lossy(&output.stdout).contains(words), "{output:?}");
    }
}
