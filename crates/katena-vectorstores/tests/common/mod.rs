//! What the tests with servers share.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::print_stderr, reason = "says why tests are skipped")]

use std::sync::atomic::{AtomicU32, Ordering};

/// The URL in `variable`; without it the tests are skipped, or fail if servers are required.
pub(crate) fn url(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok();
    if url.is_none() {
        let required = std::env::var("KATENA_REQUIRE_SERVERS").is_ok_and(|v| v == "1");
        assert!(!required, "{variable} is not set, and KATENA_REQUIRE_SERVERS=1");
        eprintln!("skipped: {variable} is not set");
    }
    url
}

/// A name that no other test uses, in this run or another.
pub(crate) fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    format!("t{:x}_{:x}_{}", now, std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
