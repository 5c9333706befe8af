//! One file: a writer, a few readers.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use katena_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

use crate::error::{DbError, DbResult, sql};
use crate::schema::Schema;

/// "Katn": tells our files from other SQLite files.
const APPLICATION_ID: i64 = 0x4b61_746e;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const READERS: usize = 4;
const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// A Katena database file. Clones share it.
///
/// One connection writes, up to four read at the same time and are not blocked by the writer. Once
/// [`write`](Database::write) has returned, the data is on the disk (write-ahead log, synced at each commit); a killed
/// process loses at most the transaction under way. Other processes may have the same file open: their writers wait for
/// each other, up to a minute or [`open_with_timeout`](Database::open_with_timeout)'s time.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    path: PathBuf,
    busy_timeout: Duration,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    write_permit: Arc<Semaphore>,
    read_permits: Arc<Semaphore>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.0.path).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    /// Opens the file, or creates it; its folder must exist.
    ///
    /// # Errors
    /// `InvalidInput` if the file is something else or damaged, `NotFound` without the folder, `PermissionDenied`,
    /// `Unavailable` if another process holds it too long.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with_timeout(path, DEFAULT_BUSY_TIMEOUT)
    }

    /// As [`open`](Database::open); a writer waits at most `busy_timeout` for another process's writer.
    ///
    /// # Errors
    /// As [`open`](Database::open).
    pub fn open_with_timeout(path: impl AsRef<Path>, busy_timeout: Duration) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        refuse_foreign_file(&path)?;
        let mut writer = connect(&path, busy_timeout, OpenFlags::SQLITE_OPEN_CREATE)?;
        prepare(&mut writer, &path, busy_timeout).map_err(|e| e.into_error(&path))?;
        Ok(Self(Arc::new(Inner {
            path,
            busy_timeout,
            writer: Mutex::new(writer),
            readers: Mutex::new(Vec::new()),
            write_permit: Arc::new(Semaphore::new(1)),
            read_permits: Arc::new(Semaphore::new(READERS)),
        })))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Brings a component's tables up to date; blocks for a moment the first time.
    ///
    /// # Errors
    /// `Unsupported` if a newer Katena wrote them.
    pub fn migrate(&self, schema: &Schema) -> Result<()> {
        let path = &self.0.path;
        // Looking first needs no write lock: opening does not wait for an ingestion of another process.
        if self.read_blocking(|db| schema.is_current(db, path))? {
            return Ok(());
        }
        self.write_blocking(|tx| schema.apply(tx, path))
    }

    /// Runs `work` in a write transaction on a blocking thread; commits if it returns `Ok`, else nothing is changed.
    /// Once this returns, the data survives a crash. A dropped future does not stop work that has begun.
    ///
    /// # Errors
    /// Those of `work`; `Unavailable` if another process writes for too long; `Config` without a tokio runtime.
    pub async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> DbResult<T> + Send + 'static,
    {
        self.run(&self.0.write_permit, move |this| this.write_blocking(work)).await
    }

    /// Runs `work` on one snapshot of the data, on a blocking thread. What it changes is not kept.
    ///
    /// # Errors
    /// Those of `work`; `Config` without a tokio runtime.
    pub async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> DbResult<T> + Send + 'static,
    {
        self.run(&self.0.read_permits, move |this| this.read_blocking(work)).await
    }

    /// [`write`](Database::write) on this thread.
    ///
    /// # Errors
    /// As [`write`](Database::write).
    pub fn write_blocking<T>(&self, work: impl FnOnce(&Transaction<'_>) -> DbResult<T>) -> Result<T> {
        let mut writer = lock(&self.0.writer);
        transact(&mut writer, TransactionBehavior::Immediate, |tx| {
            let out = work(&tx)?;
            tx.commit()?;
            Ok(out)
        })
        .map_err(|e| e.into_error(&self.0.path))
    }

    /// [`read`](Database::read) on this thread.
    ///
    /// # Errors
    /// As [`read`](Database::read).
    pub fn read_blocking<T>(&self, work: impl FnOnce(&Connection) -> DbResult<T>) -> Result<T> {
        let idle = lock(&self.0.readers).pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => connect(&self.0.path, self.0.busy_timeout, OpenFlags::empty())?,
        };
        let result = transact(&mut reader, TransactionBehavior::Deferred, |tx| work(&tx));
        let mut readers = lock(&self.0.readers);
        if readers.len() < READERS {
            readers.push(reader);
        }
        drop(readers);
        result.map_err(|e| e.into_error(&self.0.path))
    }

    /// Reads the whole file and compares it with itself: pages, rows, indexes. Takes as long as reading the file.
    ///
    /// # Errors
    /// `InvalidInput` with the first faults found.
    pub async fn check(&self) -> Result<()> {
        let path = self.0.path.clone();
        self.read(move |db| {
            let mut statement = db.prepare("PRAGMA integrity_check(5)")?;
            let faults =
                statement.query_map([], |r| r.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            if faults == ["ok"] {
                return Ok(());
            }
            let error = Error::invalid_input(format!("the database file is damaged: {}", faults.join("; ")));
            Err(error.with_context("file", path.display().to_string()).into())
        })
        .await
    }

    async fn run<T, F>(&self, permits: &Arc<Semaphore>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Self) -> Result<T> + Send + 'static,
    {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|e| Error::config("the database needs a tokio runtime").with_source(e))?;
        let permit = permits.clone().acquire_owned().await.map_err(|e| Error::unexpected(e.to_string()))?;
        let this = self.clone();
        let task = runtime.spawn_blocking(move || {
            let _permit = permit;
            work(this)
        });
        task.await.map_err(|e| Error::unexpected("work on the database panicked").with_source(e))?
    }
}

