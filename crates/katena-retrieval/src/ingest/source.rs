//! One source: its documents gathered, hashed, and cut into named chunks.

use std::collections::HashMap;

use katena_core::{Document, Embedder, Error, ErrorKind, Result, Source, TextSplitter};

use super::LongChunks;

/// Changes whenever the same documents would be cut or named otherwise, so that everything is ingested again.
const SCHEME: &str = "katena-chunks-1";

/// The documents of one address, as the loader gave them one after another.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) source: Source,
    pub(super) parts: Vec<Document>,
    pub(super) error: Option<Error>,
}

/// Hashes that feed on length-prefixed fields, so that no two different inputs look alike.
struct Fields(blake3::Hasher);

impl Fields {
    fn new() -> Self {
        Self(blake3::Hasher::new())
    }
    fn add(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        self
    }
    /// The first 128 bits, in hexadecimal.
    fn finish(&self) -> String {
        self.0.finalize().to_hex()[..32].to_owned()
    }
}

/// Names content and way of cutting: the same hash means that nothing is to be done.
pub(super) fn hash(parts: &[Document], splitter: &dyn TextSplitter) -> Result<String> {
    let mut fields = Fields::new();
    fields.add(SCHEME.as_bytes()).add(splitter.fingerprint().as_bytes());
    for part in parts {
        let rest = serde_json::to_vec(&(&part.metadata, &part.source, &part.anchors))
            .map_err(|e| Error::invalid_input("the document's metadata cannot be written").with_source(e))?;
        fields.add(part.text.as_bytes()).add(&rest);
    }
    Ok(fields.finish())
}

/// Cuts the documents and names the chunks: a hash of address, text and occurrence, so that the same content gets the
/// same id wherever in the source it has moved to.
pub(super) fn cut(
    uri: &str,
    parts: &[Document],
    splitter: &dyn TextSplitter,
    embedder: &dyn Embedder,
    long_chunks: LongChunks,
    titles: bool,
) -> Result<Vec<Document>> {
    let limit = match long_chunks {
        LongChunks::Refuse => embedder.info().max_tokens.zip(embedder.tokenizer()),
        LongChunks::LeaveToEmbedder => None,
    };
    let mut seen: HashMap<blake3::Hash, u32> = HashMap::new();
    let mut chunks = Vec::new();
    for part in parts {
        let locator = part.locator();
        let title = titles.then(|| title(&part.source)).filter(|t| !t.is_empty());
        let above = title.as_ref().map_or(0, String::len);
        for piece in splitter.split(&part.text)? {
            let source = locator.source(piece.span());
            if let Some((most, tokenizer)) = &limit {
                // A token is at least one byte; most chunks need no counting.
                if above + piece.text.len() > *most {
                    let above = title.as_ref().map_or(0, |t| tokenizer.count(t));
                    let tokens = above + tokenizer.count(piece.text);
                    if tokens > *most {
                        return Err(too_long(&source, tokens, *most));
                    }
                }
            }
            let occurrence = seen.entry(blake3::hash(piece.text.as_bytes())).or_default();
            let mut fields = Fields::new();
            fields.add(uri.as_bytes()).add(piece.text.as_bytes()).add(&occurrence.to_le_bytes());
            if let Some(title) = &title {
                fields.add(title.as_bytes());
            }
            *occurrence += 1;
            let mut chunk = Document::new(piece.text, source).with_id(fields.finish());
            chunk.metadata.clone_from(&part.metadata);
            chunks.push(chunk);
        }
    }
    Ok(chunks)
}

/// What a document is about, in few words: its title, or its file's name as words.
fn title(source: &Source) -> String {
    const LONGEST: usize = 80;
    let name = match source.title.as_deref().map(str::trim).filter(|t| !t.is_empty()) {
        Some(title) => title.to_owned(),
        None => {
            let file = source.uri.rsplit(['/', '\\']).next().unwrap_or_default();
            let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
            stem.replace(['-', '_'], " ")
        }
    };
    name.chars().take(LONGEST).collect()
}

/// The text that is embedded for a chunk.
pub(super) fn embedded(chunk: &Document, titles: bool) -> String {
    if titles {
        let title = title(&chunk.source);
        if !title.is_empty() {
            return format!("{title}\n{}", chunk.text);
        }
    }
    chunk.text.clone()
}

fn too_long(source: &Source, tokens: usize, most: usize) -> Error {
    Error::new(
        ErrorKind::ContextTooLong,
        format!(
            "a chunk of {tokens} tokens is longer than the {most} that the embedder reads; split smaller"
        ),
    )
    .with_context("chunk", source.to_string())
}
