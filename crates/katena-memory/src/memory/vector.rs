//! Older turns that are like the new one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use katena_core::{
    ChatHistory, Context, DeleteRequest, Document, EmbedRequest, Embedder, EmbedderExt as _, Error,
    GetRequest, Memory, Message, RecallRequest, Record, RecordRequest, Result, Selector, Source,
    UpsertRequest, VectorQuery, VectorStore,
};

use super::plain::window;
use super::turns::{starts, transcript, whole};

const DEFAULT_TURNS: usize = 2;
const BATCH: usize = 64;
/// What is embedded of one message; embedders read no more.
const MESSAGE_CHARS: usize = 4_000;
/// Sessions whose place is kept; past that, places are found again by asking the store.
const MAX_PLACES: usize = 10_000;
const FIRST: &str = "first";
const LENGTH: &str = "length";

/// Recalls the turns that are most like the new one, by an embedder and a vector store, and the last ones as they were said;
/// all in the order in which they were said.
///
/// The turns themselves stay in the history. The store holds for each turn its vector and place, in the namespace
/// `memory:` + session; what the history does not have any more, in these words, is not recalled. A turn that was recorded
/// while the store or the embedder failed is put in by the next record.
///
/// ```
/// # // A vector store is a crate of its own; the guide shows one.
/// use katena_core::{Embedder, VectorStore, fake::HashEmbedder};
/// use katena_memory::{MemoryHistory, VectorMemory};
/// fn remember(store: impl VectorStore + 'static) -> VectorMemory {
///     VectorMemory::new(MemoryHistory::new(), HashEmbedder::new(64), store, 3).with_turns(2)
/// }
/// ```
#[derive(Clone)]
pub struct VectorMemory {
    history: Arc<dyn ChatHistory>,
    embedder: Arc<dyn Embedder>,
    store: Arc<dyn VectorStore>,
    top_k: usize,
    min_score: Option<f32>,
    turns: usize,
    is_beside: bool,
    /// Where the last turn begins that is in the store.
    places: Arc<Mutex<HashMap<String, usize>>>,
}

impl fmt::Debug for VectorMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorMemory")
            .field("history", &self.history)
            .field("embedder", &self.embedder.info().model)
            .field("store", &self.store.info().engine)
            .field("top_k", &self.top_k)
            .finish_non_exhaustive()
    }
}

/// A turn as it is put into the store.
struct Placed {
    first: usize,
    length: usize,
    text: String,
}

impl VectorMemory {
    /// Up to `top_k` like turns, and the last two.
    pub fn new(
        history: impl ChatHistory + 'static,
        embedder: impl Embedder + 'static,
        store: impl VectorStore + 'static,
        top_k: usize,
    ) -> Self {
        Self {
            history: Arc::new(history),
            embedder: Arc::new(embedder),
            store: Arc::new(store),
            top_k,
            min_score: None,
            turns: DEFAULT_TURNS,
            is_beside: false,
            places: Arc::default(),
        }
    }

    /// Recalls so many of the last turns as well.
    pub fn with_turns(mut self, turns: usize) -> Self {
        self.turns = turns;
        self
    }

    /// Leaves out turns that are less alike; the score's range is the store's.
    pub fn with_min_score(mut self, score: f32) -> Self {
        self.min_score = Some(score);
        self
    }

    /// Recalls like turns alone and records no turns: another memory over the same history does, see
    /// [`CombinedMemory`](crate::CombinedMemory).
    pub fn beside(mut self) -> Self {
        self.is_beside = true;
        self.turns = 0;
        self
    }

    /// Puts the turns into the store that are not in it yet; gives their number.
    ///
    /// # Errors
    /// Those of the history, the embedder and the store.
    pub async fn index(&self, session: &str, context: &Context) -> Result<usize> {
        let end = self.history.count(session).await?;
        let from = self.place(session).filter(|p| *p < end).unwrap_or(0);
        let messages = self.history.range(session, from..usize::MAX).await?;
        let borders = starts(&messages, true);
        let ends = borders.iter().skip(1).copied().chain([messages.len()]);
        let turns: Vec<Placed> = borders
            .iter()
            .zip(ends)
            .map(|(start, end)| Placed {
                first: from + start,
                length: end - start,
                text: transcript(&messages[*start..end], MESSAGE_CHARS),
            })
            .collect();
        let mut added = 0;
        for batch in turns.chunks(BATCH) {
            added += self.put(session, batch, context).await?;
        }
        if let Some(last) = turns.last() {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            if places.len() >= MAX_PLACES {
                places.clear();
            }
            places.insert(session.to_owned(), last.first);
        }
        Ok(added)
    }

