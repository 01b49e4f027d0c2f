//! `penstock check --books`: whether the books in the store balance.

use crate::{app::Place, config::Settings, store::BooksReport};

/// Checks the books of the store that the settings name, and says what it found.
///
/// # Errors
/// A sentence, where the store cannot be reached; every difference, where there are any.
pub(super) fn check(settings: &Settings) -> Result<String, String> {
    let place = Place::of(settings).map_err(|(key, problem)| format!("{key}: {problem}"))?;
    let report = actix_web::rt::System::new().block_on(async {
        let store = place.open().await.map_err(|e| e.to_string())?;
        store.check_books().await.map_err(|e| e.to_string())
    })?;
    match report.balances() {
        true => Ok(format!(
            "the books balance: {} accounts, {} streams of the journal",
            report.accounts, report.streams
        )),
        false => Err(differences(&report).join("\n")),
    }
}

fn differences(report: &BooksReport) -> Vec<String> {
    let balances = report.off_balance.iter().map(|off| {
        format!(
            "account {}: its balance is {}, its entries sum to {}",
            off.account.0, off.balance, off.entries
        )
    });
    let streams = report.off_log.iter().map(|off| {
        let stream =
            format!("node {} boot {} worker {}", off.stream.node, off.stream.boot, off.stream.worker);
        format!(
            "account {}, {stream}: the ledger drew {}, the request log's calls cost {}",
            off.account.0, -off.entries, off.calls
        )
    });
    balances.chain(streams).collect()
}
