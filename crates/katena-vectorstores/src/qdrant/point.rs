//! A record as a point, and back.

use std::collections::{BTreeMap, HashMap};

use katena_core::{Document, Error, Metric, Record, Result};
use qdrant_client::Payload;
use qdrant_client::qdrant::{
    NamedVectors, PayloadIncludeSelector, PointId, PointStruct, RetrievedPoint, Value, Vector, vector_output,
};
use serde_json::json;

use super::facts::{self, FACTS, NUMBERS};
use crate::words;

pub(super) const DENSE: &str = "dense";
pub(super) const WORDS: &str = "words";
const DOCUMENT: &str = "document";
/// Length of the vector: the server keeps vectors for cosine at length 1.
const LENGTH: &str = "length";

const K1: f32 = 1.2;
const B: f32 = 0.75;
/// Words per text that counts as average. The server counts how rare words are, but knows no lengths.
const AVERAGE: f32 = 150.0;

/// Qdrant takes only numbers and UUIDs: one made from the id (version 8: contents of our own).
pub(super) fn point_id(id: &str) -> PointId {
    let hash = blake3::hash(id.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let uuid = [&hex[..4], &hex[4..6], &hex[6..8], &hex[8..10], &hex[10..]].map(<[String]>::concat).join("-");
    PointId::from(uuid)
}

pub(super) fn point(record: &Record) -> Result<PointStruct> {
    let document = serde_json::to_string(&record.document)
        .map_err(|e| Error::unexpected("a document is no JSON").with_source(e))?;
    let length = record.vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let payload = Payload::try_from(json!({
        DOCUMENT: document,
        LENGTH: length,
        FACTS: facts::facts(&record.document.metadata),
        NUMBERS: facts::numbers(&record.document.metadata),
    }))
    .map_err(super::error::error)?;
    let mut vectors = HashMap::from([(DENSE.to_owned(), Vector::from(record.vector.clone()))]);
    let weights = weights(&record.document.text);
    if !weights.is_empty() {
        vectors.insert(WORDS.to_owned(), Vector::from(weights));
    }
    Ok(PointStruct::new(point_id(&record.document.id), NamedVectors { vectors }, payload))
}

/// Asks for the document alone.
pub(super) fn only_document() -> PayloadIncludeSelector {
    PayloadIncludeSelector { fields: vec![DOCUMENT.to_owned()] }
}

pub(super) fn document(payload: &HashMap<String, Value>) -> Result<Document> {
    let unreadable = || Error::invalid_output("a point holds no document of Katena's").with_vendor("qdrant");
    let json = payload.get(DOCUMENT).and_then(|v| v.as_str()).ok_or_else(unreadable)?;
    serde_json::from_str(json).map_err(|e| unreadable().with_source(e))
}

pub(super) fn record(point: &RetrievedPoint, metric: Metric) -> Result<Record> {
    let vector = point.vectors.as_ref().and_then(|v| v.get_vector_by_name(DENSE));
    let Some(vector_output::Vector::Dense(dense)) = vector else {
        return Err(Error::invalid_output("a point holds no vector of Katena's").with_vendor("qdrant"));
    };
    let mut values = dense.data;
    if metric == Metric::Cosine
        && let Some(length) = point.payload.get(LENGTH).and_then(|v| v.as_double())
    {
        let kept = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        if kept > 0.0 {
            for x in &mut values {
                *x = (f64::from(*x) * length / kept) as f32;
            }
        }
    }
    Ok(Record::new(document(&point.payload)?, values))
}

/// The text's part of BM25, by the words' numbers; the server multiplies with their rarity.
fn weights(text: &str) -> Vec<(u32, f32)> {
    let mut counts: BTreeMap<u32, f32> = BTreeMap::new();
    let mut length = 0.0;
    for term in words::terms(text) {
        *counts.entry(number(&term)).or_default() += 1.0;
        length += 1.0;
    }
    let weight = |count: f32| count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / AVERAGE));
    counts.into_iter().map(|(number, count)| (number, weight(count))).collect()
}

/// The query's words, each once.
pub(super) fn query(text: &str) -> Vec<(u32, f32)> {
    let numbers = words::distinct(words::terms(text)).into_iter().map(|term| (number(&term), 1.0));
    numbers.collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn number(term: &str) -> u32 {
    let hash = blake3::hash(term.as_bytes());
    let b = hash.as_bytes();
    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
}
