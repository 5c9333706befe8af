//! Against the shared goldens: LangChain's chunk counts for orientation, token counts exactly.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::io::Read;
use std::path::PathBuf;

use katena_core::TextSplitter;
use katena_splitters::RecursiveSplitter;
use serde_json::Value;

fn evals(folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

fn rows(path: PathBuf) -> Vec<Value> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[cfg(feature = "tiktoken")]
#[test]
fn token_counts_and_offsets_are_openais() {
    use katena_core::Tokenizer;
    use katena_splitters::TiktokenTokenizer;

    let Some(folder) = evals("tokens") else { return };
    let mut checked = 0;
    for row in rows(folder.join("goldens.jsonl.gz")) {
        let tokenizer = match row["encoding"].as_str().unwrap() {
            "cl100k_base" => TiktokenTokenizer::cl100k(),
            "o200k_base" => TiktokenTokenizer::o200k(),
            other => panic!("no such encoding: {other}"),
        };
        let Some(text) = row["text"]
            .as_str()
            .map(str::to_owned)
            .or_else(|| input(&folder, row["input"].as_str().unwrap()))
        else {
            continue;
        };
        let want = row["n"].as_u64().unwrap() as usize;
        assert_eq!(tokenizer.count(&text), want, "{row}");
        let spans = tokenizer.encode(&text);
        assert_eq!(spans.len(), want);
        assert_eq!(spans.last().map_or(0, |s| s.end), text.len());
        checked += 1;
    }
    assert!(checked >= 40, "only {checked} rows had their input");
}

#[test]
fn chunk_counts_are_near_langchains() {
    let Some(folder) = evals("splitters") else { return };
    let (mut rows_seen, mut same) = (0, 0);
    for row in rows(folder.join("goldens.jsonl.gz")) {
        if row["algo"] != "recursive" || row["params"].as_object().unwrap().len() != 2 {
            continue;
        }
        let Some(text) = input(&folder, row["input"].as_str().unwrap()) else { continue };
        let size = row["params"]["chunk_size"].as_u64().unwrap() as usize;
        let overlap = row["params"]["overlap"].as_u64().unwrap() as usize;
        let splitter =
            RecursiveSplitter::chars(size).with_overlap(overlap).with_separators(["\n\n", "\n", " "]);
        let chunks = splitter.split(&text).unwrap();
        let lens: Vec<u64> = chunks.iter().map(|c| c.text.chars().count() as u64).collect();
        let want: Vec<u64> = row["lens"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        rows_seen += 1;
        same += usize::from(lens == want);
        // Fuller chunks are meant; many more would be a defect.
        let count = row["n"].as_u64().unwrap() as usize;
        if overlap == 0 {
            let much = count + count / 5 + 2;
            assert!(chunks.len() <= much, "{} chunks, LangChain {count}: {}", chunks.len(), row["params"]);
        }
    }
    eprintln!("{same} of {rows_seen} rows have exactly LangChain's chunks");
    assert!(rows_seen > 0);
}

fn input(folder: &std::path::Path, name: &str) -> Option<String> {
    [folder.join("inputs").join(name), folder.join(name), folder.join("../splitters/inputs").join(name)]
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
}
