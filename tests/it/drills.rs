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
