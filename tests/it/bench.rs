//! `penstock bench` as a user runs it: what it counts, what it hides nothing of, what it refuses.

use std::{
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use penstock::mock::{self, MockSettings};
use serde_json::Value;

use super::support::{Upstream, process::run};

/// A run of the program: what it said and wrote.
struct Run {
    output: Output,
    json: Value,
    dir: tempfile::TempDir,
}

impl Run {
    fn said(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
            + &String::from_utf8_lossy(&self.output.stderr)
    }

    /// A figure of the result, by its JSON pointer.
    fn figure(&self, place: &str) -> f64 {
        let value = self.json.pointer(place).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no {place} in {:#}", self.json))
    }
}

/// Runs the generator; a test machine may be too busy for it to be in time, so it is not refused for that.
fn bench(address: std::net::SocketAddr, args: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{address}");
    let usual = ["bench", "--url", &url, "--json", "out.json", "--warm-up", "0s"];
    let patient = if args.contains(&"--max-late") { &[][..] } else { &["--max-late", "1h"] };
    let output = run(dir.path(), &[&usual[..], patient, args].concat());
    let json = std::fs::read_to_string(dir.path().join("out.json")).unwrap_or_default();
    Run { json: serde_json::from_str(&json).unwrap_or_default(), output, dir }
}

/// A mock in a thread of its own, until the test process ends.
fn start_mock() -> std::net::SocketAddr {
    let listener = mock::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        actix_web::rt::System::new()
            .block_on(async { mock::serve(listener, MockSettings::default(), 1).unwrap().await })
    });
    address
}

const STILL: Duration = Duration::from_millis(600);

/// An upstream that stands still once, at its fiftieth call.
async fn standing_still_once() -> Upstream {
    let calls = Arc::new(AtomicUsize::new(0));
    Upstream::start(move |exchange| {
        let nth = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            if nth == 49 {
                tokio::time::sleep(STILL).await;
            }
            exchange.answer_well("hi").await
        }
    })
    .await
}

#[tokio::test]
async fn a_target_that_stands_still_is_late_for_every_call_meant_to_begin_meanwhile() {
    let upstream = standing_still_once().await;
    let open = bench(
        upstream.address,
        &["--rate", "200", "--arrivals", "constant", "--connections", "1", "--duration", "2s"],
    );
    assert!(open.output.status.success(), "{}", open.said());
    assert_eq!(open.figure("/calls/intended"), 400.0);
    // 120 calls were meant to begin in the 600 ms; a quarter of that time is still to come for 90 of them.
    assert!(open.figure("/latency/p90") >= 150.0, "{}", open.said());
    assert!(open.figure("/latency/p99.9") >= 590.0, "{}", open.said());
    assert!(
        open.figure("/client/waited_for_connection/p90") >= 100.0,
        "waiting is told apart: {}",
        open.said()
    );

    let upstream = standing_still_once().await;
    let closed = bench(upstream.address, &["--closed", "--connections", "1", "--duration", "2s"]);
    assert!(closed.figure("/latency/max") >= 590.0, "{}", closed.said());
    assert!(
        closed.figure("/latency/p90") < 150.0,
        "one call of many, as a closed loop has it: {}",
        closed.said()
    );
    assert!(closed.said().contains("closed loop") && closed.said().contains("leave out"));
}

#[test]
fn streams_are_followed_frame_by_frame_at_their_pace() {
    let run = bench(
        start_mock(),
        &["--key", "k", "--rate", "50", "--duration", "1s", "--streams", "100", "--mock-tokens", "20"],
    );
    assert!(run.output.status.success(), "{}", run.said());
    let streams = run.figure("/calls/streams");
    assert_eq!(run.figure("/calls/good"), run.figure("/calls/intended"), "{}", run.said());
    assert_eq!(streams, run.figure("/calls/intended"));
    // The role, twenty words, the finish reason, [DONE].
    assert_eq!(run.figure("/calls/events"), streams * 23.0, "{}", run.said());
    assert!(run.json["behind_pace"].is_null(), "no pace was asked for");

    let paced = bench(
        start_mock(),
        &[
            "--key",
            "k",
            "--rate",
            "20",
            "--duration",
            "1s",
            "--streams",
            "100",
            "--mock-tokens",
            "10",
            "--mock-pace-ms",
            "20",
            "--mock-ttft-ms",
            "50",
        ],
    );
    assert!(paced.output.status.success(), "{}", paced.said());
    assert!(paced.figure("/first_token/p50") >= 50.0, "{}", paced.said());
    assert!(paced.figure("/gap/mean") >= 15.0, "{}", paced.said());
    assert_eq!(paced.figure("/behind_pace/count"), paced.figure("/calls/streams") * 9.0, "all but the first");
}

