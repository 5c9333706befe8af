//! HTML: what a reader sees of a page, as text with the lines it came from.
//!
//! The tokens of the HTML standard's own tokenizer are walked as they come, with a flat stack of open elements. No tree is
//! built: nesting costs no stack, and misnested or unclosed formatting costs no time.

mod walk;
mod writer;

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, CharacterTokens, EndTag, NullCharacterToken, StartTag, TagToken, Token, TokenSink,
    TokenSinkResult, Tokenizer, TokenizerOpts,
};
use katena_core::{Document, Error, Result, Source};

use crate::decode::{declared_in_html, decode};
use crate::limits::Limits;
use crate::parse::check_text;
use crate::parser::took_too_long;
use walk::{Keep, Walk};

/// The readable text of a page: headings as `## Heading`, list items as `- item`, table rows as `cell | cell`.
pub(crate) fn parse(bytes: Vec<u8>, source: Source, limits: &Limits) -> Result<Document> {
    let declared = declared_in_html(&bytes);
    let text = decode(bytes, declared)?;
    let mut walk = read(&text, Keep::Content, limits)?;
    if walk.is_blank() {
        // A page that is all navigation or footer: better that than nothing.
        walk = read(&text, Keep::All, limits)?;
    }
    let (text, anchors, title) = walk.finish();
    let mut source = source;
    if source.title.is_none() {
        source.title = title;
    }
    Ok(Document::new(text, source).with_anchors(anchors))
}

fn read(text: &str, keep: Keep, limits: &Limits) -> Result<Walk> {
    let sink = Sink { walk: RefCell::new(Walk::new(keep)), limits, error: RefCell::new(None) };
    let tokenizer = Tokenizer::new(sink, TokenizerOpts { discard_bom: true, ..TokenizerOpts::default() });
    let queue = BufferQueue::default();
    // Piece by piece, so that an error ends the work early, and so does time: the tokenizer compares each attribute of a tag
    // with all before it, which a tag of a million attributes makes long.
    let begun = std::time::Instant::now();
    let mut rest = text;
    while !rest.is_empty() {
        let mut cut = rest.len().min(16 << 10);
        while !rest.is_char_boundary(cut) {
            cut += 1;
        }
        let (piece, after) = rest.split_at(cut);
        queue.push_back(StrTendril::from_slice(piece));
        while !queue.is_empty() {
            // Only `Script` and encoding marks suspend it, and this sink gives neither any weight.
            let _ = tokenizer.feed(&queue);
        }
        if let Some(error) = tokenizer.sink.error.borrow_mut().take() {
            return Err(error);
        }
        if begun.elapsed() > limits.timeout {
            return Err(took_too_long(limits.timeout));
        }
        rest = after;
    }
    tokenizer.end();
    if let Some(error) = tokenizer.sink.error.borrow_mut().take() {
        return Err(error);
    }
    Ok(tokenizer.sink.walk.into_inner())
}

struct Sink<'l> {
    walk: RefCell<Walk>,
    limits: &'l Limits,
    error: RefCell<Option<Error>>,
}

impl TokenSink for Sink<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, line_number: u64) -> TokenSinkResult<()> {
        if self.error.borrow().is_some() {
            return TokenSinkResult::Continue;
        }
        let mut walk = self.walk.borrow_mut();
        let line = u32::try_from(line_number).unwrap_or(u32::MAX);
        match token {
            CharacterTokens(text) => walk.text(&text, line),
            NullCharacterToken => walk.text("\u{fffd}", line),
            TagToken(tag) if tag.kind == StartTag => {
                let raw = walk.start(&tag);
                self.check(&walk);
                return match raw {
                    "script" => TokenSinkResult::RawData(RawKind::ScriptData),
                    "style" | "xmp" | "iframe" | "noembed" | "noframes" => {
                        TokenSinkResult::RawData(RawKind::Rawtext)
                    }
                    "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
                    "plaintext" => TokenSinkResult::Plaintext,
                    _ => TokenSinkResult::Continue,
                };
            }
            TagToken(tag) if tag.kind == EndTag => walk.end(&tag.name),
            _ => {}
        }
        self.check(&walk);
        TokenSinkResult::Continue
    }
}

