//! No settings file: the environment alone makes channels and keys, and models are discovered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::support::{
    Process, Upstream,
    app::KEY,
    chat,
    process::{run, run_with},
    upstream::After,
};

const SERVE: &str = "serve --listen 127.0.0.1:0";

/// A provider that lists these models and answers calls.
async fn provider(models: &'static [&'static str]) -> Upstream {
    Upstream::start(move |mut exchange| async move {
        if !exchange.head.starts_with("GET ") {
            return exchange.answer_well("hello").await;
        }
        exchange.answer(200, "application/json", &list(models.iter().map(ToString::to_string))).await;
        After::Keep(exchange)
    })
    .await
}

fn list(models: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = models.map(|m| format!(r#"{{"id":"{m}","object":"model"}}"#)).collect();
    format!(r#"{{"object":"list","data":[{}]}}"#, items.join(","))
}

fn variables(base: &str) -> [(&str, &str); 3] {
    [("OPENAI_API_KEY", "sk-provider"), ("OPENAI_BASE_URL", base), ("API_KEYS", KEY)]
}

async fn models(process: &Process) -> Vec<String> {
    let answer = process.client().get("/v1/models").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let data = answer.json()["data"].as_array().unwrap().clone();
    data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_providers_two_variables_and_a_key_are_enough_for_the_first_answer() {
    let provider = provider(&["gpt-x", "other"]).await;
    let base = format!("http://{}/v1", provider.address);
    let process = Process::start_bare(&variables(&base), SERVE);
    assert_eq!(models(&process).await, ["gpt-x", "other"], "known when the greeting is said");
    let answer = process.client().chat(&chat("gpt-x")).await;
    assert!(answer.status == 200 && answer.body.contains("hello"), "{answer:?}");
    assert!(provider.seen()[0].head.starts_with("GET /v1/models HTTP/1.1\r\n"));
    for seen in provider.seen() {
        assert_eq!(seen.header("authorization"), Some("Bearer sk-provider"));
    }
    assert!(!process.log().contains("sk-provider") && !process.log().contains(KEY), "{}", process.log());
}

#[tokio::test]
async fn anthropic_is_asked_in_its_own_way() {
    let provider = provider(&["claude-x"]).await;
    let base = format!("http://{}", provider.address);
    let set = [("CLAUDE_API_KEY", "sk-ant"), ("ANTHROPIC_BASE_URL", &*base), ("API_KEYS", KEY)];
    let process = Process::start_bare(&set, SERVE);
    assert_eq!(models(&process).await, ["claude-x"]);
    let seen = &provider.seen()[0];
    assert_eq!(
        (seen.header("x-api-key"), seen.header("anthropic-version")),
        (Some("sk-ant"), Some("2023-06-01"))
    );
}

#[tokio::test]
async fn a_provider_that_does_not_list_its_models_holds_up_no_start_and_is_asked_again() {
    let well = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    type Script = fn(super::support::Exchange) -> std::pin::Pin<Box<dyn Future<Output = After> + Send>>;
    let scripts: [(Script, &str); 5] = [
        (|e| Box::pin(e.stall()), ""),
        (|e| Box::pin(e.reset()), "models are not known yet"),
        (
            |mut e| {
                Box::pin(async move {
                    e.answer(401, "application/json", "{}").await;
                    After::Keep(e)
                })
            },
            "refuses the credential",
        ),
        (
            |mut e| {
                Box::pin(async move {
                    e.answer(200, "text/html", "<html>welcome</html>").await;
                    After::Keep(e)
                })
            },
            "no list of models",
        ),
        (
            |mut e| {
                Box::pin(async move {
                    e.answer(200, "application/json", &"[".repeat(100_000)).await;
                    After::Close
                })
            },
            "no list of models",
        ),
    ];
    for (script, words) in scripts {
        well.store(false, Ordering::SeqCst);
        let provider = Upstream::start({
            let (well, asked) = (well.clone(), asked.clone());
            move |mut exchange| {
                asked.fetch_add(1, Ordering::SeqCst);
                let well = well.load(Ordering::SeqCst);
                async move {
                    if !well {
                        return script(exchange).await;
                    }
                    exchange.answer(200, "application/json", &list(["late".to_owned()].into_iter())).await;
                    After::Keep(exchange)
                }
            }
        })
        .await;
        let base = format!("http://{}", provider.address);
        let begun = Instant::now();
        let process = Process::start_bare(&variables(&base), SERVE);
        assert!(begun.elapsed() < Duration::from_secs(8), "the start waits for three seconds at most");
        assert_eq!(models(&process).await, [] as [String; 0]);
        if words.is_empty() {
            // It hangs: asked again only after a deadline that a test need not wait for.
            continue;
        }
        process.wait_until("the log says what is missing", |log| log.contains(words));
        well.store(true, Ordering::SeqCst);
        process.wait_until("the list comes", |log| log.contains("models discovered"));
        assert_eq!(models(&process).await, ["late"]);
    }
}

#[tokio::test]
async fn ten_thousand_models_are_served() {
    let provider = Upstream::start(|mut exchange| async move {
        if !exchange.head.starts_with("GET ") {
            return exchange.answer_well("hello").await;
        }
        let body = list((0..10_000).map(|n| format!("model-{n}")));
        exchange.answer(200, "application/json", &body).await;
        After::Keep(exchange)
    })
    .await;
    let base = format!("http://{}", provider.address);
    let process = Process::start_bare(&variables(&base), SERVE);
    process.wait_until("the list comes", |log| log.contains("models discovered"));
    assert_eq!(models(&process).await.len(), 10_000);
    assert_eq!(process.client().chat(&chat("model-9999")).await.status, 200);
}

#[tokio::test]
async fn models_follow_the_settings_when_they_are_read_again() {
    let [one, two] = [provider(&["one"]).await, provider(&["two"]).await];
    let channel = |upstream: &Upstream| upstream.channel("a", "models = \"discover\"\n");
    let process = Process::start(&channel(&one));
    assert_eq!(models(&process).await, ["one"]);
    process.reload(&channel(&two), "models discovered");
    assert_eq!(models(&process).await, ["two"], "what the other server said is forgotten");
    process.reload("", "removed");
    assert_eq!(models(&process).await, ["penstock-echo"]);
}

#[tokio::test]
async fn the_start_says_where_the_keys_in_force_come_from() {
    let mut process = Process::start_bare(&[("API_KEYS", KEY)], SERVE);
    let said = "Keys in force: 1 declared in file or environment. `penstock key create`";
    process.wait_until(said, |log| log.contains(said));
    assert!(run(&process.dir(), &["key", "create"]).status.success());
    process.signal("TERM");
    process.ended().await;

    let (again, data) = (tempfile::tempdir().unwrap(), process.dir().join("data"));
    let serve = format!("exec \"$0\" {SERVE} --data-dir '{}'", data.display());
    let both = Process::start_in(again, &serve, &[("API_KEYS", KEY)]);
    let said = "Keys in force: 1 declared in file or environment, 1 made earlier.";
    both.wait_until(said, |log| log.contains(said));
}

#[test]
fn local_servers_are_discovered_where_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let set = [("PENSTOCK_DISCOVER__LOCAL", "ollama,vllm,llamacpp")];
    let output = run_with(dir.path(), &["check"], &set);
    assert!(String::from_utf8_lossy(&output.stdout).contains("3 channels"), "{output:?}");
    let output = run(dir.path(), &["check"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("0 channels, 0 keys"), "{output:?}");
    let one = [("PENSTOCK_DISCOVER__LOCAL", "ollama"), ("API_KEYS", KEY)];
    let output = run_with(dir.path(), &["check"], &one);
    assert!(String::from_utf8_lossy(&output.stdout).ends_with(": 1 channel, 1 key\n"), "{output:?}");
}

#[tokio::test]
async fn one_apis_line_starts_and_each_name_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), "TZ=Asia/Shanghai\nPORT=1\nSESSION_SECRET='hidden-one'\n")
        .unwrap();
    let set = [
        ("PORT", "0"),
        ("HOST", "127.0.0.1"),
        ("SQLITE_PATH", "data/one-api.db"),
        ("LOG_SQL_DSN", ""),
        ("REDIS_CONN_STRING", "redis://hidden-two@redis"),
        ("INITIAL_ROOT_TOKEN", KEY),
        ("RELAY_TIMEOUT", "60"),
    ];
    let flags = "--log-dir logs --server http://x --github-oauth id:hidden-three --skip-auth";
    let process = Process::start_in(dir, &format!("exec \"$0\" {flags}"), &set);
    assert!(process.address.ip().is_loopback() && process.address.port() > 1);
    assert_eq!(models(&process).await, ["penstock-echo"], "INITIAL_ROOT_TOKEN is a key");
    let log = process.log();
    for words in [
        "TZ=Asia/Shanghai: ",
        "PORT=0: ",
        "SQLITE_PATH=data/one-api.db: ",
        "REDIS_CONN_STRING: ",
        "SESSION_SECRET: ",
        "--server: ",
        "--skip-auth: ",
    ] {
        assert!(log.contains(words), "{words} is not in\n{log}");
    }
    assert!(!log.contains("hidden-"), "{log}");
    let logs = || std::fs::read_dir(process.dir().join("logs")).unwrap();
    let written = || logs().map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap()).collect::<String>();
    super::support::eventually("the log is in the folder too", || written().contains("TZ=Asia/Shanghai"))
        .await;
}
