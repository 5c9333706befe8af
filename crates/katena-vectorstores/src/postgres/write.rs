//! Writing records and naming those to delete.

use std::collections::{BTreeMap, HashMap};

use katena_core::{Error, Record, Result, Selector};
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::filter::{self, Values};
use super::schema::Tables;
use super::text::{encode, facts};
use crate::check;
use crate::words;
use katena_postgres::{Pool, error};

/// Records per statement.
const BATCH: usize = 256;
/// An index entry may not be longer than about 2,700 bytes; no word is.
const MAX_TERM: usize = 255;

pub(super) async fn upsert(
    pool: &Pool,
    tables: &Tables,
    namespace: &str,
    dimensions: usize,
    records: Vec<Record>,
) -> Result<()> {
    // The last of equal ids wins; in order of ids, so that parallel writers can't wait for each other in a circle.
    let records: BTreeMap<String, Record> =
        records.into_iter().map(|r| (encode(&r.document.id).into_owned(), r)).collect();
    let records: Vec<(String, Record)> = records.into_iter().collect();
    let mut client = pool.get().await?;
    let namespace = encode(namespace).into_owned();
    let tx = client.transaction().await.map_err(|e| error(&e))?;
    claim(&tx, tables, &namespace, dimensions).await?;
    for batch in records.chunks(BATCH) {
        insert(&tx, tables, &namespace, batch).await?;
    }
    tx.commit().await.map_err(|e| error(&e))
}

/// Makes sure that the namespace has these dimensions until the transaction ends.
async fn claim(tx: &Transaction<'_>, tables: &Tables, namespace: &String, dimensions: usize) -> Result<()> {
    let table = &tables.namespaces;
    let too_long = |_| Error::invalid_input("a vector has too many dimensions");
    let wanted = i32::try_from(dimensions).map_err(too_long)?;
    let name = (namespace as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT);
    let insert = format!("INSERT INTO {table} VALUES ($1, $2) ON CONFLICT (name) DO NOTHING");
    tx.execute_typed(&insert, &[name.clone(), (&wanted, Type::INT4)]).await.map_err(|e| error(&e))?;
    // A shared lock: writers of the same length go on together.
    let share = format!("SELECT 1 FROM {table} WHERE name = $1 AND dimensions = $2 FOR SHARE");
    let rows = tx.query_typed(&share, &[name.clone(), (&wanted, Type::INT4)]).await.map_err(|e| error(&e))?;
    if !rows.is_empty() {
        return Ok(());
    }
    // Another length: only an empty namespace takes it.
    let alone = format!("SELECT dimensions FROM {table} WHERE name = $1 FOR UPDATE");
    let rows = tx.query_typed(&alone, std::slice::from_ref(&name)).await.map_err(|e| error(&e))?;
    let has = rows.first().map_or(wanted, |r| r.get::<_, i32>(0));
    let full = format!("SELECT 1 FROM {} WHERE namespace = $1 LIMIT 1", tables.records);
    if !tx.query_typed(&full, std::slice::from_ref(&name)).await.map_err(|e| error(&e))?.is_empty() {
        check::same_length(usize::try_from(has).unwrap_or_default(), dimensions)?;
    }
    let change = format!("UPDATE {table} SET dimensions = $2 WHERE name = $1");
    tx.execute_typed(&change, &[name, (&wanted, Type::INT4)]).await.map_err(|e| error(&e))?;
    Ok(())
}

#[derive(Default)]
struct Columns {
    ids: Vec<String>,
    documents: Vec<String>,
    facts: Vec<String>,
    sizes: Vec<i32>,
    terms: Vec<String>,
    counts: Vec<String>,
    vectors: Vec<String>,
}

async fn insert(
    tx: &Transaction<'_>,
    tables: &Tables,
    namespace: &String,
    batch: &[(String, Record)],
) -> Result<()> {
    let mut columns = Columns::default();
    for (id, record) in batch {
        let json = serde_json::to_string(&record.document)
            .map_err(|e| Error::unexpected("a document is no JSON").with_source(e))?;
        let (size, terms, counts) = count_terms(&record.document.text);
        columns.ids.push(id.clone());
        columns.documents.push(json);
        columns.facts.push(facts(&record.document.metadata));
        columns.sizes.push(size);
        columns.terms.push(terms);
        columns.counts.push(counts);
        columns.vectors.push(format!("[{}]", join(record.vector.iter())));
    }
    let sql = format!(
        "INSERT INTO {} (namespace, id, document, facts, size, terms, counts, vector)
         SELECT $1, u.id, u.document, u.facts::jsonb, u.size, u.terms::text[], u.counts::int[], u.vector::vector
         FROM unnest($2, $3, $4, $5, $6, $7, $8)
              AS u (id, document, facts, size, terms, counts, vector)
         ON CONFLICT (namespace, id) DO UPDATE SET
             document = excluded.document, facts = excluded.facts, size = excluded.size,
             terms = excluded.terms, counts = excluded.counts, vector = excluded.vector",
        tables.records
    );
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 8] = [
        (namespace, Type::TEXT),
        (&columns.ids, Type::TEXT_ARRAY),
        (&columns.documents, Type::TEXT_ARRAY),
        (&columns.facts, Type::TEXT_ARRAY),
        (&columns.sizes, Type::INT4_ARRAY),
        (&columns.terms, Type::TEXT_ARRAY),
        (&columns.counts, Type::TEXT_ARRAY),
        (&columns.vectors, Type::TEXT_ARRAY),
    ];
    tx.execute_typed(&sql, &values).await.map_err(|e| error(&e))?;
    Ok(())
}

/// The number of words, the different ones and how often each stands, as array literals. Words hold only letters,
/// digits and marks, so that quotes around them are enough.
fn count_terms(text: &str) -> (i32, String, String) {
    let mut counts: HashMap<String, i32> = HashMap::new();
    let mut size = 0;
    for term in terms(text) {
        *counts.entry(term).or_default() += 1;
        size += 1;
    }
    let (terms, counts): (Vec<String>, Vec<i32>) =
        counts.into_iter().map(|(term, count)| (format!("\"{term}\""), count)).unzip();
    (size, format!("{{{}}}", terms.join(",")), format!("{{{}}}", join(counts.iter())))
}

/// The words as they are indexed.
pub(super) fn terms(text: &str) -> impl Iterator<Item = String> {
    words::terms(text).map(|mut term| {
        let end = (0..=MAX_TERM.min(term.len())).rev().find(|at| term.is_char_boundary(*at));
        term.truncate(end.unwrap_or(0));
        term
    })
}

fn join<T: ToString>(numbers: impl Iterator<Item = T>) -> String {
    numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(",")
}

/// The condition on the records that a selector names.
pub(super) fn selected(selector: &Selector, namespace: &str, values: &mut Values) -> Result<String> {
    let within = format!("namespace = {}", values.bind(encode(namespace)));
    Ok(match selector {
        Selector::All => within,
        Selector::Filter(filter) => format!("{within} AND {}", filter::condition(filter, values)?),
        Selector::Ids(ids) => {
            // One bound value for any number of ids.
            let ids: Vec<_> = ids.iter().map(|id| encode(id)).collect();
            let list = values.bind(serde_json::Value::from(ids).to_string());
            format!("{within} AND id IN (SELECT jsonb_array_elements_text({list}::text::jsonb))")
        }
        _ => return Err(Error::unsupported("this way to select records")),
    })
}
