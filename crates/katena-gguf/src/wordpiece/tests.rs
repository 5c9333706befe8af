//! WordPiece by hand on a tiny vocabulary.

use std::io::Cursor;

use katena_core::Tokenizer;

use super::WordPiece;
use crate::{Header, Keep, Value, Writer};

const WORDS: [&str; 20] = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "\u{2581}hello",
    "\u{2581}un",
    "aff",
    "able",
    "\u{2581},",
    "\u{2581}!",
    "\u{2581}zurich",
    "\u{2581}日",
    "\u{2581}本",
    "\u{2581}x",
    "\u{2581}i",
    "s",
    "\u{2581}，",
    "\u{2581}strasse",
    "x",
];

fn tiny() -> WordPiece {
    let mut w = Writer::default();
    w.set("tokenizer.ggml.tokens", Value::Texts(WORDS.map(str::to_owned).to_vec()));
    for (n, key) in ["padding", "unknown", "bos", "seperator", "mask"].iter().enumerate() {
        w.set(format!("tokenizer.ggml.{key}_token_id"), Value::Unsigned(n as u64));
    }
    let mut bytes = Vec::new();
    w.write::<std::io::Error>(&mut bytes, |_, _| unreachable!()).unwrap();
    let header = Header::parse(Cursor::new(&bytes), bytes.len() as u64, Keep::Vocabulary).unwrap();
    WordPiece::new(&header, "tiny".into()).unwrap()
}

/// Words and the text that each stands for.
fn tokens<'t>(words: &WordPiece, text: &'t str) -> Vec<(String, &'t str)> {
    let (ids, spans) = (words.ids(text), words.encode(text));
    assert_eq!(ids.len(), spans.len());
    assert_eq!(words.count(text), ids.len());
    let word = |id: i32| WORDS[id as usize].trim_start_matches('\u{2581}').to_owned();
    ids.into_iter().zip(spans).map(|(id, s)| (word(id), &text[s.start..s.end])).collect()
}

#[test]
fn words_are_cut_into_the_longest_pieces() {
    let words = tiny();
    let got = tokens(&words, "  Hello, UNAFFABLE!x");
    let want = [
        ("hello", "Hello"),
        (",", ","),
        ("un", "UN"),
        ("aff", "AFF"),
        ("able", "ABLE"),
        ("!", "!"),
        ("x", "x"),
    ];
    assert_eq!(got, want.map(|(a, b)| (a.to_owned(), b)));
    assert_eq!(
        tokens(&words, "unaffabel hello"),
        [("[UNK]".to_owned(), "unaffabel"), ("hello".to_owned(), "Hello".to_lowercase().as_str())]
    );
    assert!(tokens(&words, " \t\n\0\u{7f}\u{200b}").is_empty());
}

#[test]
fn offsets_survive_normalisation() {
    let words = tiny();
    assert_eq!(tokens(&words, "«Zürich"), [("[UNK]".to_owned(), "«"), ("zurich".to_owned(), "Zürich")]);
    assert_eq!(
        tokens(&words, "zu\u{308}rich,"),
        [("zurich".to_owned(), "zu\u{308}rich"), (",".to_owned(), ",")]
    );
    assert_eq!(tokens(&words, "hel\0lo x"), [("hello".to_owned(), "hel\0lo"), ("x".to_owned(), "x")]);
    assert_eq!(
        tokens(&words, "x日本，"),
        [("x", "x"), ("日", "日"), ("本", "本"), ("，", "，")].map(|(a, b)| (a.to_owned(), b))
    );
    // One capital letter that becomes two in lower case, with an accent that goes.
    assert_eq!(tokens(&words, "İS"), [("i".to_owned(), "İ"), ("s".to_owned(), "S")]);
}

#[test]
fn a_word_of_more_than_100_characters_is_unknown() {
    let words = tiny();
    assert_eq!(words.count(&"x".repeat(100)), 100);
    assert_eq!(tokens(&words, &"x".repeat(101)).len(), 1);
}
