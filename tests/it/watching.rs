//! Changed files are taken up without a signal, however they are changed, and a wrong one is told once.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use super::support::{Process, Upstream, app::with_key, chat};

/// Starts the program in a folder that `fill` has filled, watching.
fn start(fill: impl FnOnce(&Path)) -> Process {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    Process::start_in(dir, "exec \"$0\" serve --listen 127.0.0.1:0", &[])
}

fn settings(weight: u32) -> String {
    with_key(&format!(
        "[[channel]]\nname = \"a\"\nprovider = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:9\"\nmodels = [\"m\"]\nweight = {weight}\n"
    ))
}

fn count(process: &Process, words: &str) -> usize {
    process.log().matches(words).count()
}

#[tokio::test]
async fn edits_renames_and_swapped_links_are_taken_up_in_time() {
    let process = start(|dir| {
        fs::create_dir(dir.join("v1")).unwrap();
        fs::write(dir.join("v1/penstock.toml"), settings(1)).unwrap();
        symlink("v1", dir.join("data-now")).unwrap();
        symlink("data-now/penstock.toml", dir.join("penstock.toml")).unwrap();
    });
    let dir = process.dir();
    let begun = Instant::now();
    fs::write(dir.join("v1/penstock.toml"), settings(2)).unwrap();
    process.wait_until("an edit in place", |log| log.contains("weight 1 -> 2"));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    fs::create_dir(dir.join("v2")).unwrap();
    fs::write(dir.join("v2/penstock.toml"), settings(3)).unwrap();
    symlink("v2", dir.join("data-new")).unwrap();
    fs::rename(dir.join("data-new"), dir.join("data-now")).unwrap();
    process.wait_until("a swapped link, as Kubernetes does", |log| log.contains("weight 2 -> 3"));

    fs::write(dir.join("other"), settings(4)).unwrap();
    fs::rename(dir.join("other"), dir.join("penstock.toml")).unwrap();
    process.wait_until("a file put in its place", |log| log.contains("weight 3 -> 4"));

    fs::rename(dir.join("penstock.toml"), dir.join("backup")).unwrap();
    fs::write(dir.join("penstock.toml"), settings(5)).unwrap();
    process.wait_until("an editor that keeps the old one", |log| log.contains("weight 4 -> 5"));
    assert_eq!(count(&process, "settings are invalid"), 0, "{}", process.log());
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_is_told_once() {
    let process = start(|dir| fs::write(dir.join("penstock.toml"), settings(1)).unwrap());
    let file = process.dir().join("penstock.toml");
    fs::write(&file, settings(1).replace("weight", "wieght")).unwrap();
    process.wait_until("the mistake is told", |log| log.contains("did you mean weight?"));
    fs::remove_file(&file).unwrap();
    process.wait_until("the absence is told", |log| log.contains("there is no such file"));
    fs::write(&file, settings(7)).unwrap();
    process.wait_until("the right file is taken up", |log| log.contains("weight 1 -> 7"));
    let told = count(&process, "settings are invalid");
    assert_eq!(told, 2, "each once: {}", process.log());
}

#[tokio::test]
async fn secrets_in_files_and_new_keys_are_watched_too() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let channel = upstream.channel("a", "").replace("\"secret-a\"", "\"file:credential\"");
    let process = start(|dir| {
        fs::write(dir.join("credential"), "first\n").unwrap();
        fs::write(dir.join("penstock.toml"), with_key(&channel)).unwrap();
    });
    process.client().chat(&chat("m")).await;
    fs::write(process.dir().join("credential"), "second\n").unwrap();
    process.wait_until("it is taken up", |log| log.contains("channel \"a\": credential changed"));
    process.client().chat(&chat("m")).await;
    let shown: Vec<_> =
        upstream.seen().iter().map(|s| s.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(shown, ["Bearer first", "Bearer second"]);
    assert!(!process.log().contains("second"), "never said");

    fs::write(process.dir().join("credential"), "").unwrap();
    process.wait_until("an empty one is refused", |log| log.contains("credential is empty"));
    assert_eq!(process.client().chat(&chat("m")).await.status, 200, "and changes nothing");
    fs::write(process.dir().join("credential"), "third\n").unwrap();
    process.wait_until("a good one is taken up", |log| log.matches("credential changed").count() == 2);

    let output = super::support::process::run(&process.dir(), &["key", "create"]);
    let key = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let newcomer = process.client().with_key(&key);
    let deadline = Instant::now() + super::support::SOON;
    while newcomer.get("/v1/models").await.status != 200 {
        assert!(Instant::now() < deadline, "the key opens without a signal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
