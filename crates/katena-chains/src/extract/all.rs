//! Every `T` of a long text.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, Error, Event, Result, Run, Span, TextSplitter};
use katena_prompts::Vars;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{FailedPiece, Pieces, harmless, piece_options, with_words};
use crate::combine::OnFailure;
use crate::llm::ask::Ask;

/// Most values of one piece, unless told otherwise.
const MOST: usize = 1_000;

/// A value and the pieces of the text that it was found in.
///
/// ```
/// use katena_chains::ExtractedItem;
/// use katena_core::Span;
/// let item = ExtractedItem::new("Bergen", Span { start: 0, end: 400 });
/// assert_eq!(item.found_in.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExtractedItem<T> {
    /// The value.
    pub value: T,
    /// Where the pieces stand in the text, in bytes; more than one only if doubles were merged.
    pub found_in: Vec<Span>,
}

impl<T> ExtractedItem<T> {
    /// A value that was found in one piece.
    pub fn new(value: T, found_in: Span) -> Self {
        Self { value, found_in: vec![found_in] }
    }
}

/// What was found in a text.
///
/// ```
/// use katena_chains::{Extracted, ExtractedItem};
/// use katena_core::Span;
/// let item = ExtractedItem::new("Bergen", Span { start: 0, end: 400 });
/// assert_eq!(Extracted::new(vec![item], 1).into_values(), ["Bergen"]);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Extracted<T> {
    /// The values, in the order of the text's pieces.
    pub items: Vec<ExtractedItem<T>>,
    /// Into how many pieces the text was cut.
    pub pieces: usize,
    /// Pieces that were skipped because their call failed.
    pub failed: Vec<FailedPiece>,
}

impl<T> Extracted<T> {
    /// What was found in a text that was read whole.
    pub fn new(items: Vec<ExtractedItem<T>>, pieces: usize) -> Self {
        Self { items, pieces, failed: Vec::new() }
    }

    /// The values alone.
    pub fn into_values(self) -> Vec<T> {
        self.items.into_iter().map(|item| item.value).collect()
    }

    /// The values alone, by reference.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|item| &item.value)
    }
}

/// Takes every `T` out of a text; a long one is cut by [a splitter](Self::with_splitter), and several pieces are read at once.
///
/// The values come in the order of the pieces. What stands on a border of two pieces, or in both (chunk overlap), is found
/// twice unless [doubles are merged](Self::without_doubles). Each piece is told as [`Event::Custom`] `piece` with `number`, `start`,
/// `end` and `items`. Made by [`Extract::all`](crate::Extract::all).
///
/// # Errors
/// As [`Extract`](crate::Extract); the context `piece` names the piece. `InvalidOutput` for more values than
/// [the limit](Self::with_limit).
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::Extract;
/// use katena_core::{ChainExt, fake::ScriptedChat};
/// #[derive(serde::Deserialize, schemars::JsonSchema, PartialEq)]
/// struct Port { name: String }
/// let model = ScriptedChat::texts([r#"{"value": [{"name": "Bergen"}, {"name": "Oslo"}, {"name": "Oslo"}]}"#]);
/// let ports = Extract::<Port>::new(model).all().without_doubles();
/// let found = ports.run("From Bergen to Oslo, and from Oslo on.").await?;
/// assert_eq!(found.into_values().len(), 2);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct ExtractAll<T> {
    ask: Ask,
    pieces: Pieces,
    same: Option<fn(&T, &T) -> bool>,
    limit: usize,
}

impl<T> Clone for ExtractAll<T> {
    fn clone(&self) -> Self {
        let Self { ask, pieces, same, limit } = self;
        Self { ask: ask.clone(), pieces: pieces.clone(), same: *same, limit: *limit }
    }
}

impl<T> fmt::Debug for ExtractAll<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractAll")
            .field("model", &self.ask.model.info().model)
            .field("pieces", &self.pieces)
            .field("merges", &self.same.is_some())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<T> ExtractAll<T> {
    pub(super) fn of(ask: Ask) -> Self {
        Self { ask, pieces: Pieces::default(), same: None, limit: MOST }
    }

    piece_options! {
        /// Cuts the text into pieces by this splitter. Without one the text is one piece.
    }

    /// Says what happens when the call over one piece fails (default: an error).
    pub fn with_on_failure(mut self, on_failure: OnFailure) -> Self {
        self.pieces.on_failure = on_failure;
        self
    }

    /// Takes at most so many values of one piece (default 1,000); more are an error.
    pub fn with_limit(mut self, values: usize) -> Self {
        self.limit = values;
        self
    }

    /// Keeps one of equal values, the first, with all the pieces that it was found in.
    pub fn without_doubles(mut self) -> Self
    where
        T: PartialEq,
    {
        self.same = Some(T::eq);
        self
    }

    fn add(&self, items: &mut Vec<ExtractedItem<T>>, value: T, span: Span) {
        let known = self.same.and_then(|same| items.iter_mut().find(|item| same(&item.value, &value)));
        match known {
            Some(item) if item.found_in.contains(&span) => {}
            Some(item) => item.found_in.push(span),
            None => items.push(ExtractedItem::new(value, span)),
        }
    }
}

#[async_trait]
impl<T: JsonSchema + DeserializeOwned + Send + 'static> Chain for ExtractAll<T> {
    type Input = String;
    type Output = Extracted<T>;

    async fn call(&self, text: String, run: &Run) -> Result<Extracted<T>> {
        with_words(&text)?;
        let pieces = self.pieces.cut(&text)?;
        let all = self
            .pieces
            .map(&pieces, run, |piece, step| {
                Box::pin(async move {
                    let vars = Vars::new().with("text", harmless(piece.text));
                    let values: Vec<T> = self.ask.typed(&vars, &step.quiet()).await?;
                    if values.len() > self.limit {
                        return Err(Error::invalid_output("the model gave more values than the limit")
                            .with_context("values", values.len().to_string()));
                    }
                    let katena_core::Span { start, end } = piece.span;
                    let value =
                        json!({"number": piece.number, "start": start, "end": end, "items": values.len()});
                    step.emit(Event::Custom { name: "piece".into(), value }).await;
                    Ok(values)
                })
            })
            .await?;
        let mut items = Vec::new();
        for (span, values) in all.done {
            for value in values {
                self.add(&mut items, value, span);
            }
        }
        let mut extracted = Extracted::new(items, pieces.len());
        extracted.failed = all.failed;
        Ok(extracted)
    }
}
