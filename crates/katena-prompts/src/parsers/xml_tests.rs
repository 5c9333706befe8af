use super::{TagStream, XmlTag};
use crate::OutputParser as _;
use crate::test_random::Random;

fn cut(pieces: &[&str]) -> Option<String> {
    let mut stream: TagStream = XmlTag::new("answer").stream();
    let mut out: String = pieces.iter().map(|p| stream.push(p)).collect();
    out.push_str(&stream.finish().ok()?);
    Some(out)
}

#[test]
fn what_is_inside_is_found() {
    for (text, inside) in [
        ("<answer>a</answer>", Some("a")),
        ("<ANSWER lang=\"en\">\n a b \n</Answer >x</answer>", Some("a b")),
        ("<<answer>a<b>c</b></answers></answer>", Some("a<b>c</b></answers>")),
        ("<answers>a</answers>", None),
        ("<answer>cut off", Some("cut off")),
        ("<answer>cut off </ans", Some("cut off")),
        ("<answer>a <", Some("a <")),
        ("<answer></answer>", Some("")),
        ("<answer>a</<</answer>", Some("a</<")),
        ("< answer>a</answer>", None),
        ("", None),
    ] {
        assert_eq!(cut(&[text]).as_deref(), inside, "{text}");
    }
}

#[test]
fn every_cut_gives_the_same() {
    let text = "Hm <b>. <Answer x='1'>\n é <b>1</b> < 2 </answers> </ans wer </answer> <answer>no</answer>";
    let whole = cut(&[text]);
    assert_eq!(whole.as_deref(), Some("é <b>1</b> < 2 </answers> </ans wer"));
    let places: Vec<usize> = (0..=text.len()).filter(|n| text.is_char_boundary(*n)).collect();
    for (n, a) in places.iter().enumerate() {
        for b in &places[n..] {
            assert_eq!(cut(&[&text[..*a], &text[*a..*b], &text[*b..]]), whole, "cut at {a} and {b}");
        }
    }
}

#[test]
fn random_texts_give_the_same_in_pieces_and_whole() {
    let mut random = Random::new(3);
    let parts =
        ["<", "</", "answer", ">", "<answer>", "</answer>", " ", "a", "é", "/", "<answer ", "\n", "ANSWER"];
    for _ in 0..20_000 {
        let pieces: Vec<&str> = (0..random.below(12)).map(|_| *random.pick(&parts)).collect();
        let text = pieces.concat();
        let chars: Vec<String> = text.chars().map(String::from).collect();
        let chars: Vec<&str> = chars.iter().map(String::as_str).collect();
        assert_eq!(cut(&chars), XmlTag::new("answer").parse(&text).ok(), "{text}");
        assert_eq!(cut(&pieces), XmlTag::new("answer").parse(&text).ok(), "{text}");
    }
}