impl Sink<'_> {
    fn check(&self, walk: &Walk) {
        let depth = self.limits.max_depth;
        let result = if walk.depth() > depth {
            Err(Error::invalid_input(format!("more than {depth} elements are nested")))
        } else {
            check_text(walk.bytes(), self.limits)
        };
        if let Err(error) = result {
            *self.error.borrow_mut() = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(html: &str) -> Document {
        parse(html.as_bytes().to_vec(), Source::new("p.html"), &Limits::default()).unwrap()
    }

    fn text(html: &str) -> String {
        page(html).text
    }

    #[test]
    fn structure_is_kept_as_lines() {
        let html = "<title> A  page </title><h1>Top</h1><p>One <b>bold</b>\n word.<p>Two<br>lines</p>\
            <ul><li>a<li>b<ul><li>c</ul></ul><ol start=3><li><p>x</p><li>y</ol>\
            <table><tr><th>H</th><th>I</th></tr><tr><td><p>1</p></td><td></td><td>3</td></tr></table>\
            <pre>  keep\n   this</pre><dl><dt>t<dd>d</dl>";
        let document = page(html);
        assert_eq!(document.source.title.as_deref(), Some("A page"));
        assert_eq!(
            document.text,
            "# Top\n\nOne bold word.\n\nTwo\nlines\n\n- a\n- b\n  - c\n\n3. x\n\n4. y\n\nH | I\n1 | | 3\n\n  keep\n   this\n\nt\nd"
        );
    }

    #[test]
    fn what_is_not_read_is_dropped() {
        assert_eq!(
            text(
                "<p>keep</p><script>var s='drop<p>';</script><style>p{}</style><template>t</template><p>tail"
            ),
            "keep\n\ntail"
        );
        assert_eq!(
            text(
                "<nav>n</nav><header><p>h</p><h1>Title</h1></header><main>m<footer>f</footer></main><aside>a</aside>"
            ),
            "# Title\n\nm"
        );
        assert_eq!(
            text(
                "<p hidden>x<p>y<div style='display: NONE'>z<div>z</div></div><span style='font-size:0'>e</span>!"
            ),
            "y\n\n!"
        );
        assert_eq!(text("<!-- c --><p>a<button>b</button><select><option>o</select>c"), "ac");
        assert_eq!(text("<div role=navigation>n</div><div aria-hidden=true>h</div>t"), "t");
        assert_eq!(text("<svg><title>no</title><path d='x'/><text>s</text></svg><p>t</p>"), "t");
        assert_eq!(text("<footer>only this</footer>"), "only this");
    }

    #[test]
    fn bad_markup_is_read_all_the_same() {
        assert_eq!(text("<b><p hidden></b>no</p>yes"), "yes");
        assert_eq!(text("</p></div>a</b><div>b"), "a\nb");
        assert_eq!(text("a<p"), "a");
        assert_eq!(
            text("&lt;b&gt; &amp;amp; &#x1F600; &copy &nbsp;x &#0; &#xD800;"),
            "<b> &amp; 😀 © \u{a0}x \u{fffd} \u{fffd}"
        );
    }

    #[test]
    fn anchors_lead_to_the_line() {
        let html =
            "<html>\n<body>\n<p>one\n two</p>\n\n<p>three <i>four</i>\r\nfive</p>\n<pre>\nsix\nseven</pre>\n";
        let document = page(html);
        let locator = document.locator();
        for (word, line) in
            [("one", 3), ("two", 4), ("three", 6), ("four", 6), ("five", 7), ("six", 9), ("seven", 10)]
        {
            let at = document.text.find(word).unwrap();
            let lines = locator.source((at..at + word.len()).into()).lines.unwrap();
            assert_eq!((lines.first, lines.last), (line, line), "{word} in {:?}", document.anchors);
        }
    }

    #[test]
    fn limits_end_the_work() {
        let limits = Limits::default().with_max_depth(100);
        let deep = "<div>".repeat(1000) + "deep";
        assert!(parse(deep.clone().into_bytes(), Source::new("d"), &limits).is_err());
        assert_eq!(text(&deep), "deep");
        let limits = Limits::default().with_timeout(std::time::Duration::ZERO);
        assert_eq!(
            parse(b"late".to_vec(), Source::new("d"), &limits).unwrap_err().kind(),
            katena_core::ErrorKind::Timeout
        );
        let limits = Limits::default().with_max_text_bytes(100);
        assert!(parse("word ".repeat(100).into_bytes(), Source::new("d"), &limits).is_err());
    }
}
