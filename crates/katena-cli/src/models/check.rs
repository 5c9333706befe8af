//! Is a file the right one?

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

use super::ModelFile;
use crate::failure::{Failure, Result};

/// The file's SHA-256 in lower-case hex; `read` hears of each piece's length.
pub(super) fn sha256(path: &Path, mut read: impl FnMut(u64)) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Failure::set_up(format!("{}: {e}", path.display())))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
        read(n as u64);
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// Fails with both hashes if they differ. `place` says where the wrong file is.
pub(super) fn compare(file: &ModelFile, found: &str, place: &str) -> Result<()> {
    if found == file.sha256 {
        return Ok(());
    }
    Err(Failure::set_up(format!(
        "{place} is not the model file it should be; it is not used.\n  sha256 expected  {}\n  sha256 found     {found}\nRemove it, and katena fetches the right one; or name a model of your own by a flag.",
        file.sha256
    )))
}

fn marker(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".checked");
    PathBuf::from(name)
}

fn state(metadata: &Metadata) -> Option<String> {
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", metadata.len(), changed.as_nanos()))
}

/// True if the file was found right before and has not changed since.
pub(super) fn is_remembered(path: &Path) -> bool {
    let (Ok(metadata), Ok(noted)) = (std::fs::metadata(path), std::fs::read_to_string(marker(path))) else {
        return false;
    };
    state(&metadata).is_some_and(|now| noted.split_once(' ').is_some_and(|(_, then)| then.trim_end() == now))
}

/// Remembers that the file as it is now has this hash.
pub(super) fn remember(path: &Path, sha256: &str) -> Result<()> {
    let now =
        state(&std::fs::metadata(path)?).ok_or_else(|| Failure::failed("the file has no time of change"))?;
    // In a read-only folder the file is simply read again the next time.
    let _ = std::fs::write(marker(path), format!("{sha256} {now}\n"));
    Ok(())
}
