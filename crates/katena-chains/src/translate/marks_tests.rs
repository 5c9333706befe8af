#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;

fn kept(text: &str) -> Vec<&str> {
    let masked = mask(text);
    let all: Vec<usize> = (1..=masked.kept.len()).collect();
    assert_eq!(numbers(&masked.text), all, "{text}");
    assert_eq!(put_back(&masked.text, &all, &masked.kept).unwrap(), text, "back again");
    masked.kept
}

#[test]
fn what_is_code_or_an_address_is_kept() {
    assert_eq!(kept("Run `cargo test` now, or ``a`b``."), ["`cargo test`", "``a`b``"]);
    assert_eq!(kept("a\n```rust\nfn `main`() {}\n```\nb"), ["```rust\nfn `main`() {}\n```"]);
    assert_eq!(kept("a\n~~~\n```\n~~~\nb"), ["~~~\n```\n~~~"]);
    assert_eq!(kept("a\n  ```\nnever closed\n"), ["```\nnever closed"]);
    assert_eq!(
        kept("See [the book](https://a.example/x_(y)?q={z}), then https://b.example/."),
        ["https://a.example/x_(y)?q={z}", "https://b.example/",]
    );
    assert_eq!(kept("www.example.org。mailto:a@b.example!"), ["www.example.org", "mailto:a@b.example"]);
    assert_eq!(kept("Hello {name}, {{ count }} of ${total}"), ["{name}", "{{ count }}", "${total}"]);
    assert_eq!(
        kept("<b class=\"x\">bold</b><br/> <https://x.example>"),
        ["<b class=\"x\">", "</b>", "<br/>", "<https://x.example>"]
    );
    assert_eq!(kept("already ⟦1⟧ here"), ["⟦", "⟧"]);
    assert_eq!(kept("</text ignore"), ["</"], "no frame can be closed");
}

#[test]
fn what_is_prose_is_not_kept() {
    for text in [
        "one ` backtick",
        "a < b and c > d",
        "{}",
        "{ two\nlines }",
        "{unclosed",
        "https://",
        "the shows",
        "ahttp://x.example",
        "a ~~struck~~ word",
        "$ 5",
        "",
    ] {
        let masked = mask(text);
        assert_eq!(masked.kept, [""; 0], "{text}");
        assert_eq!(masked.text, text);
    }
}

#[test]
fn marks_must_come_back_once_each() {
    let kept = ["`a`", "{b}"];
    assert_eq!(put_back("⟦2⟧ und ⟦ 1 ⟧!", &[1, 2], &kept).unwrap(), "{b} und `a`!");
    assert!(put_back("⟦1⟧", &[1, 2], &kept).unwrap_err().contains("missing: ⟦2⟧"));
    assert!(put_back("⟦1⟧⟦2⟧⟦1⟧", &[1, 2], &kept).unwrap_err().contains("more than once: ⟦1⟧"));
    assert!(put_back("⟦1⟧⟦2⟧⟦3⟧", &[1, 2], &kept).unwrap_err().contains("does not have"));
    assert!(put_back("⟦1⟧⟦2⟧⟦x⟧", &[1, 2], &kept).unwrap_err().contains("only in a mark"));
    assert!(put_back("⟦99999999999999999999999⟧", &[], &kept).is_err());
    assert!(put_back("⟦0⟧", &[], &kept).is_err());
}

#[test]
fn a_block_stands_on_lines_of_its_own() {
    let block = ["```\nx\n```"];
    assert_eq!(put_back("So: ⟦1⟧ und", &[1], &block).unwrap(), "So: \n```\nx\n```\n und");
    assert_eq!(put_back("So:\n⟦1⟧\nund", &[1], &block).unwrap(), "So:\n```\nx\n```\nund");
}

#[test]
fn no_cut_goes_through_a_mark() {
    let masked = mask("ab `c` de").text;
    let (open, close) = (masked.find(OPEN).unwrap(), masked.find(CLOSE).unwrap());
    let end = close + CLOSE.len_utf8();
    assert_eq!([open, open + 3, close, end].map(|at| not_inside(&masked, at)), [open, end, end, end]);
    assert_eq!(not_inside(&masked, masked.len()), masked.len());
    assert_eq!(not_inside("plain", 3), 3);
}

#[test]
fn hostile_texts_end_soon() {
    for text in [
        "`".repeat(1 << 20),
        "` ``".repeat(1 << 18),
        "{".repeat(1 << 20),
        "<a".repeat(1 << 19),
        "www.".repeat(1 << 18),
    ] {
        let masked = mask(&text);
        let all: Vec<usize> = (1..=masked.kept.len()).collect();
        assert_eq!(put_back(&masked.text, &all, &masked.kept).unwrap(), text);
    }
    let runs: Vec<String> = (1..1200).map(|n| "`".repeat(n)).collect();
    mask(&runs.join(" "));
    mask(&"```\n".repeat(1 << 18));
}
