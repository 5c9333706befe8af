//! The tables, and a record as their rows.

use katena_core::{Document, Error, Metadata, Record};
use katena_sqlite::rusqlite::types::ValueRef;
use katena_sqlite::rusqlite::{Connection, OptionalExtension, Transaction};
use katena_sqlite::{DbResult, Schema};

use crate::check;

/// A key is never used twice and its rows never change: a replaced record gets a new key. So a reader that has the
/// vectors up to some key needs only the greater ones, and, if `removals` has grown, the list of keys.
/// Vectors are apart from texts so that reading one does not read the other.
pub(super) const SCHEMA: Schema = Schema::new(
    "vectors",
    &["CREATE TABLE vector_namespaces (
           id INTEGER PRIMARY KEY,
           name TEXT NOT NULL UNIQUE,
           dimensions INTEGER NOT NULL,
           removals INTEGER NOT NULL DEFAULT 0
       );
       CREATE TABLE vector_records (
           key INTEGER PRIMARY KEY AUTOINCREMENT,
           namespace INTEGER NOT NULL,
           id TEXT NOT NULL,
           metadata TEXT NOT NULL,
           source TEXT NOT NULL,
           anchors TEXT NOT NULL,
           text TEXT NOT NULL,
           checksum INTEGER NOT NULL,
           UNIQUE (namespace, id)
       );
       CREATE INDEX vector_records_by_namespace ON vector_records (namespace);
       CREATE TABLE vector_values (
           key INTEGER PRIMARY KEY,
           checksum INTEGER NOT NULL,
           vector BLOB NOT NULL
       );
       CREATE VIRTUAL TABLE vector_words USING fts5 (
           text, content = '', contentless_delete = 1, tokenize = 'porter unicode61 remove_diacritics 2'
       );"],
);

pub(super) fn damaged(what: &str) -> Error {
    Error::invalid_input(format!("the database file is damaged: {what}"))
}

/// One namespace as it is in the transaction at hand.
pub(super) struct Namespace {
    pub(super) id: i64,
    pub(super) dimensions: usize,
    pub(super) removals: i64,
}

impl Namespace {
    pub(super) fn find(db: &Connection, name: &str) -> DbResult<Option<Self>> {
        let mut statement =
            db.prepare_cached("SELECT id, dimensions, removals FROM vector_namespaces WHERE name = ?1")?;
        let namespace = statement
            .query_row([name], |r| Ok(Self { id: r.get(0)?, dimensions: r.get(1)?, removals: r.get(2)? }))
            .optional()?;
        Ok(namespace)
    }

    /// The namespace for vectors of that length; one without records takes any.
    pub(super) fn for_writing(tx: &Transaction<'_>, name: &str, dimensions: usize) -> DbResult<Self> {
        if let Some(found) = Self::find(tx, name)? {
            if found.dimensions == dimensions {
                return Ok(found);
            }
            if found.count(tx)? > 0 {
                check::same_length(found.dimensions, dimensions)?;
            }
        }
        tx.execute(
            "INSERT INTO vector_namespaces (name, dimensions) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET dimensions = excluded.dimensions, removals = removals + 1",
            (name, dimensions),
        )?;
        Self::find(tx, name)?.ok_or_else(|| damaged("a namespace is missing").into())
    }

    pub(super) fn count(&self, db: &Connection) -> DbResult<u64> {
        let mut statement = db.prepare_cached("SELECT count(*) FROM vector_records WHERE namespace = ?1")?;
        Ok(statement.query_row([self.id], |r| r.get(0))?)
    }

    pub(super) fn key_of(&self, db: &Connection, id: &str) -> DbResult<Option<i64>> {
        let mut statement =
            db.prepare_cached("SELECT key FROM vector_records WHERE namespace = ?1 AND id = ?2")?;
        Ok(statement.query_row((self.id, id), |r| r.get(0)).optional()?)
    }