#[test]
fn failed_calls_are_counted_by_what_they_failed_of() {
    let mock = start_mock();
    let load = [
        "--key",
        "k",
        "--rate",
        "100",
        "--arrivals",
        "constant",
        "--duration",
        "400ms",
        "--mock-tokens",
        "8",
    ];
    let check = |more: &[&str], kind: &str, share: f64| {
        let run = bench(mock, &[&load, more].concat());
        assert_eq!(run.figure("/calls/intended"), 40.0);
        assert_eq!(run.json["failures"][kind].as_f64(), Some(40.0 * share), "{more:?}\n{}", run.said());
        assert_eq!(run.figure("/calls/good"), 40.0 * (1.0 - share));
        assert_eq!(run.output.status.success(), share < 1.0, "{}", run.said());
    };
    let cut = "cut: the connection closed before the end of the answer";
    let half = ["--header", "x-penstock-mock-status: 429", "--header", "x-penstock-mock-status-every: 2"];
    check(&half, "status 429", 0.5);
    check(&["--streams", "100", "--header", "x-penstock-mock-cut: mid-frame"], cut, 1.0);
    check(&["--header", "x-penstock-mock-cut: mid-body"], cut, 1.0);
    check(&["--header", "x-penstock-mock-cut: before-head"], cut, 1.0);
    check(&["--streams", "100", "--header", "x-penstock-mock-no-done: true"], "a stream without [DONE]", 1.0);
    check(
        &["--streams", "100", "--header", "x-penstock-mock-garbage: error-200"],
        "an error event in the stream",
        1.0,
    );
    check(&["--header", "x-penstock-mock-garbage: html"], "not a chat completion", 1.0);
    check(&["--timeout", "100ms", "--header", "x-penstock-mock-stall: before-head"], "timeout", 1.0);
}

#[tokio::test]
async fn words_that_are_lost_or_changed_are_found() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("water falls")).await;
    for (words, streams, failure) in [
        ("2", "0", None),
        ("2", "100", None),
        ("3", "0", Some("content that stops early")),
        ("3", "100", Some("content that stops early")),
        ("1", "100", Some("other content than expected")),
    ] {
        let run = bench(
            upstream.address,
            &["--rate", "50", "--duration", "200ms", "--mock-tokens", words, "--streams", streams],
        );
        let found = run.json["failures"].as_object().unwrap().keys().next().map(String::as_str);
        assert_eq!(found, failure, "{}", run.said());
    }
}

#[tokio::test]
async fn keys_models_and_sizes_are_mixed() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    std::fs::write(&keys, "sk-one\nsk-two 3\n").unwrap();
    let run = bench(
        upstream.address,
        &[
            "--rate",
            "400",
            "--duration",
            "500ms",
            "--keys",
            keys.to_str().unwrap(),
            "--model",
            "a,b=3",
            "--size",
            "200,5000:3",
            "--streams",
            "50",
            "--connections",
            "4",
            "--threads",
            "2",
            "--plot",
            "out.svg",
        ],
    );
    assert!(run.output.status.success(), "{}", run.said());
    let seen = upstream.seen();
    assert_eq!(seen.len() as f64, run.figure("/calls/intended"));
    let share = |of: &dyn Fn(&super::support::upstream::Seen) -> bool| {
        seen.iter().filter(|one| of(one)).count() as f64 / seen.len() as f64
    };
    for (what, share, expected) in [
        ("key", share(&|s| s.header("authorization") == Some("Bearer sk-two")), 0.75),
        ("model", share(&|s| s.body.contains("\"model\":\"b\"")), 0.75),
        ("size", share(&|s| s.body.len() == 5000), 0.75),
        ("stream", share(&|s| s.body.contains("\"stream\":true")), 0.5),
    ] {
        // The draws are the seed's, so this cannot come out otherwise another time.
        assert!((share - expected).abs() < 0.15, "{what}: {share} instead of {expected}");
    }
    assert!(upstream.connections() <= 4);
    let plot = std::fs::read_to_string(run.dir.path().join("out.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("from intended start"), "{plot}");
    assert!(!run.said().contains("sk-two"), "keys are not repeated");
}

#[test]
fn a_generator_that_cannot_keep_its_pace_refuses_the_result() {
    let run =
        bench(start_mock(), &["--key", "k", "--rate", "1000", "--duration", "200ms", "--max-late", "1ns"]);
    assert!(!run.output.status.success());
    assert!(run.said().contains("REFUSED") && run.said().contains("--max-late"), "{}", run.said());
    assert_eq!(run.json["is_valid"], false);
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys"), "sk-secret many\n").unwrap();
    for (args, words) in [
        (&[][..], &["--rate", "--closed"][..]),
        (&["--rate", "1", "--closed"], &["cannot be used with"]),
        (&["--rate", "0"], &["--rate"]),
        (&["--rate", "NaN"], &["--rate"]),
        (&["--closed", "--streams", "101"], &["--streams"]),
        (&["--closed", "--connections", "0"], &["--connections"]),
        (&["--closed", "--connections", "2", "--threads", "3"], &["--threads"]),
        (&["--closed", "--size", "200;70"], &["--size", "200;70"]),
        (&["--closed", "--size", "200:0"], &["--size", "weight"]),
        (&["--closed", "--duration", "0s"], &["--duration"]),
        (&["--closed", "--mock-pace-ms", "5"], &["--mock-tokens"]),
        (&["--closed", "--url", "localhost"], &["--url", "http://"]),
        (&["--closed", "--header", "nocolon"], &["--header"]),
        (&["--closed", "--key", "env:NO_SUCH_KEY"], &["NO_SUCH_KEY"]),
        (&["--closed", "--keys", "absent"], &["--keys", "absent"]),
        (&["--closed", "--keys", "keys"], &["--keys", "line 1"]),
    ] {
        let output = run(dir.path(), &[&["bench"], args].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{args:?}");
        for word in words {
            assert!(said.contains(word), "{args:?}: {word} is not in\n{said}");
        }
        assert!(!said.contains("panicked") && !said.contains("sk-secret"), "{said}");
    }
}
