//! The sentences of the passages that speak most closely of the question: shown beside the answer, and all that a very small model is given.

use std::ops::Range;

use katena_core::{Context, Document, EmbedRequest, Embedder, EmbedderExt as _, Scored};

use crate::failure::Result;

/// A passage of at most so many bytes is given whole.
const SHORT: usize = 280;
/// A sentence of fewer words says too little to be quoted.
const WORDS: usize = 4;

/// The closest sentence of all passages, and the surroundings of the closest sentence of each.
#[derive(Debug)]
pub(crate) struct Focus {
    /// The passages, cut down to the closest sentence of each with its neighbours; sources are those of the whole passages.
    pub(crate) passages: Vec<Scored<Document>>,
    /// Number of the passage that holds the closest sentence, from 1, and that sentence.
    pub(crate) closest: Option<(usize, String)>,
}

/// Compares each sentence of the passages with the question.
pub(crate) async fn focus(
    embedder: &dyn Embedder,
    question: &str,
    passages: &[Scored<Document>],
    context: &Context,
) -> Result<Focus> {
    let asked = embedder.embed_query(question, context).await?;
    let sentences: Vec<(usize, Range<usize>)> = passages
        .iter()
        .enumerate()
        .flat_map(|(n, p)| sentences(&p.item.text).into_iter().map(move |span| (n, span)))
        .collect();
    let texts = sentences.iter().map(|(n, span)| &passages[*n].item.text[span.clone()]);
    let request = EmbedRequest::documents(texts).with_context(context.clone());
    let vectors = embedder.embed(&request).await?.vectors;
    let similarity: Vec<f32> =
        vectors.iter().map(|v| v.iter().zip(&asked).map(|(a, b)| a * b).sum()).collect();

    let mut cut: Vec<Scored<Document>> = passages.to_vec();
    let mut closest: Option<(f32, usize, String)> = None;
    for (n, passage) in cut.iter_mut().enumerate() {
        let own: Vec<usize> = (0..sentences.len()).filter(|i| sentences[*i].0 == n).collect();
        let quotable = own.iter().filter(|i| is_quotable(&passage.item.text[sentences[**i].1.clone()]));
        let Some(&best) = quotable.max_by(|a, b| similarity[**a].total_cmp(&similarity[**b])) else {
            continue;
        };
        let text = &passage.item.text;
        if closest.as_ref().is_none_or(|(s, ..)| similarity[best] > *s) {
            closest = Some((similarity[best], n + 1, text[sentences[best].1.clone()].trim().to_owned()));
        }
        if text.len() > SHORT {
            let before = if own.contains(&best.wrapping_sub(1)) { best - 1 } else { best };
            let after = if own.contains(&(best + 1)) { best + 1 } else { best };
            passage.item.text = text[sentences[before].1.start..sentences[after].1.end].trim().to_owned();
        }
    }
    Ok(Focus { passages: cut, closest: closest.map(|(_, n, text)| (n, text)) })
}

fn is_quotable(sentence: &str) -> bool {
    let sentence = sentence.trim();
    !sentence.starts_with('#') && sentence.split_whitespace().count() >= WORDS
}

/// Spans of the sentences and lines of a text, those without letters or digits left out.
fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    let mut last = ' ';
    for (at, c) in text.char_indices() {
        if c == '\n' || (c.is_whitespace() && matches!(last, '.' | '!' | '?')) {
            spans.push(start..at);
            start = at;
        }
        last = c;
    }
    spans.push(start..text.len());
    spans.retain(|s| text[s.clone()].contains(char::is_alphanumeric));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_core::Source;
    use katena_core::fake::HashEmbedder;

    #[test]
    fn sentences_are_found() {
        let text = "# Leave\nYou get 25.5 days. Ask Ann!\n\n- one";
        let found: Vec<_> = sentences(text).into_iter().map(|s| text[s].trim()).collect();
        assert_eq!(found, ["# Leave", "You get 25.5 days.", "Ask Ann!", "- one"]);
    }

    #[tokio::test]
    async fn the_closest_sentence_is_quoted_with_its_neighbours() {
        let long = "The van leaves at nine. ".repeat(10);
        let text = format!(
            "{long}Nobody is paid on Sundays. Salaries are paid on the 26th day. The end is near. {long}"
        );
        let passages = [
            Scored::new(Document::new("Vans are blue and white.", Source::new("a")), 0.9),
            Scored::new(Document::new(text, Source::new("b")), 0.8),
        ];
        let embedder = HashEmbedder::new(256);
        let focus =
            focus(&embedder, "On which day are salaries paid?", &passages, &Context::new()).await.unwrap();
        assert_eq!(focus.closest, Some((2, "Salaries are paid on the 26th day.".to_owned())));
        assert_eq!(focus.passages[0], passages[0], "a short passage stays whole");
        let cut = &focus.passages[1].item;
        assert_eq!(
            cut.text,
            "Nobody is paid on Sundays. Salaries are paid on the 26th day. The end is near."
        );
        assert_eq!(cut.source.uri, "b");
    }
}