    fn place(&self, session: &str) -> Option<usize> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).get(session).copied()
    }

    async fn put(&self, session: &str, turns: &[Placed], context: &Context) -> Result<usize> {
        let namespace = namespace(session);
        let ids = GetRequest::new(turns.iter().map(|t| t.first.to_string()));
        let there = self.store.get(&ids.with_namespace(&namespace).with_context(context.clone())).await?;
        let there: HashMap<&str, &Document> =
            there.iter().map(|r| (r.document.id.as_str(), &r.document)).collect();
        let is_new = |t: &&Placed| {
            let same = |d: &&Document| d.text == t.text && number(d, LENGTH) == Some(t.length);
            !there.get(t.first.to_string().as_str()).is_some_and(same)
        };
        let new: Vec<&Placed> = turns.iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(0);
        }
        let request =
            EmbedRequest::documents(new.iter().map(|t| t.text.clone())).with_context(context.clone());
        let vectors = self.embedder.embed(&request).await?.vectors;
        if vectors.len() != new.len() {
            return Err(Error::invalid_output("the embedder did not give one vector for each text"));
        }
        let record = |(turn, vector): (&&Placed, Vec<f32>)| {
            let mut document =
                Document::new(turn.text.clone(), Source::new(&namespace)).with_id(turn.first.to_string());
            document.metadata.insert(FIRST.to_owned(), turn.first.into());
            document.metadata.insert(LENGTH.to_owned(), turn.length.into());
            Record::new(document, vector)
        };
        let records: Vec<Record> = new.iter().zip(vectors).map(record).collect();
        let count = records.len();
        let request = UpsertRequest::new(records).with_namespace(&namespace).with_context(context.clone());
        self.store.upsert(request).await?;
        Ok(count)
    }

    /// The turns like `text` that begin before `end`: places and messages.
    async fn like(
        &self,
        request: &RecallRequest,
        text: &str,
        end: usize,
    ) -> Result<Vec<(usize, Vec<Message>)>> {
        let vector = self.embedder.embed_query(text, &request.context).await?;
        // The last turns are in the store too, and may be the most alike.
        let mut query = VectorQuery::nearest(vector, self.top_k.saturating_add(self.turns))
            .with_namespace(namespace(&request.session))
            .with_context(request.context.clone());
        query.min_score = self.min_score;
        let mut found = Vec::new();
        for hit in self.store.search(&query).await? {
            let (Some(first), Some(length)) = (number(&hit.item, FIRST), number(&hit.item, LENGTH)) else {
                continue;
            };
            if first >= end || found.len() >= self.top_k {
                continue;
            }
            let turn = self.history.range(&request.session, first..first.saturating_add(length)).await?;
            // The conversation may have been replaced or cleared without this memory.
            if transcript(&turn, MESSAGE_CHARS) == hit.item.text {
                found.push((first, turn));
            }
        }
        found.sort_by_key(|(first, _)| *first);
        Ok(found)
    }
}

fn number(document: &Document, name: &str) -> Option<usize> {
    document.metadata.get(name)?.as_u64().and_then(|n| usize::try_from(n).ok())
}

fn namespace(session: &str) -> String {
    format!("memory:{session}")
}

#[async_trait]
impl Memory for VectorMemory {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        request.context.check()?;
        let (end, last) = window(&*self.history, &request.session, self.turns).await?;
        let text = transcript(&request.input, MESSAGE_CHARS);
        let like = if text.trim().is_empty() || end == 0 || self.top_k == 0 {
            Vec::new()
        } else {
            self.like(request, &text, end).await?
        };
        let recalled = like.into_iter().flat_map(|(_, turn)| turn).chain(last).collect();
        Ok(whole(recalled, &request.input))
    }

    async fn record(&self, request: RecordRequest) -> Result<()> {
        if !self.is_beside {
            self.history.append(&request.session, request.messages).await?;
        }
        self.index(&request.session, &request.context).await.map(drop)
    }

    async fn clear(&self, session: &str) -> Result<()> {
        if !self.is_beside {
            self.history.clear(session).await?;
        }
        self.places.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
        let all = DeleteRequest::new(Selector::All).with_namespace(namespace(session));
        self.store.delete(&all).await.map(drop)
    }
}