    pub(super) fn replace(&self, tx: &Transaction<'_>, record: &Record) -> DbResult<()> {
        let document = &record.document;
        if let Some(old) = self.key_of(tx, &document.id)? {
            self.remove(tx, old)?;
        }
        let json = |e: serde_json::Error| Error::unexpected("a record is no JSON").with_source(e);
        let metadata = serde_json::to_string(&document.metadata).map_err(json)?;
        let source = serde_json::to_string(&document.source).map_err(json)?;
        let anchors = serde_json::to_string(&document.anchors).map_err(json)?;
        let checksum =
            checksum([&document.id, &metadata, &source, &anchors, &document.text].map(|s| s.as_bytes()));
        tx.prepare_cached(
            "INSERT INTO vector_records (namespace, id, metadata, source, anchors, text, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((self.id, &document.id, metadata, source, anchors, &document.text, checksum))?;
        let key = tx.last_insert_rowid();
        let bytes: Vec<u8> = record.vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        tx.prepare_cached("INSERT INTO vector_values (key, checksum, vector) VALUES (?1, ?2, ?3)")?
            .execute((key, vector_checksum(key, &bytes), &bytes))?;
        tx.prepare_cached("INSERT INTO vector_words (rowid, text) VALUES (?1, ?2)")?
            .execute((key, &document.text))?;
        Ok(())
    }

    pub(super) fn remove(&self, tx: &Transaction<'_>, key: i64) -> DbResult<()> {
        for sql in [
            "DELETE FROM vector_records WHERE key = ?1",
            "DELETE FROM vector_values WHERE key = ?1",
            "DELETE FROM vector_words WHERE rowid = ?1",
        ] {
            tx.prepare_cached(sql)?.execute([key])?;
        }
        self.note_removal(tx)
    }

    pub(super) fn clear(&self, tx: &Transaction<'_>) -> DbResult<u64> {
        let mine = "(SELECT key FROM vector_records WHERE namespace = ?1)";
        tx.execute(&format!("DELETE FROM vector_words WHERE rowid IN {mine}"), [self.id])?;
        tx.execute(&format!("DELETE FROM vector_values WHERE key IN {mine}"), [self.id])?;
        let removed = tx.execute("DELETE FROM vector_records WHERE namespace = ?1", [self.id])?;
        self.note_removal(tx)?;
        Ok(removed as u64)
    }

    fn note_removal(&self, tx: &Transaction<'_>) -> DbResult<()> {
        tx.prepare_cached("UPDATE vector_namespaces SET removals = removals + 1 WHERE id = ?1")?
            .execute([self.id])?;
        Ok(())
    }
}

/// The document of a key that is known to be there.
pub(super) fn document(db: &Connection, key: i64) -> DbResult<Document> {
    let mut statement = db.prepare_cached(
        "SELECT id, metadata, source, anchors, text, checksum FROM vector_records WHERE key = ?1",
    )?;
    let mut rows = statement.query([key])?;
    let Some(row) = rows.next()? else { return Err(damaged("a record is missing").into()) };
    let mut columns = [""; 5];
    for (n, column) in columns.iter_mut().enumerate() {
        *column = text(row.get_ref(n)?)?;
    }
    if checksum(columns.map(str::as_bytes)) != row.get::<_, i64>(5)? {
        return Err(damaged("a record has changed").into());
    }
    let [id, metadata, source, anchors, text] = columns;
    let json = |e: serde_json::Error| damaged("a record can't be read").with_source(e);
    let mut document = Document::new(text, serde_json::from_str(source).map_err(json)?).with_id(id);
    document.metadata = serde_json::from_str(metadata).map_err(json)?;
    document.anchors = serde_json::from_str(anchors).map_err(json)?;
    Ok(document)
}

/// The vector of a key that is known to be there.
pub(super) fn vector(db: &Connection, key: i64) -> DbResult<Vec<f32>> {
    let mut statement = db.prepare_cached("SELECT vector, checksum FROM vector_values WHERE key = ?1")?;
    let mut rows = statement.query([key])?;
    let Some(row) = rows.next()? else { return Err(damaged("a vector is missing").into()) };
    let mut vector = Vec::new();
    read_vector(key, row.get_ref(0)?, row.get(1)?, &mut vector)?;
    Ok(vector)
}

/// Reads a vector's bytes into `vector`.
pub(super) fn read_vector(
    key: i64,
    value: ValueRef<'_>,
    checksum: i64,
    vector: &mut Vec<f32>,
) -> DbResult<()> {
    let ValueRef::Blob(bytes) = value else { return Err(damaged("a vector has another type").into()) };
    if vector_checksum(key, bytes) != checksum {
        return Err(damaged("a vector has changed").into());
    }
    vector.clear();
    vector.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    Ok(())
}

pub(super) fn metadata(value: ValueRef<'_>) -> DbResult<Metadata> {
    let json = |e: serde_json::Error| damaged("metadata can't be read").with_source(e);
    Ok(serde_json::from_str(text(value)?).map_err(json)?)
}

fn text(value: ValueRef<'_>) -> DbResult<&str> {
    value.as_str().map_err(|e| damaged("a text can't be read").with_source(e).into())
}

fn checksum(parts: [&[u8]; 5]) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    i64::from(hasher.finalize())
}

/// The key is in it, so that a vector can't pass for another's.
fn vector_checksum(key: i64, bytes: &[u8]) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.to_le_bytes());
    hasher.update(bytes);
    i64::from(hasher.finalize())
}
