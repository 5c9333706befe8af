//! A tiny model through the whole conversion, and what must be refused.

use katena_core::ErrorKind;

use super::*;
use crate::{Header, Keep};
use katena_testkit::tiny::{bert_folder, bert_tensors, safetensors};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    bert_folder(folder.path());
    folder
}

fn fails(folder: &tempfile::TempDir) -> Error {
    let out = folder.path().join("out.gguf");
    let error = bert_to_gguf(folder.path(), &out).unwrap_err();
    assert!(!out.exists(), "nothing half made");
    let left = std::fs::read_dir(folder.path())
        .unwrap()
        .filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().ends_with(".gguf")));
    assert_eq!(left.count(), 0, "no temporary file is left");
    error
}

fn edit(folder: &tempfile::TempDir, file: &str, from: &str, to: &str) {
    let path = folder.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = folder();
    let (a, b) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
    bert_to_gguf(folder.path(), &a).unwrap();
    bert_to_gguf(folder.path(), &b).unwrap();
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap(), "same input, same bytes");
    let header = Header::read(&a, Keep::Vocabulary).unwrap();
    let words = header.texts("tokenizer.ggml.tokens").unwrap();
    assert_eq!(
        words[2..9],
        ["[CLS]", "[SEP]", "[MASK]", "\u{2581}hello", "\u{2581}world", "ing", "\u{2581}sing"]
    );
    assert!(!header.tensors.iter().any(|t| t.contains("pooler")));
}

#[test]
fn other_models_are_unsupported() {
    for (file, from, to) in [
        ("config.json", "\"bert\"", "\"roberta\""),
        ("config.json", "\"gelu\"", "\"swish\""),
        ("1_Pooling/config.json", "\"pooling_mode_cls_token\": false", "\"pooling_mode_max_tokens\": true"),
        ("1_Pooling/config.json", "true", "false"),
    ] {
        let folder = folder();
        edit(&folder, file, from, to);
        assert_eq!(fails(&folder).kind(), ErrorKind::Unsupported, "{to}");
    }
    let folder = folder();
    let dense = r#"[{"type": "sentence_transformers.models.Dense"}]"#;
    std::fs::write(folder.path().join("modules.json"), dense).unwrap();
    assert_eq!(fails(&folder).kind(), ErrorKind::Unsupported);
}

#[test]
fn files_that_do_not_fit_together_are_invalid() {
    for (file, from, to) in [
        ("config.json", "\"hidden_size\":8", "\"hidden_size\":16"),
        ("config.json", "\"hidden_size\":8", "\"hidden_size\":9"),
        ("config.json", "\"num_hidden_layers\":1", "\"num_hidden_layers\":2"),
        ("config.json", "\"num_hidden_layers\":1", "\"num_hidden_layers\":4000000000"),
        ("config.json", "{", "["),
        ("vocab.txt", "[CLS]", "[XXX]"),
        ("vocab.txt", "world", "hello"),
        ("vocab.txt", "world", "a\nb\nc\nd"),
    ] {
        let folder = folder();
        edit(&folder, file, from, to);
        assert_eq!(fails(&folder).kind(), ErrorKind::InvalidInput, "{to}");
    }
    for file in ["config.json", "vocab.txt", "model.safetensors", "1_Pooling/config.json"] {
        let folder = folder();
        std::fs::remove_file(folder.path().join(file)).unwrap();
        let error = fails(&folder);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{file}");
        assert!(error.context("file").is_some());
    }
}

#[test]
fn the_vocabulary_may_come_from_tokenizer_json() {
    let folder = folder();
    let a = folder.path().join("a.gguf");
    bert_to_gguf(folder.path(), &a).unwrap();
    let words = std::fs::read_to_string(folder.path().join("vocab.txt")).unwrap();
    let vocab: serde_json::Map<_, _> =
        words.lines().enumerate().map(|(n, w)| (w.to_owned(), serde_json::Value::from(n))).collect();
    std::fs::remove_file(folder.path().join("vocab.txt")).unwrap();
    let json = serde_json::json!({"model": {"vocab": vocab}});
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let b = folder.path().join("b.gguf");
    bert_to_gguf(folder.path(), &b).unwrap();
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
}

#[test]
fn hostile_safetensors_are_invalid() {
    let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &[0; 64]].concat();
    let one = |dtype: &str, shape: &str, offsets: &str| {
        header(&format!(r#"{{"t": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#))
    };
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let overlap = r#"{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}}"#;
    for bytes in [
        vec![],
        vec![1, 2, 3],
        u64::MAX.to_le_bytes().to_vec(),
        [&(1u64 << 40).to_le_bytes()[..], b"{}"].concat(),
        header("not json"),
        header("[]"),
        header(&deep),
        header(r#"{"t": 1}"#),
        header(r#"{"t": {"dtype": "F32"}}"#),
        header(overlap),
        one("F32", "[4]", "[0, 17]"),
        one("F32", "[4]", "[16, 0]"),
        one("F32", "[4]", "[0]"),
        one("F32", "[4]", "[0, 16, 32]"),
        one("F32", "[-4]", "[0, 16]"),
        one("F32", "[4.5]", "[0, 18]"),
        one("F99", "[4]", "[0, 16]"),
        one("F32", "[1000]", "[0, 4000]"),
        one("F32", "[4294967296, 4294967296, 4]", "[0, 0]"),
        one("F32", "[18446744073709551615]", "[0, 18446744073709551612]"),
        one("F32", "[1,1,1,1,1,1,1,1,1]", "[0, 4]"),
    ] {
        let folder = folder();
        std::fs::write(folder.path().join("model.safetensors"), &bytes).unwrap();
        let error = fails(&folder);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{}", String::from_utf8_lossy(&bytes));
        assert!(error.context("file").is_some_and(|f| f.ends_with("model.safetensors")));
    }
}

#[test]
fn tensors_must_be_whole_and_finite() {
    let mut tensors = bert_tensors();
    tensors[0].2[3] = f32::NAN;
    let with = |tensors: &[_]| {
        let folder = folder();
        std::fs::write(folder.path().join("model.safetensors"), safetensors(tensors)).unwrap();
        fails(&folder)
    };
    assert_eq!(with(&tensors).context("tensor"), Some("embeddings.word_embeddings.weight"));
    let mut tensors = bert_tensors();
    let lost = tensors.remove(4).0;
    assert_eq!(with(&tensors).context("tensor"), Some(lost.as_str()));
    let mut tensors = bert_tensors();
    tensors.push(("extra.weight".into(), vec![2], vec![0.0, 1.0]));
    assert_eq!(with(&tensors).kind(), ErrorKind::Unsupported);
    let mut tensors = bert_tensors();
    tensors[1].1 = vec![8, 64];
    assert_eq!(with(&tensors).kind(), ErrorKind::InvalidInput);
}
