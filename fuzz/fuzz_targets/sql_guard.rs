//! Any text: what the guard lets through is one SELECT over listed tables, and goes through again unchanged.
#![no_main]

use katena_chains::sql::{SqlDialect, SqlGuard};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for dialect in [SqlDialect::Sqlite, SqlDialect::Postgres] {
        let guard = SqlGuard::new(dialect, ["orders", "customers"]).with_hidden_column("password");
        let Ok(sql) = guard.check(text) else { continue };
        assert!(sql.tables().all(|t| ["orders", "customers"].contains(&t.name.as_str())), "{sql}");
        assert_eq!(guard.check(sql.as_str()).expect("it goes through again").as_str(), sql.as_str());
    }
});
