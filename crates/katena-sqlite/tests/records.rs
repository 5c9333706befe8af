//! Records in the shared file against the contract suite.

use katena_sqlite::{Database, SqliteRecords};

katena_testkit::record_store_contract!(sqlite, async {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().join("records.katena")).unwrap();
    (SqliteRecords::new(database).unwrap(), folder)
});
