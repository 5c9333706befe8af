//! What tests need around a component: numbers, folders, servers, names that nobody else uses.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator of repeatable numbers (SplitMix64); the same seed gives the same numbers everywhere.
///
/// ```
/// use katena_testkit::fixtures::Numbers;
/// assert_eq!(Numbers::new(7).vector(3), Numbers::new(7).vector(3));
/// ```
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, over the whole range.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number from −1 to 1.
    pub fn next_f32(&mut self) -> f32 {
        let unit = (self.next_u64() >> 40) as f32 / (1_u32 << 24) as f32;
        unit * 2.0 - 1.0
    }

    /// A vector of numbers from −1 to 1.
    pub fn vector(&mut self, dimensions: usize) -> Vec<f32> {
        (0..dimensions).map(|_| self.next_f32()).collect()
    }
}

/// A name that no other test, process or run uses: lower-case letters, digits and `_`, good for tables and collections.
pub fn unique_name(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    format!("{prefix}_{}_{nanos:x}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A folder of its own that is removed when this is dropped.
///
/// ```
/// let folder = katena_testkit::fixtures::temp_dir();
/// std::fs::write(folder.path().join("a.txt"), "hello").unwrap();
/// ```
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A folder that can't be removed (a file still open) is the temporary folder's problem, not the test's.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes an empty temporary folder.
///
/// # Panics
/// If it can't be made.
pub fn temp_dir() -> TempDir {
    let path = std::env::temp_dir().join(unique_name("katena"));
    std::fs::create_dir_all(&path)
        .unwrap_or_else(|error| panic!("the temporary folder {} can't be made: {error}", path.display()));
    TempDir(path)
}

/// The folder of evaluation data: `KATENA_EVALS`, or `shared/evals` beside the repository. Without it a line
/// `skipped: no evals folder` is printed and the test should return.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn evals_dir() -> Option<PathBuf> {
    let found = match std::env::var_os("KATENA_EVALS") {
        Some(path) => Some(PathBuf::from(path)).filter(|p| p.is_dir()),
        None => {
            let start = std::env::var_os("CARGO_MANIFEST_DIR")
                .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
            start.ancestors().map(|a| a.join("shared/evals")).find(|p| p.is_dir())
        }
    };
    if found.is_none() {
        eprintln!("skipped: no evals folder");
    }
    found
}

/// The URL of a test server, from the environment variable `variable`. Without it a skip line is printed and the test
/// should return; makers of contract suites pass the `None` on.
///
/// # Panics
/// If the variable is missing and `KATENA_REQUIRE_SERVERS` is 1.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn server_url(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let required = std::env::var("KATENA_REQUIRE_SERVERS").is_ok_and(|v| v == "1");
        assert!(!required, "no server: {variable} is not set, and KATENA_REQUIRE_SERVERS=1 asks for it");
        eprintln!("skipped: no server, {variable} is not set");
    }
    url
}
