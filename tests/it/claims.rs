//! A data directory that was copied to a second machine: of the two, one speaks for the node.

use std::{path::Path, sync::Arc, time::Duration};

use super::support::{
    TestApp, Upstream, chat,
    database::{Database, on_every_database},
    relayed::{Mode, Relayed},
};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A copy of a gateway's data directory in a folder of its own.
fn cloned(app: &TestApp) -> Arc<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    copy(&app.dir().path().join("data"), &dir.path().join("data"));
    Arc::new(dir)
}

fn settings(url: &str, upstream: &Upstream) -> String {
    format!("[store]\nurl = \"{url}\"\n{}", upstream.channel("a", ""))
}

on_every_database!(a_copy_of_a_running_nodes_data_directory_does_not_start);

async fn a_copy_of_a_running_nodes_data_directory_does_not_start(database: Database) {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let settings = settings(&database.url, &upstream);
    let app = TestApp::start(&settings);
    let (early, dir) = (cloned(&app), app.dir());
    let refused = TestApp::refused(early.clone(), &settings);
    assert!(refused.contains("another process runs as node"), "{refused}");
    assert!(refused.contains("server.data_dir"), "it says what to do: {refused}");
    assert_eq!(app.client().chat(&chat("m")).await.status, 200, "the first goes on");
    app.end();
    // What ended in peace is followed at once, by the original and, after that, not by the copy.
    let app = TestApp::start_in(dir, &settings);
    let refused = TestApp::refused(early, &settings);
    assert!(refused.contains("went on elsewhere with a copy"), "{refused}");
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
}

async fn of_two_copies_that_started_without_the_database_one_goes_on(database: Database) {
    let (first, second) = (Relayed::to(&database.url), Relayed::to(&database.url));
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let other = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app = TestApp::start(&settings(&first.url, &upstream));
    let copy = cloned(&app);
    let dir = app.dir();
    app.end();
    second.set(Mode::Cut);
    // It goes by its snapshot, and cannot know yet.
    let app = TestApp::start_in(dir, &settings(&first.url, &upstream));
    let late = TestApp::start_in(copy, &settings(&second.url, &other));
    assert_eq!(late.client().chat(&chat("m")).await.status, 200);
    second.set(Mode::Pass);
    let deadline = std::time::Instant::now() + 3 * super::support::SOON;
    let refused = loop {
        let answer = late.client().chat(&chat("m")).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(std::time::Instant::now() < deadline, "it is found out");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "journal_unavailable"));
    assert_eq!(app.client().chat(&chat("m")).await.status, 200, "the one that claimed goes on");
    // The other's calls are in no books: they bear the numbers of the first one's.
    let id = app.client().chat(&chat("m")).await.header("x-request-id").unwrap().to_owned();
    while app.client().get(&format!("/api/calls/{id}")).await.json()["data"]["state"] == "pending" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let store = database.open().await;
    assert!(store.check_books().await.unwrap().balances());
}

#[tokio::test]
async fn of_two_copies_that_started_without_postgres_one_goes_on() {
    of_two_copies_that_started_without_the_database_one_goes_on(Database::postgres().await).await;
}

#[tokio::test]
async fn of_two_copies_that_started_without_mysql_one_goes_on() {
    of_two_copies_that_started_without_the_database_one_goes_on(Database::mysql().await).await;
}
