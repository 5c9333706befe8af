//! Retrieval quality on XQuAD-en with vectors that all-MiniLM-L6-v2 gave.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    Chunk, Document, DocumentLoader, DocumentStream, EmbedRequest, EmbedResponse, Embedder, EmbedderInfo,
    Error, Query, Result, Source, TextSplitter, Tokenizer, VectorStore,
};
use katena_retrieval::quality::{Judged, measure, table};
use katena_retrieval::{Answerability, VectorIndex};
use katena_vectorstores::{EmbeddedStore, MemoryStore};

/// Knows the vectors of some texts.
#[derive(Debug, Clone)]
struct Precomputed(EmbedderInfo, Arc<HashMap<String, Vec<f32>>>);

#[async_trait]
impl Embedder for Precomputed {
    fn info(&self) -> &EmbedderInfo {
        &self.0
    }
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        None
    }
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        let known = |t: &String| self.1.get(t).cloned().ok_or_else(|| Error::invalid_input("unknown text"));
        Ok(EmbedResponse::new(request.texts.iter().map(known).collect::<Result<_>>()?))
    }
}

#[derive(Debug, Clone)]
struct Passages(Vec<(String, String)>);
impl DocumentLoader for Passages {
    fn load(&self) -> DocumentStream {
        let documents: Vec<Result<Document>> =
            self.0.iter().map(|(id, text)| Ok(Document::new(text, Source::new(id)))).collect();
        Box::pin(futures_util::stream::iter(documents))
    }
}

#[derive(Debug)]
struct Whole;
impl TextSplitter for Whole {
    fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
        Ok(vec![Chunk::of(text, 0..text.len())])
    }
    fn fingerprint(&self) -> String {
        "whole".to_owned()
    }
}

fn gunzip(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// IEEE 754 half precision; the files hold normal numbers and zeros only.
fn half(bytes: [u8; 2]) -> f32 {
    let bits = u16::from_le_bytes(bytes);
    let (sign, exponent, fraction) = (bits >> 15, i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        0 => fraction / 1024.0 * (2.0_f32).powi(-14),
        e => (1.0 + fraction / 1024.0) * (2.0_f32).powi(e - 15),
    };
    if sign == 1 { -size } else { size }
}

fn vectors(path: &Path) -> Vec<Vec<f32>> {
    gunzip(path).chunks(768).map(|row| row.chunks(2).map(|b| half([b[0], b[1]])).collect()).collect()
}

fn load() -> Option<(Passages, Vec<Judged>, Precomputed)> {
    let evals = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals");
    if !evals.exists() {
        println!("skipped: the evaluation data is not there ({})", evals.display());
        return None;
    }
    let lines = String::from_utf8(gunzip(&evals.join("retrieval/xquad.en.jsonl.gz"))).unwrap();
    let (mut passages, mut questions) = (Vec::new(), Vec::new());
    for line in lines.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        match row["type"].as_str().unwrap() {
            "passage" => passages.push((text("id"), text("text"))),
            _ => questions.push(Judged::new(text("question"), text("passage"))),
        }
    }
    let ann = evals.join("ann");
    let mut known = HashMap::new();
    let of_passages = vectors(&ann.join("xquad_en_minilm_passages_240x384.f16.gz"));
    let of_questions = vectors(&ann.join("xquad_en_minilm_questions_1190x384.f16.gz"));
    assert_eq!((of_passages.len(), of_questions.len()), (passages.len(), questions.len()));
    known.extend(passages.iter().map(|(_, t)| t.clone()).zip(of_passages));
    known.extend(questions.iter().map(|q| q.question.clone()).zip(of_questions));
    let embedder = Precomputed(EmbedderInfo::new("all-MiniLM-L6-v2", 384), Arc::new(known));
    Some((Passages(passages), questions, embedder))
}

async fn check(store: impl VectorStore + 'static) {
    let Some((passages, questions, embedder)) = load() else { return };
    let index = VectorIndex::new(store, embedder);
    let report = index.ingest(passages, Whole).await.unwrap().complete().unwrap();
    assert_eq!(report.added, 240);
    let (dense, lexical, fused) = (index.dense(), index.lexical(), index.retriever());
    let rows: [(&str, &dyn katena_core::Retriever); 3] =
        [("dense", &dense), ("lexical", &lexical), ("fused", &fused)];
    println!("XQuAD-en, {}\n{}", index.store().info().engine, table(&rows, &questions).await.unwrap());
    let dense = measure(&dense, &questions, 10).await.unwrap();
    let lexical = measure(&lexical, &questions, 10).await.unwrap();
    let fused = measure(&fused, &questions, 10).await.unwrap();
    assert!((dense.recall_at_1 - 0.885).abs() < 0.005, "{dense}");
    assert!((dense.mrr - 0.928).abs() < 0.005, "{dense}");
    for part in [dense, lexical] {
        assert!(fused.recall_at_1 > part.recall_at_1 && fused.mrr > part.mrr, "{fused} against {part}");
    }
    assert!(fused.recall_at_1 >= 0.95 && fused.recall_at_5 >= 0.99, "{fused}");
}

#[tokio::test]
async fn memory_store() {
    check(MemoryStore::new()).await;
}

#[tokio::test]
async fn embedded_store() {
    let dir = tempfile::tempdir().unwrap();
    check(EmbeddedStore::open(dir.path().join("xquad.katena")).unwrap()).await;
}

#[tokio::test]
async fn answerability_on_questions_with_and_without_their_passage() {
    let Some((passages, questions, embedder)) = load() else { return };
    // Half of the articles' passages are taken out: their questions have no answer, though their subject is known.
    let kept: Vec<_> =
        passages.0.iter().enumerate().filter(|(n, _)| n % 2 == 0).map(|(_, p)| p.clone()).collect();
    let index = VectorIndex::new(MemoryStore::new(), embedder);
    index.ingest(Passages(kept.clone()), Whole).await.unwrap().complete().map(drop).unwrap();
    let retriever = index.retriever().with_answerability(Answerability::minilm());
    let (mut answered, mut refused, mut with, mut without) = (0, 0, 0, 0);
    for judged in &questions {
        let verdict = retriever.search(&Query::new(&judged.question)).await.unwrap().verdict.unwrap();
        if kept.iter().any(|(id, _)| *id == judged.relevant[0]) {
            with += 1;
            answered += u32::from(verdict.answerable);
        } else {
            without += 1;
            refused += u32::from(!verdict.answerable);
        }
    }
    println!("answered {answered} of {with} with their passage, refused {refused} of {without} without");
    assert!(f64::from(answered) > 0.9 * f64::from(with));
    assert!(f64::from(refused) > 0.4 * f64::from(without));
}
