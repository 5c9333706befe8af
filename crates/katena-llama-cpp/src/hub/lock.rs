//! One fetches, others wait: a file that only one can make, touched while the work goes on.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use katena_core::{Context, Result};

/// A lock that was not touched for so long is one of a process that ended.
const STALE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

/// Held while a file is fetched; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
    touched: SystemTime,
}

impl Lock {
    /// Waits until this caller alone has it.
    pub(super) async fn wait(path: PathBuf, context: &Context) -> Result<Self> {
        loop {
            context.check()?;
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file, touched: SystemTime::now() }),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    if stale(&path) {
                        // Whoever moves it away removes it; the others find none.
                        let aside = path.with_extension(format!("stale-{}", std::process::id()));
                        if std::fs::rename(&path, &aside).is_ok() {
                            std::fs::remove_file(&aside)?;
                        }
                        continue;
                    }
                    let pause = async {
                        tokio::time::sleep(POLL).await;
                        Ok(())
                    };
                    context.cancel.guard(pause).await?;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Says that the work goes on; call it at each piece.
    pub(super) fn touch(&mut self) -> Result<()> {
        let now = SystemTime::now();
        if now.duration_since(self.touched).is_ok_and(|d| d > STALE / 8) {
            self.file.set_modified(now)?;
            self.touched = now;
        }
        Ok(())
    }
}

fn stale(path: &Path) -> bool {
    let changed = std::fs::metadata(path).and_then(|m| m.modified());
    changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|d| d > STALE))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Another one may have taken it for stale and removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}
