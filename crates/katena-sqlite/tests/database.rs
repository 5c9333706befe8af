//! What the shared file promises.

use std::time::Duration;

use katena_core::{Error, ErrorKind};
use katena_sqlite::{Database, DbResult, Schema};

const ITEMS: Schema = Schema::new("items", &["CREATE TABLE items (n INTEGER NOT NULL)"]);
const NEWER: Schema = Schema::new(
    "items",
    &["CREATE TABLE items (n INTEGER NOT NULL)", "ALTER TABLE items ADD COLUMN note TEXT"],
);

fn count(db: &katena_sqlite::rusqlite::Connection) -> DbResult<i64> {
    Ok(db.query_row("SELECT count(*) FROM items", [], |r| r.get(0))?)
}

#[tokio::test]
async fn a_failed_write_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.katena")).unwrap();
    db.migrate(&ITEMS).unwrap();
    let failed: Result<(), Error> = db
        .write(|tx| {
            tx.execute("INSERT INTO items VALUES (1)", [])?;
            Err(Error::invalid_input("no").into())
        })
        .await;
    assert_eq!(failed.unwrap_err().message(), "no");
    assert_eq!(db.read(count).await.unwrap(), 0);
    let sql = db.write(|tx| Ok(tx.execute("INSERT INTO nothing VALUES (1)", [])?)).await.unwrap_err();
    assert!(sql.context("file").unwrap().ends_with("a.katena"));
}

#[tokio::test]
async fn an_older_schema_is_migrated_and_a_newer_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.katena");
    let db = Database::open(&path).unwrap();
    db.migrate(&ITEMS).unwrap();
    db.write(|tx| Ok(tx.execute("INSERT INTO items VALUES (7)", [])?)).await.unwrap();
    db.migrate(&NEWER).unwrap();
    drop(db);
    let db = Database::open(&path).unwrap();
    let note: Option<String> =
        db.read(|c| Ok(c.query_row("SELECT note FROM items WHERE n = 7", [], |r| r.get(0))?)).await.unwrap();
    assert_eq!(note, None);
    let error = db.migrate(&ITEMS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("newer"), "{error}");
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "just text, no database at all").unwrap();
    let foreign = dir.path().join("foreign.db");
    rusqlite(&foreign).execute_batch("CREATE TABLE t (x)").unwrap();
    for path in [&text, &foreign] {
        let before = std::fs::read(path).unwrap();
        let error = Database::open(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("no Katena database"), "{error}");
        assert_eq!(std::fs::read(path).unwrap(), before);
    }
    let nowhere = Database::open(dir.path().join("missing/a.katena")).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
}

fn rusqlite(path: &std::path::Path) -> katena_sqlite::rusqlite::Connection {
    katena_sqlite::rusqlite::Connection::open(path).expect("opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_that_write_at_once_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.katena");
    let writers = (0..4).map(|_| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            let db = Database::open(path).unwrap();
            db.migrate(&ITEMS).unwrap();
            for n in 0..25 {
                db.write_blocking(|tx| Ok(tx.execute("INSERT INTO items VALUES (?1)", [n])?)).unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(Database::open(&path).unwrap().read(count).await.unwrap(), 100);
}

#[tokio::test]
async fn a_writer_that_waits_too_long_is_told_so_and_readers_are_not_blocked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.katena");
    let db = Database::open_with_timeout(&path, Duration::from_millis(20)).unwrap();
    db.migrate(&ITEMS).unwrap();
    let other = rusqlite(&path);
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO items VALUES (1)").unwrap();
    let error = db.write(|tx| Ok(tx.execute("INSERT INTO items VALUES (2)", [])?)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_temporary());
    assert_eq!(db.read(count).await.unwrap(), 0);
    other.execute_batch("COMMIT").unwrap();
    db.write(|tx| Ok(tx.execute("INSERT INTO items VALUES (2)", [])?)).await.unwrap();
    assert_eq!(db.read(count).await.unwrap(), 2);
}

#[test]
fn without_a_runtime_it_is_an_error() {
    use std::future::Future;
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.katena")).unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let read = std::pin::pin!(db.read(|_| Ok(())));
    let std::task::Poll::Ready(result) = read.poll(&mut context) else { panic!("must not wait") };
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_panic_in_the_work_is_an_error_and_the_database_lives_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.katena")).unwrap();
    db.migrate(&ITEMS).unwrap();
    let result: Result<(), Error> = db
        .write(|tx| {
            tx.execute("INSERT INTO items VALUES (1)", [])?;
            panic!("defect in the caller's closure")
        })
        .await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Unexpected);
    assert_eq!(db.read(count).await.unwrap(), 0);
    db.check().await.unwrap();
}

#[tokio::test]
async fn damage_is_named_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.katena");
    let db = Database::open(&path).unwrap();
    db.migrate(&ITEMS).unwrap();
    db.write(|tx| {
        for n in 0..5000 {
            tx.execute("INSERT INTO items VALUES (?1)", [n])?;
        }
        Ok(())
    })
    .await
    .unwrap();
    drop(db);
    let mut bytes = std::fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[len - 8192..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let db = Database::open(&path).unwrap();
    let error = db.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("a.katena"), "{error}");
}