fn transact<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    work: impl FnOnce(Transaction<'_>) -> DbResult<T>,
) -> DbResult<T> {
    work(connection.transaction_with_behavior(behavior)?)
}

fn refuse_foreign_file(path: &Path) -> Result<()> {
    let fail = |e: std::io::Error| Error::from(e).with_context("file", path.display().to_string());
    let mut head = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(MAGIC.len() as u64).read_to_end(&mut head).map_err(fail)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            return match folder {
                Some(folder) if !folder.is_dir() => {
                    let message = "the folder of the database file does not exist";
                    let error = Error::new(ErrorKind::NotFound, message);
                    Err(error.with_context("file", path.display().to_string()))
                }
                _ => Ok(()),
            };
        }
        Err(e) => return Err(fail(e)),
    };
    if head.is_empty() || head == MAGIC { Ok(()) } else { Err(not_ours(path)) }
}

fn not_ours(path: &Path) -> Error {
    Error::invalid_input("the file is no Katena database").with_context("file", path.display().to_string())
}

fn connect(path: &Path, busy_timeout: Duration, create: OpenFlags) -> Result<Connection> {
    let fail = |e| sql(e, path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.busy_timeout(busy_timeout).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(64);
    // FULL: a commit is on the disk when it returns, also after a power cut.
    let settings = "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON; PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY;";
    connection.execute_batch(settings).map_err(fail)?;
    Ok(connection)
}

/// Checks that the file is ours and makes it so if it is new.
fn prepare(connection: &mut Connection, path: &Path, busy_timeout: Duration) -> DbResult<()> {
    let is_ours = |c: &Connection| -> DbResult<bool> {
        let id: i64 = c.query_row("PRAGMA application_id", [], |r| r.get(0))?;
        if id == APPLICATION_ID {
            return Ok(true);
        }
        let tables: i64 = c.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
        if id != 0 || tables != 0 { Err(not_ours(path).into()) } else { Ok(false) }
    };
    if !is_ours(connection)? {
        transact(connection, TransactionBehavior::Immediate, |tx| {
            // Another process may have been faster.
            if !is_ours(&tx)? {
                tx.execute_batch(&format!(
                    "PRAGMA application_id = {APPLICATION_ID};
                     CREATE TABLE katena_components (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;"
                ))?;
            }
            tx.commit()?;
            Ok(())
        })?;
    }
    // Switching to the log needs the file alone, and SQLite does not wait for that by itself.
    let until = Instant::now() + busy_timeout;
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |r| r.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                let message = format!("the file system allows no write-ahead log (journal mode {mode})");
                let error = Error::new(ErrorKind::Unsupported, message);
                return Err(error.with_context("file", path.display().to_string()).into());
            }
            Err(e)
                if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && Instant::now() < until =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(e) => return Err(DbError::Sql(e)),
        }
    }
}
