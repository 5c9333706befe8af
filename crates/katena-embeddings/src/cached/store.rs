//! The folder: files that are only appended to, each by one process, and an index of them in memory.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use katena_core::{Error, Result};

use super::segment::{self, Key, Place};

const ENDING: &str = ".kev";
/// Files beyond this number are joined when the folder is opened.
const MANY_FILES: usize = 32;
/// A file that was written to in this time may have a writer.
const QUIET: Duration = Duration::from_secs(600);

pub(super) struct Store {
    folder: PathBuf,
    max_bytes: u64,
    /// By name, which begins with the time, so that the oldest comes first.
    files: BTreeMap<String, Segment>,
    index: HashMap<Key, (String, Place)>,
    /// The file that this process appends to.
    own: Option<String>,
}

struct Segment {
    file: File,
    /// Up to here its records are in the index.
    scanned: u64,
    bytes: u64,
}

fn failed(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).with_context("path", path.display().to_string())
}

impl Store {
    pub(super) fn open(folder: &Path, max_bytes: u64) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| failed(e, folder))?;
        let mut store = Self {
            folder: folder.to_owned(),
            max_bytes,
            files: BTreeMap::new(),
            index: HashMap::new(),
            own: None,
        };
        store.refresh()?;
        store.join_small()?;
        store.evict();
        Ok(store)
    }

    pub(super) fn size(&self) -> (usize, u64) {
        (self.index.len(), self.files.values().map(|s| s.bytes).sum())
    }

    /// The vectors of these keys. One that can't be read, or is damaged, is not there.
    pub(super) fn find(&mut self, keys: &[Key], dimensions: usize) -> Vec<Option<Vec<f32>>> {
        if keys.iter().any(|key| !self.index.contains_key(key)) {
            // What other processes have written since. That it can't be read makes it a miss.
            if let Err(error) = self.refresh() {
                tracing::warn!(error = %error, "the cache of vectors can't be read");
            }
        }
        keys.iter().map(|key| self.get(key).filter(|vector| vector.len() == dimensions)).collect()
    }

    fn get(&mut self, key: &Key) -> Option<Vec<f32>> {
        let (name, place) = self.index.get(key)?.clone();
        let read = self.files.get_mut(&name).and_then(|s| {
            let mut bytes = vec![0; place.bytes()];
            s.file.seek(SeekFrom::Start(place.offset)).ok()?;
            s.file.read_exact(&mut bytes).ok()?;
            segment::read(&bytes).filter(|(found, ..)| found == key).map(|(.., vector)| vector)
        });
        if read.is_none() {
            self.index.remove(key);
        }
        read
    }

    /// Appends records, in one write.
    pub(super) fn put(&mut self, records: &[(Key, Vec<f32>)]) -> Result<()> {
        let name = self.own_file()?;
        let Some(own) = self.files.get_mut(&name) else {
            return Err(Error::unexpected("the cache lost its file"));
        };
        let base = own.file.seek(SeekFrom::End(0)).map_err(|e| failed(e, &self.folder))?;
        let mut bytes = Vec::new();
        let places: Vec<(Key, Place)> = records
            .iter()
            .filter_map(|(key, vector)| segment::write(&mut bytes, key, vector).map(|place| (*key, place)))
            .collect();
        let written = own.file.write_all(&bytes);
        own.bytes = own.file.seek(SeekFrom::End(0)).unwrap_or(own.bytes);
        written.map_err(|e| failed(e, &self.folder))?;
        own.scanned = own.bytes;
        for (key, place) in places {
            let place = Place { offset: base + place.offset, ..place };
            self.index.insert(key, (name.clone(), place));
        }
        self.evict();
        Ok(())
    }

    /// A file is full at an eighth of the bound, so that not everything goes when one goes.
    fn own_file(&mut self) -> Result<String> {
        if let Some(name) = &self.own {
            let full = self.files.get(name).is_none_or(|s| s.bytes >= self.max_bytes / 8);
            if !full && self.folder.join(name).exists() {
                return Ok(name.clone());
            }
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{nanos:022}-{}-{number}{ENDING}", std::process::id());
        let path = self.folder.join(&name);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|e| failed(e, &path))?;
        self.files.insert(name.clone(), Segment { file, scanned: 0, bytes: 0 });
        self.own = Some(name.clone());
        Ok(name)
    }

    /// Takes in new files and new records, and forgets files that are gone.
    fn refresh(&mut self) -> Result<()> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(|e| failed(e, &self.folder))? {
            let name = entry.map_err(|e| failed(e, &self.folder))?.file_name();
            if let Some(name) = name.to_str().filter(|n| n.ends_with(ENDING)) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        let gone: Vec<String> =
            self.files.keys().filter(|n| names.binary_search(*n).is_err()).cloned().collect();
        for name in &gone {
            self.forget(name);
        }
        for name in names {
            if !self.files.contains_key(&name) {
                // Another process may just have removed it.
                let Ok(file) = File::open(self.folder.join(&name)) else { continue };
                self.files.insert(name.clone(), Segment { file, scanned: 0, bytes: 0 });
            }
            self.scan(&name)?;
        }
        Ok(())
    }

    fn scan(&mut self, name: &str) -> Result<()> {
        let Some(s) = self.files.get_mut(name) else { return Ok(()) };
        s.bytes = s.file.metadata().map_err(|e| failed(e, &self.folder))?.len();
        // A file far beyond the bound is none of ours.
        if s.bytes <= s.scanned || s.bytes > self.max_bytes.saturating_mul(2) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        s.file.seek(SeekFrom::Start(s.scanned)).map_err(|e| failed(e, &self.folder))?;
        s.file.read_to_end(&mut bytes).map_err(|e| failed(e, &self.folder))?;
        let index = &mut self.index;
        let settled = segment::scan(&bytes, s.scanned, |key, place| {
            index.insert(key, (name.to_owned(), place));
        });
        s.scanned += settled as u64;
        Ok(())
    }

    fn forget(&mut self, name: &str) {
        self.files.remove(name);
        self.index.retain(|_, (file, _)| file != name);
        if self.own.as_deref() == Some(name) {
            self.own = None;
        }
    }

    fn remove(&mut self, name: &str) {
        if let Err(error) = std::fs::remove_file(self.folder.join(name))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(error = %error, "an old file of the cache can't be removed");
        }
        self.forget(name);
    }

    /// Removes the oldest files until the rest is within the bound.
    fn evict(&mut self) {
        while self.files.len() > 1 && self.size().1 > self.max_bytes {
            let Some(name) = self.files.keys().find(|n| Some(*n) != self.own.as_ref()).cloned() else {
                return;
            };
            self.remove(&name);
        }
    }

    /// Joins the files of many short runs, leaving out those that may still be written to.
    fn join_small(&mut self) -> Result<()> {
        if self.files.len() <= MANY_FILES {
            return Ok(());
        }
        let quiet = |s: &Segment| {
            let modified = s.file.metadata().and_then(|m| m.modified()).ok();
            modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > QUIET)
        };
        let small = self.max_bytes / 16;
        let names: Vec<String> =
            self.files.iter().filter(|(_, s)| s.bytes < small && quiet(s)).map(|(n, _)| n.clone()).collect();
        for name in names {
            let keys: Vec<Key> =
                self.index.iter().filter(|(_, (file, _))| *file == name).map(|(key, _)| *key).collect();
            let records: Vec<(Key, Vec<f32>)> =
                keys.into_iter().filter_map(|key| self.get(&key).map(|vector| (key, vector))).collect();
            self.put(&records)?;
            self.remove(&name);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
