//! Short drills, by the program's own command: `make drill` runs the long ones.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::{database::Database, process::program};

/// Runs a drill in a process; fails with what it found.
async fn drill(arguments: &[&str]) -> String {
    let arguments: Vec<String> = ["drill"].iter().chain(arguments).map(|a| (*a).to_owned()).collect();
    let run = tokio::task::spawn_blocking(move || {
        Command::new(program()).args(arguments).stdin(Stdio::null()).output().unwrap()
    });
    let output = tokio::time::timeout(Duration::from_secs(120), run).await.expect("in time").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A figure of a report.
fn count(report: &str, what: &str) -> u64 {
    let line = report.lines().find_map(|line| line.trim().strip_suffix(what)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {what} in\n{report}"))
}

/// Calls were joined, some of them abandoned.
fn check(report: &str) {
    assert!(count(report, "settled with the tokens and at the price of the mock's answer") > 0, "{report}");
    assert!(count(report, "abandoned in the journal") > 0, "{report}");
    assert_eq!(count(report, "violations"), 0);
}

#[tokio::test]
async fn the_books_balance_after_kills_on_sqlite() {
    check(&drill(&["crash", "--kills", "4"]).await);
}

#[tokio::test]
async fn the_books_balance_after_kills_on_postgres() {
    let database = Database::postgres().await;
    check(&drill(&["crash", "--kills", "2", "--url", &database.url]).await);
}

#[tokio::test]
async fn the_books_balance_after_kills_on_mysql() {
    let database = Database::mysql().await;
    check(&drill(&["crash", "--kills", "2", "--url", &database.url]).await);
}

#[tokio::test]
async fn the_books_balance_after_power_cuts_on_sqlite() {
    check(&drill(&["power", "--cuts", "4"]).await);
}

#[tokio::test]
async fn in_power_mode_no_power_cut_takes_a_call_whose_final_byte_was_seen() {
    check(&drill(&["power", "--cuts", "4", "--mode", "power"]).await);
}

#[tokio::test]
async fn the_books_balance_after_power_cuts_of_the_gateway_alone() {
    let database = Database::postgres().await;
    check(&drill(&["power", "--cuts", "3", "--url", &database.url]).await);
}

#[tokio::test]
async fn the_books_catch_up_with_a_database_that_another_writer_held() {
    check(&drill(&["outage", "--seconds", "4"]).await);
}

#[tokio::test]
async fn no_http_worker_asks_the_database() {
    let database = Database::postgres().await;
    // This build is too slow for the figure that `make drill` asks for.
    let report =
        drill(&["statements", "--seconds", "2", "--at-most", "1", "--clients", "32", "--url", &database.url])
            .await;
    assert_eq!(count(&report, "statements that HTTP workers sent"), 0);
    assert!(count(&report, "calls") > 0, "{report}");
}

#[tokio::test]
async fn no_call_is_lost_where_one_of_three_channels_fails() {
    let said = drill(&["failover", "--only", "errors,dies", "--seconds", "2", "--rate", "20"]).await;
    assert!(said.contains("| answers 500 | 40 | 0 |") && said.contains("| dies | 40 | 0 |"), "{said}");
}

#[tokio::test]
async fn a_short_soak_is_flat_and_leaves_nothing_behind() {
    let report = drill(&["soak", "--minutes", "0.4", "--rate", "25", "--slack", "8"]).await;
    assert!(report.contains("| permits |") && !report.contains("GROWS"), "{report}");
    let lost = report.lines().next().and_then(|line| line.rsplit_once("; ")).map(|(_, lost)| lost);
    assert_eq!(lost, Some("0 lost"), "{report}");
}

#[tokio::test]
async fn the_cost_of_a_call_is_measured_for_few_and_for_many_and_put_into_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.md");
    std::fs::write(&page, "a\n<!-- scale -->\n<!-- end of scale -->\nb\n").unwrap();
    let options = ["--channels", "20", "--keys", "50", "--rounds", "2", "--seconds", "0.4"];
    // What it costs is judged by a release build on a quiet machine.
    let judged = ["--at-most", "100", "--at-most-asked", "100", "--page", page.to_str().unwrap()];
    let report = drill(&[&["scale"], &options[..], &judged[..]].concat()).await;
    let rows: Vec<_> = report
        .lines()
        .filter(|line| line.starts_with("| 1 channel, ") || line.starts_with("| 20 "))
        .collect();
    assert_eq!(rows.len(), 6, "{report}");
    let cell =
        |at: usize| rows[0].split('|').nth(at).unwrap().trim().split(' ').next().unwrap().parse().unwrap();
    let (all, workers): (f64, f64) = (cell(2), cell(4));
    assert!(workers > 0.0 && all > workers, "{report}");
    assert!(
        rows[1].starts_with("| 20 channels with a model each, one of which is asked, 10 keys |"),
        "{report}"
    );
    assert!(rows[2].starts_with("| 1 channel, 50 keys, 10 of which call |"), "{report}");
    assert!(rows[3].starts_with("| 20 channels that serve one model, 10 keys |"), "{report}");
    assert!(std::fs::read_to_string(&page).unwrap().contains(rows[5]));
}
