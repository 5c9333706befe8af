//! Recorded traffic of embeddings and rerankers, replayed through the decoders in process.

#![cfg(all(
    feature = "gemini",
    feature = "cohere",
    feature = "bedrock",
    feature = "ollama",
    feature = "vertex"
))]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use katena_core::{EmbedResponse, Error, Result};
use katena_embeddings::{bedrock, cohere, decode_indexed, decode_rerank, google, ollama};
use katena_http::ErrorDetails;
use serde_json::Value;

fn lines(path: &Path) -> Vec<Value> {
    let text = BufReader::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()));
    text.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

enum Got {
    Embeddings(EmbedResponse),
    Ranking(Vec<(usize, f64)>),
}

fn decode(row: &Value) -> Result<Got> {
    let status = row["status"].as_u64().or_else(|| row["status"].as_str()?.parse().ok()).unwrap();
    let body: Value = serde_json::from_str(row["body"].as_str().unwrap())
        .map_err(|e| Error::invalid_output("no JSON").with_source(e))?;
    if !(200..300).contains(&status) {
        let details = ErrorDetails::from_value(&body).unwrap_or_default();
        return Err(details.into_error(u16::try_from(status).ok()));
    }
    let path = row["path"].as_str().unwrap();
    let embeddings = match row["api"].as_str().unwrap() {
        "rerank" => {
            let ranked = decode_rerank(body)?;
            return Ok(Got::Ranking(ranked.into_iter().map(|r| (r.item, f64::from(r.score))).collect()));
        }
        "gemini.embed" => google::decode_response(body),
        _ if path.ends_with(":predict") => google::decode_response(body),
        "ollama.embed" => ollama::decode_response(body),
        "invoke" => bedrock::decode_response(body),
        "cohere.embed" => cohere::decode_response(body),
        _ if path.ends_with("/embed") => cohere::decode_response(body),
        _ => decode_indexed(body),
    };
    embeddings.map(Got::Embeddings)
}

/// What is wrong, by the same measure as the shared checker, and the numbers themselves beyond it.
fn faults(want: &Value, got: &Result<Got>) -> Option<String> {
    if want["kind"] == "error" {
        let Err(error) = got else { return Some("no error".into()) };
        let message: String = want["error"]["message"].as_str().unwrap_or("").chars().take(60).collect();
        let status = want["error"]["status"].as_u64();
        let right = status == Some(200) || status == error.status().map(u64::from);
        return (!right || !error.message().contains(&message)).then(|| format!("{error}"));
    }
    match got {
        Err(error) => Some(format!("spurious error {error:?}")),
        Ok(Got::Ranking(ranked)) => {
            let pair = |r: &Value| (r[0].as_u64().unwrap() as usize, r[1].as_f64().unwrap());
            let wanted: Vec<(usize, f64)> =
                want["rerank"].as_array().into_iter().flatten().map(pair).collect();
            let near = ranked.len() == wanted.len()
                && ranked.iter().zip(&wanted).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-6);
            (!near).then(|| format!("ranking {ranked:?}"))
        }
        Ok(Got::Embeddings(response)) => {
            let shape = &want["embeddings"];
            let n = response.vectors.len() as u64;
            let dim = response.vectors.first().map_or(0, Vec::len) as u64;
            let head = shape["head"].as_array().into_iter().flatten().map(|x| x.as_f64().unwrap());
            let near = head
                .zip(response.vectors.first().into_iter().flatten())
                .all(|(a, b)| (a - f64::from(*b)).abs() < 1e-7);
            let right = shape["n"].as_u64() == Some(n) && shape["dim"].as_u64() == Some(dim) && near;
            (!right).then(|| format!("shape {n} x {dim}, head near: {near}"))
        }
    }
}

#[test]
fn recorded_vectors_and_rankings_are_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/replay");
    if !folder.is_dir() {
        println!("skipped: the recorded traffic is not beside this checkout");
        return;
    }
    let expected: BTreeMap<String, Value> = lines(&folder.join("expect.jsonl.gz"))
        .into_iter()
        .map(|e| (e["id"].as_str().unwrap().to_owned(), e))
        .collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut judged, mut read, mut wrong) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("expect.jsonl.gz") {
            continue;
        }
        for row in lines(&path) {
            let (id, api) = (row["id"].as_str().unwrap(), row["api"].as_str().unwrap());
            let path = row["path"].as_str().unwrap();
            let ours =
                matches!(api, "embeddings" | "cohere.embed" | "gemini.embed" | "ollama.embed" | "rerank");
            // No verdicts are given for these, but they must be read.
            let unjudged = (api == "invoke" && path.contains("embed")) || path.ends_with(":predict");
            if !ours && !unjudged {
                continue;
            }
            let got = decode(&row);
            if let Some(want) = expected.get(id).filter(|_| ours) {
                judged += 1;
                *counts.entry(format!("{} {api}", row["provider"].as_str().unwrap_or("?"))).or_default() += 1;
                wrong.extend(faults(want, &got).map(|why| format!("{id}: {why}")));
            } else {
                read += 1;
                match got {
                    Ok(Got::Embeddings(r))
                        if r.vectors.iter().all(|v| v.len() >= 256) && !r.vectors.is_empty() => {}
                    Ok(_) => wrong.push(format!("{id}: no vectors")),
                    Err(error) => wrong.push(format!("{id}: {error:?}")),
                }
            }
        }
    }
    println!("{counts:#?}\n{} of {judged} verdicts, {read} more read", judged - wrong.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(judged > 40 && read > 10, "{judged} {read}");
}
