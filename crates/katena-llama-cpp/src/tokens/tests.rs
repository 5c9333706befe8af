//! WordPiece beside llama.cpp's, on the real vocabulary.

use katena_core::Tokenizer;

use super::WordPiece;
use crate::engine::load_model;
use katena_gguf::{Header, Keep};
use katena_testkit::tiny::embed_model;

fn multilingual() -> Vec<String> {
    let mut texts: Vec<String> = [
        "The quick brown fox; jumps—over 13 lazy dogs… (really?)",
        "Grüße aus Zürich: Straße, Café, naïve, Ærøskøbing, Łódź, İstanbul",
        "Привет, мир! Ёлка и подъезд. Їжак",
        "日本語のテキストと漢字、カタカナ。全角！",
        "نص عربي مع تشكيل: مُحَمَّد. עברית",
        "fn main() { println!(\"{}\", 1_000); } // <b>&amp;</b> https://a.b/c?d=e#f",
        "emoji 🦙🇨🇭 ☕ → ∑ x² ½ № ™ € £ ¥",
        "Ελληνικά με τόνους, άέήίόύώ ΑΣ",
        "tabs\tand\nnewlines\r\n  \u{a0}nbsp\u{2003}em\u{3000}wide",
    ]
    .map(str::to_owned)
    .to_vec();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/docs");
    if let Ok(entries) = std::fs::read_dir(folder) {
        let files = entries
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "txt" || e == "md" || e == "csv"));
        texts.extend(files.filter_map(|p| std::fs::read_to_string(p).ok()));
    }
    texts
}

#[test]
fn ids_are_llama_cpps() {
    let Some(path) = embed_model() else { return };
    let header = Header::read(&path, Keep::Vocabulary).unwrap();
    let words = WordPiece::new(&header, "minilm".into()).unwrap();
    let model = load_model(&path, &header, 0, None).unwrap();
    let mut compared = 0;
    for text in multilingual() {
        let theirs: Vec<i32> =
            model.vocab().tokenize(text.as_bytes(), false, false).into_iter().map(|t| t.0).collect();
        let ours = words.ids(&text);
        if let Some(n) = (0..ours.len().max(theirs.len())).find(|n| ours.get(*n) != theirs.get(*n)) {
            let span = words.encode(&text).get(n).copied();
            let at = span.map_or(text.len(), |s| s.start);
            panic!(
                "token {n} of {:.60?} differs, at {:.60?}: {:?} and {:?}",
                text,
                &text[at..],
                ours.get(n),
                theirs.get(n)
            );
        }
        compared += ours.len();
    }
    assert!(compared > 200, "only {compared} tokens compared");
}

/// llama.cpp and the model's published tokenizer differ in a few scripts; the model was trained with the latter, whose ids
/// these are.
#[test]
fn ids_are_the_published_tokenizers() {
    let Some(path) = embed_model() else { return };
    let words = WordPiece::new(&Header::read(&path, Keep::Vocabulary).unwrap(), "minilm".into()).unwrap();
    for (text, ids) in [
        (
            "한국어 텍스트",
            &[
                1469, 30006, 30021, 29991, 30014, 30020, 29999, 30008, 1467, 30009, 30020, 29997, 30017,
                30003, 30017,
            ][..],
        ),
        ("हिन्दी में पाठ", &[1339, 29877, 29863, 29861, 29878, 1331, 100]),
        ("Ærøskøbing, Łódź", &[1097, 2099, 16415, 6711, 16415, 10472, 1010, 17814]),
        ("日本語の漢字、カタカナ", &[1864, 1876, 1950, 1671, 1904, 100, 1635, 1700, 30235, 30226, 30241]),
        ("مُحَمَّد", &[1295, 29820, 22192, 15394]),
        ("fn main() { x² }", &[1042, 2078, 2364, 1006, 1007, 1063, 1060, 10701, 1065]),
        ("🦙 ☕", &[100, 100]),
    ] {
        assert_eq!(words.ids(text), ids, "{text}");
    }
}
