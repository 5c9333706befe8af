//! The cache folder, and locks between processes that use it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::progress::Progress;

/// `$KATENA_CACHE`, else `$XDG_CACHE_HOME/katena`, else `~/.cache/katena`.
pub(crate) fn folder() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("KATENA_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("katena")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/katena")))
        .ok_or_else(|| Failure::set_up("no place for the cache: set KATENA_CACHE to a folder"))
}

/// Waits until this process alone holds the lock; dropping the file gives it back, and so does the process's end.
pub(crate) fn lock(path: &Path, waiting: &str, progress: Progress) -> Result<File> {
    let cannot = |e: std::io::Error| Failure::failed(format!("{}: {e}", path.display()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(cannot)?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            progress.note(&format!("{waiting}; waiting for it"));
            file.lock().map_err(cannot)?;
            Ok(file)
        }
        Err(TryLockError::Error(e)) => Err(cannot(e)),
    }
}
