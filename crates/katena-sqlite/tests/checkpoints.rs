//! Checkpoints in the shared file against the contract suite.

use katena_sqlite::{Database, SqliteCheckpoints};

katena_testkit::checkpoint_store_contract!(sqlite, async {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().join("checkpoints.katena")).unwrap();
    (SqliteCheckpoints::new(database).unwrap(), folder)
});
