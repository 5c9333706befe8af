//! Vocabularies from lists and from `tokenizer.json`.

use katena_core::{ErrorKind, Tokenizer};
use serde_json::{Value, json};

use super::*;

const WORDS: [&str; 9] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "sing", "##ing", "##s", "über", "uber"];

fn file() -> Value {
    let vocab: serde_json::Map<String, Value> =
        WORDS.iter().enumerate().map(|(n, w)| ((*w).to_owned(), json!(n))).collect();
    json!({
        "added_tokens": [{"id": 1, "content": "[UNK]", "special": true}],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab}
    })
}

fn read(file: &Value) -> Result<WordPiece> {
    WordPiece::from_tokenizer_json(file.to_string().as_bytes(), "tiny")
}

#[test]
fn a_list_and_a_file_give_the_same_tokens() {
    let list = WordPiece::from_words(&WORDS.map(str::to_owned), "tiny", Casing::Lower).unwrap();
    let json = read(&file()).unwrap();
    for text in ["Singing sings", "Über [UNK] sing", "", "singx", "日 sing\u{0}ing"] {
        assert_eq!(list.ids(text), json.ids(text), "{text:?}");
        assert_eq!(list.count(text), list.ids(text).len());
    }
    assert_eq!(list.ids("Singing sings Über"), [4, 5, 4, 6, 8]);
    assert_eq!((list.words(), list.unknown(), list.marks()), (9, 1, (2, 3)));
}

#[test]
fn casing_is_as_the_file_says() {
    let ids = |lower: Value, strip: Value| {
        let mut file = file();
        file["normalizer"]["lowercase"] = lower;
        file["normalizer"]["strip_accents"] = strip;
        read(&file).unwrap().ids("Sing über")
    };
    assert_eq!(ids(json!(true), json!(null)), [4, 8]);
    assert_eq!(ids(json!(true), json!(false)), [4, 7]);
    assert_eq!(ids(json!(false), json!(null)), [1, 7]);
    assert_eq!(ids(json!(false), json!(true)), [1, 8]);
}

#[test]
fn without_marks_the_unknown_token_stands_in() {
    let mut other = file();
    other["model"]["vocab"] = json!({"[UNK]": 0, "a": 1});
    assert_eq!(read(&other).unwrap().marks(), (0, 0));
    let words = ["a".to_owned()];
    assert_eq!(WordPiece::from_words(&words, "x", Casing::Kept).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn other_tokenizers_are_unsupported_and_name_the_part() {
    for (pointer, value, part) in [
        ("/model/type", json!("Unigram"), "model"),
        ("/model/type", json!("BPE"), "model"),
        (
            "/model/max_input_chars_per_word",
            json!(7),
            "continuing_subword_prefix or max_input_chars_per_word",
        ),
        ("/normalizer", json!(null), "normalizer"),
        ("/normalizer", json!({"type": "Sequence", "normalizers": []}), "normalizer"),
        ("/normalizer/clean_text", json!(false), "normalizer"),
        ("/pre_tokenizer", json!({"type": "Metaspace"}), "pre_tokenizer"),
    ] {
        let mut file = file();
        *file.pointer_mut(pointer).unwrap() = value;
        let error = read(&file).unwrap_err();
        assert_eq!((error.kind(), error.context("part")), (ErrorKind::Unsupported, Some(part)), "{error}");
    }
    let mut added = file();
    added["added_tokens"][0]["special"] = json!(false);
    assert_eq!(read(&added).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn broken_files_are_invalid() {
    for bytes in [&b""[..], b"{", b"[]", b"{}", b"\xff"] {
        let error = WordPiece::from_tokenizer_json(bytes, "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    for vocab in [
        json!([]),
        json!({}),
        json!({"[UNK]": 1}),
        json!({"[UNK]": 0, "a": 0}),
        json!({"a": 0}),
        json!({"[UNK]": -1}),
        json!({"[UNK]": 18_446_744_073_709_551_615_u64}),
    ] {
        let mut file = file();
        file["model"]["vocab"] = vocab.clone();
        assert_eq!(read(&file).unwrap_err().kind(), ErrorKind::InvalidInput, "{vocab}");
    }
}
