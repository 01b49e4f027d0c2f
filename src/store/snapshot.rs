//! The last good snapshot of keys and accounts, in the data directory: what a start without the database
//! goes by. Hashes only.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use penstock_actors::domain::StreamId;
use serde::{Deserialize, Serialize};

use super::{Account, KeyRow, Published, StoreError, Stored};

/// What was published last, and when the database last confirmed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When the database last said so, in milliseconds since 1970.
    pub confirmed_ms: i64,
    /// What it said.
    pub published: Published,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    form: u32,
    confirmed_ms: i64,
    revision: i64,
    keys: Vec<KeyRow>,
    accounts: Vec<Account>,
    positions: Vec<(u32, u32, u16, u64)>,
}

const FORM: u32 = 1;

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("last-good.json")
}

impl Snapshot {
    /// Writes the snapshot beside the old one and renames it: a crash leaves one or the other.
    ///
    /// # Errors
    /// Where the data directory cannot be written.
    pub fn save(&self, data_dir: &Path) -> Stored<()> {
        let Published { revision, keys, accounts, positions } = self.published.clone();
        let positions = positions.iter().map(|(s, up_to)| (s.node, s.boot, s.worker, *up_to)).collect();
        let confirmed_ms = self.confirmed_ms;
        let written = Written { form: FORM, confirmed_ms, revision, keys, accounts, positions };
        let write = || {
            std::fs::create_dir_all(data_dir)?;
            let mut file = tempfile::NamedTempFile::new_in(data_dir)?;
            file.write_all(&serde_json::to_vec(&written)?)?;
            file.as_file().sync_all()?;
            file.persist(path(data_dir)).map_err(|e| e.error)?;
            Ok(())
        };
        write().map_err(|error| StoreError::File { path: path(data_dir), error })
    }

    /// Reads the snapshot; `None` where there is none, or only one of another form.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged.
    pub fn load(data_dir: &Path) -> Stored<Option<Self>> {
        let failed = |error| StoreError::File { path: path(data_dir), error };
        let bytes = match std::fs::read(path(data_dir)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let damaged = |e: serde_json::Error| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, e));
        let written: Written = serde_json::from_slice(&bytes).map_err(damaged)?;
        if written.form != FORM {
            return Ok(None);
        }
        let position = |(node, boot, worker, up_to)| (StreamId { node, boot, worker }, up_to);
        Ok(Some(Self {
            confirmed_ms: written.confirmed_ms,
            published: Published {
                revision: written.revision,
                keys: written.keys,
                accounts: written.accounts,
                positions: written.positions.into_iter().map(position).collect(),
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_as_it_was_written_and_a_damaged_one_is_an_error() {
        let dir = tempfile::tempdir().expect("temporary folder");
        assert_eq!(Snapshot::load(dir.path()).expect("nothing there"), None);
        let account = Account { id: 7, balance: -3, is_limited: true };
        let stream = StreamId { node: 1, boot: 2, worker: StreamId::RECOVERY };
        let published = Published {
            revision: 9,
            keys: Vec::new(),
            accounts: vec![account],
            positions: vec![(stream, u64::from(u32::MAX) + 1)],
        };
        let snapshot = Snapshot { confirmed_ms: 5, published };
        snapshot.save(dir.path()).expect("written");
        assert_eq!(Snapshot::load(dir.path()).expect("readable"), Some(snapshot));
        std::fs::write(path(dir.path()), "{").expect("written");
        assert!(Snapshot::load(dir.path()).is_err());
    }
}
