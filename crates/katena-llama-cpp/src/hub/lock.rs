//! One fetches, others wait: a lock of the system on a file of its own, which ends with the process that holds it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use katena_core::{Context, Result};

const POLL: Duration = Duration::from_millis(100);

/// Held while a file is fetched; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Waits until this caller alone has it.
    pub(super) async fn wait(path: PathBuf, context: &Context) -> Result<Self> {
        loop {
            context.check()?;
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => return Ok(Self { path, file }),
                // Its owner removed it between our two steps.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(e.into()),
            }
            let pause = async {
                tokio::time::sleep(POLL).await;
                Ok(())
            };
            context.cancel.guard(pause).await?;
        }
    }
}

/// True if the open file is the one of that name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |a: std::fs::Metadata, b: std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().is_ok_and(|ours| std::fs::metadata(path).is_ok_and(|named| same(ours, named)))
}

/// Open files are not removed here.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held: whoever waits for it finds that the name is gone.
        if cfg!(unix) {
            let _ = std::fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use katena_core::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_lock_is_waited_for_and_a_file_alone_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        // What a process left behind that was killed.
        std::fs::write(&path, "").unwrap();
        let held = Lock::wait(path.clone(), &Context::new()).await.unwrap();
        let soon = Context::new().with_deadline(Instant::now() + Duration::from_millis(250));
        let late = Lock::wait(path.clone(), &soon).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        drop(held);
        drop(Lock::wait(path.clone(), &Context::new()).await.unwrap());
        assert!(!path.exists() || !cfg!(unix), "nothing is left");
    }

    #[test]
    fn there_is_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let owners = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    for _ in 0..10 {
                        let lock = runtime.block_on(Lock::wait(path.clone(), &Context::new())).unwrap();
                        assert_eq!(owners.fetch_add(1, Ordering::SeqCst), 0);
                        owners.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }
}
