//! Whether the data directory can be used, and what to do where it cannot.

use std::{
    io::{self, ErrorKind, Write as _},
    path::Path,
};

/// Makes the folder where it is missing, and tries to write there.
pub(super) fn try_out(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::tempfile_in(dir)?;
    // More than a file system keeps beside the name, so that a full one says so.
    file.write_all(&[0; 16 << 10])?;
    file.sync_all()
}

/// What is wrong with the folder, and what helps.
pub(super) fn sentence(dir: &Path, error: &io::Error) -> String {
    let helps = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; let the user that runs penstock write there (in a container, chown the volume), or name another \
             folder: --data-dir or server.data_dir"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; make room, or name another folder: --data-dir or server.data_dir"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "; a file is in its way: name another folder: --data-dir or server.data_dir"
        }
        _ => "",
    };
    format!("the data directory {} cannot be used: {error}{helps}", dir.display())
}
