//! What every store refuses before it does anything.

use katena_core::{Error, Record, Result, VectorQuery};

/// Ids, numbers and lengths of the records of one request; returns their dimensions, `None` without records.
pub(crate) fn records(records: &[Record]) -> Result<Option<usize>> {
    let mut dimensions = None;
    for record in records {
        let id = &record.document.id;
        if id.is_empty() {
            return Err(Error::invalid_input("a record has an empty id"));
        }
        vector(&record.vector).map_err(|e| e.with_context("id", id.clone()))?;
        match dimensions {
            None => dimensions = Some(record.vector.len()),
            Some(d) => same_length(d, record.vector.len()).map_err(|e| e.with_context("id", id.clone()))?,
        }
    }
    Ok(dimensions)
}

fn vector(vector: &[f32]) -> Result<()> {
    if vector.is_empty() {
        return Err(Error::invalid_input("a vector has no dimensions"));
    }
    if vector.iter().any(|x| !x.is_finite()) {
        return Err(Error::invalid_input("a vector holds NaN or an infinity"));
    }
    Ok(())
}

pub(crate) fn same_length(wanted: usize, got: usize) -> Result<()> {
    if wanted == got {
        return Ok(());
    }
    Err(Error::invalid_input(format!("a vector has {got} dimensions, the namespace has {wanted}")))
}

/// What a query asks for.
pub(crate) enum Wanted<'q> {
    Nearest(&'q [f32]),
    Words(&'q str),
}

pub(crate) fn query(query: &VectorQuery) -> Result<Wanted<'_>> {
    query.context.check()?;
    match (&query.vector, &query.text) {
        (None, None) => Err(Error::invalid_input("a query needs a vector or a text")),
        (Some(_), Some(_)) => Err(Error::unsupported(
            "one search by vector and text together; search twice and fuse the results",
        )),
        (Some(v), None) => {
            vector(v)?;
            Ok(Wanted::Nearest(v))
        }
        (None, Some(text)) => Ok(Wanted::Words(text)),
    }
}
