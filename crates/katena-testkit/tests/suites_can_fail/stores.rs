//! Stores, histories and records with faults.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use katena_core::fake::{InMemoryHistory, InMemoryRecords};
use katena_core::*;

use super::caught;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    FilterAfterSearch,
    NoMinScore,
    WorstFirst,
    EuclideanSquared,
    WritesBeforeItFails,
    FirstWins,
    OneNamespace,
    NoSource,
    TakesNan,
    TakesNamelessRecords,
    LoosesOldFilters,
    ExactContains,
    WildcardContains,
    KeepsDimension,
    IgnoresCancel,
    IgnoresText,
    LostUpdate,
    TopKPlusOne,
    GetInStoredOrder,
    AppendsOnly,
    CountsTooMany,
    FoldsCase,
    FewPerRequest,
    GhostRecord,
    SubstringWords,
    ChokesOnQuotes,
}
use Fault::*;

type Space = BTreeMap<String, Record>;

/// A plain exact store with words, and one fault.
#[derive(Debug)]
struct Store {
    info: StoreInfo,
    fault: Fault,
    spaces: Mutex<BTreeMap<String, (usize, Space)>>,
}

fn store_with(fault: Fault, metric: Metric) -> Store {
    let can = if fault == IgnoresText {
        StoreCapabilities::none()
    } else {
        StoreCapabilities::none().with_lexical()
    };
    let info = StoreInfo::new("test", metric).with_capabilities(can);
    Store { info, fault, spaces: Mutex::default() }
}

fn store(fault: Fault) -> Store {
    store_with(fault, Metric::Cosine)
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

impl Store {
    fn spaces(&self) -> MutexGuard<'_, BTreeMap<String, (usize, Space)>> {
        self.spaces.lock().unwrap()
    }

    fn space(&self, namespace: &str) -> String {
        if self.fault == OneNamespace { String::new() } else { namespace.to_owned() }
    }

    fn check(&self, context: &Context) -> Result<()> {
        if self.fault == IgnoresCancel { Ok(()) } else { context.check() }
    }

    fn fits(&self, filter: &Filter, metadata: &Metadata) -> bool {
        match (self.fault, filter) {
            (ExactContains, Filter::Contains(key, value)) => {
                Filter::eq(key.clone(), value.clone()).matches(metadata)
            }
            (WildcardContains, Filter::Contains(key, value)) if value == "%" => metadata.contains_key(key),
            (WildcardContains, Filter::Eq(key, value)) if *value == "*" => metadata.contains_key(key),
            (LoosesOldFilters, _) => true,
            _ => filter.matches(metadata),
        }
    }

    fn score(&self, a: &[f32], b: &[f32]) -> f32 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let squared = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>();
        match self.info.metric {
            Metric::Dot => dot(a, b),
            Metric::Euclidean if self.fault == EuclideanSquared => -squared,
            Metric::Euclidean => -squared.sqrt(),
            _ => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        }
    }
}

#[async_trait]
impl VectorStore for Store {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn records(&self) -> Option<std::sync::Arc<dyn RecordStore>> {
        Option::None
    }

    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        self.check(&request.context)?;
        let mut spaces = self.spaces();
        let (mut dims, mut space) = spaces.get(&self.space(&request.namespace)).cloned().unwrap_or_default();
        let taken = if self.fault == FewPerRequest { 100 } else { usize::MAX };
        for mut record in request.records.into_iter().take(taken) {
            let known = if space.is_empty() && self.fault != KeepsDimension { 0 } else { dims };
            let finite = record.vector.iter().all(|x| x.is_finite()) || self.fault == TakesNan;
            let named = !record.document.id.is_empty() || self.fault == TakesNamelessRecords;
            if !finite || !named || record.vector.is_empty() || (known != 0 && known != record.vector.len()) {
                if self.fault == WritesBeforeItFails {
                    spaces.insert(self.space(&request.namespace), (dims, space));
                }
                return Err(Error::invalid_input("a bad record"));
            }
            dims = record.vector.len();
            if self.fault == NoSource {
                record.document.source = Source::new(record.document.source.uri.clone());
            }
            let mut id = record.document.id.clone();
            if self.fault == FoldsCase {
                id = id.trim().to_lowercase();
            }
            if self.fault == AppendsOnly && space.contains_key(&id) {
                id = format!("{id}+{}", space.len());
            }
            if !(self.fault == FirstWins && space.contains_key(&id)) {
                space.insert(id, record);
            }
        }
        if self.fault == LostUpdate {
            drop(spaces);
            std::thread::sleep(std::time::Duration::from_millis(2));
            spaces = self.spaces();
        }
        spaces.insert(self.space(&request.namespace), (dims, space));
        Ok(())
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        self.check(&query.context)?;
        if query.text.is_some() && !self.info.capabilities.lexical && self.fault != IgnoresText {
            return Err(Error::unsupported("no search by words"));
        }
        let spaces = self.spaces();
        let (dims, space) = spaces.get(&self.space(&query.namespace)).cloned().unwrap_or_default();
        let fits = |r: &&Record| query.filter.as_ref().is_none_or(|f| self.fits(f, &r.document.metadata));
        let mut hits: Vec<Scored<Document>> = Vec::new();
        if let Some(vector) = &query.vector {
            let finite = vector.iter().all(|x| x.is_finite());
            if !finite || (!space.is_empty() && vector.len() != dims) {
                return Err(Error::invalid_input("a bad query vector"));
            }
            let early = self.fault != FilterAfterSearch;
            for record in space.values().filter(|r| !early || fits(r)) {
                hits.push(Scored::new(record.document.clone(), self.score(vector, &record.vector)));
            }
        } else if let Some(text) = &query.text {
            if self.fault == ChokesOnQuotes && text.contains('"') {
                return Err(Error::invalid_input("a syntax error"));
            }
            let wanted = words(text);
            for record in space.values().filter(fits) {
                let own = words(&record.document.text);
                let holds = |w: &String| {
                    if self.fault == SubstringWords { own[0].contains(w) } else { own.contains(w) }
                };
                let score: f32 = wanted
                    .iter()
                    .filter(|w| holds(w))
                    .map(|w| {
                        let df = space.values().filter(|r| words(&r.document.text).contains(w)).count();
                        (own.iter().filter(|o| *o == w).count() as f32 / own.len() as f32) / df as f32
                    })
                    .sum();
                if score > 0.0 {
                    hits.push(Scored::new(record.document.clone(), score));
                }
            }
        } else {
            return Err(Error::invalid_input("neither vector nor text"));
        }
        if self.fault == GhostRecord {
            hits.push(Scored::new(Document::new("ghost", Source::new("ghost")).with_id("ghost"), -9.0));
        }
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        if self.fault == WorstFirst {
            hits.reverse();
        }
        hits.retain(|h| self.fault == NoMinScore || query.min_score.is_none_or(|m| h.score >= m));
        hits.truncate(query.top_k + usize::from(self.fault == TopKPlusOne));
        if let (FilterAfterSearch, Some(filter)) = (self.fault, &query.filter) {
            hits.retain(|h| filter.matches(&h.item.metadata));
        }
        Ok(hits)
    }

    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        self.check(&request.context)?;
        let spaces = self.spaces();
        let Some((_, space)) = spaces.get(&self.space(&request.namespace)) else { return Ok(Vec::new()) };
        if self.fault == GetInStoredOrder {
            return Ok(space.values().filter(|r| request.ids.contains(&r.document.id)).cloned().collect());
        }
        Ok(request.ids.iter().filter_map(|id| space.get(id).cloned()).collect())
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        self.check(&request.context)?;
        let mut spaces = self.spaces();
        let Some((_, space)) = spaces.get_mut(&self.space(&request.namespace)) else { return Ok(0) };
        let before = space.len();
        space.retain(|id, record| match &request.selector {
            Selector::Ids(ids) => !ids.contains(id),
            Selector::Filter(filter) => !self.fits(filter, &record.document.metadata),
            _ => false,
        });
        Ok((before - space.len()) as u64)
    }

    async fn count(&self, request: &CountRequest) -> Result<u64> {
        self.check(&request.context)?;
        let spaces = self.spaces();
        let Some((_, space)) = spaces.get(&self.space(&request.namespace)) else { return Ok(0) };
        let fits = |r: &&Record| request.filter.as_ref().is_none_or(|f| self.fits(f, &r.document.metadata));
        Ok(space.values().filter(fits).count() as u64 + u64::from(self.fault == CountsTooMany))
    }
}

katena_testkit::vector_store_contract!(right_store, async { store(None) });
katena_testkit::vector_store_contract!(right_dot_store, async {
    Ok::<_, Error>(store_with(None, Metric::Dot))
});
katena_testkit::vector_store_contract!(right_euclidean_store, async {
    Some((store_with(None, Metric::Euclidean), "something that is kept until the test is over"))
});
katena_testkit::vector_store_contract!(skipped_store, async { Option::<Store>::None });

caught! {
    a_store_with_a_ghost: vector_store::top_k_is_kept(store(GhostRecord));
    a_store_that_counts_too_many: vector_store::upsert_is_idempotent(store(CountsTooMany));
    a_store_without_sources: vector_store::upsert_then_get(store(NoSource));
    a_store_that_gets_in_its_own_order: vector_store::get_skips_missing(store(GetInStoredOrder));
    a_store_that_only_appends: vector_store::upsert_overwrites(store(AppendsOnly));
    a_store_that_keeps_the_first: vector_store::last_of_equal_ids_wins(store(FirstWins));
    a_store_that_gives_the_worst: vector_store::search_finds_the_nearest(store(WorstFirst));
    a_store_of_squared_distances:
        vector_store::search_finds_the_nearest(store_with(EuclideanSquared, Metric::Euclidean));
    a_store_that_gives_one_more: vector_store::top_k_is_kept(store(TopKPlusOne));
    a_store_that_filters_afterwards: vector_store::top_k_is_kept(store(FilterAfterSearch));
    a_store_without_min_score: vector_store::min_score_cuts(store(NoMinScore));
    a_store_that_ignores_filters: vector_store::filters_mean_the_same(store(LoosesOldFilters));
    a_store_that_compares_whole_lists: vector_store::filters_mean_the_same(store(ExactContains));
    a_store_with_wildcards: vector_store::hostile_filter_values_are_data(store(WildcardContains));
    a_store_that_deletes_everything: vector_store::delete_by_filter(store(LoosesOldFilters));
    a_store_of_one_namespace: vector_store::namespaces_are_apart(store(OneNamespace));
    a_store_that_writes_before_it_fails: vector_store::wrong_dimensions_are_invalid(store(WritesBeforeItFails));
    a_store_that_keeps_its_dimension: vector_store::delete_all_frees_the_dimension(store(KeepsDimension));
    a_store_that_takes_nan: vector_store::not_finite_is_invalid(store(TakesNan));
    a_store_of_nameless_records: vector_store::empty_id_is_invalid(store(TakesNamelessRecords));
    a_store_that_ignores_text: vector_store::query_needs_vector_or_text(store(IgnoresText));
    a_store_of_small_batches: vector_store::large_batches_work(store(FewPerRequest));
    a_store_that_loses_updates: vector_store::concurrent_writers_lose_nothing(store(LostUpdate));
    a_store_that_folds_case: vector_store::unicode_survives(store(FoldsCase));
    a_store_that_ignores_words: vector_store::lexical_finds_words(store(SubstringWords));
    a_store_that_chokes_on_quotes: vector_store::lexical_query_is_data(store(ChokesOnQuotes));
    a_store_that_ignores_cancel: vector_store::cancelled_before_the_call(store(IgnoresCancel));
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Slip {
    ReplaceAppends,
    FoldsSessions,
    OneByOne,
    NewestFirst,
    KeepsText,
    NeverForgets,
    OneSpace,
    Unsorted,
    CountsOneMore,
    ListsEmpty,
}
use Slip::*;

/// A history with one fault.
#[derive(Debug)]
struct History(InMemoryHistory, Slip);

fn history(slip: Slip) -> History {
    History(InMemoryHistory::new(), slip)
}

impl History {
    fn session(&self, session: &str) -> String {
        if self.1 == FoldsSessions { session.trim().to_lowercase() } else { session.to_owned() }
    }
}

#[async_trait]
impl ChatHistory for History {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        let mut messages = self.0.messages(&self.session(session)).await?;
        if self.1 == NewestFirst {
            messages.reverse();
        }
        Ok(messages)
    }
    async fn append(&self, session: &str, mut messages: Vec<Message>) -> Result<()> {
        if self.1 == KeepsText {
            for message in &mut messages {
                message.parts.retain(|p| p.kind() == PartKind::Text);
            }
        }
        if self.1 != OneByOne {
            return self.0.append(&self.session(session), messages).await;
        }
        for message in messages {
            self.0.append(session, vec![message]).await?;
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    }
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        if self.1 == ReplaceAppends {
            return self.0.append(session, messages).await;
        }
        self.0.replace(&self.session(session), messages).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        if self.1 == NeverForgets { Ok(()) } else { self.0.clear(&self.session(session)).await }
    }
    async fn count(&self, session: &str) -> Result<usize> {
        Ok(self.0.count(session).await? + usize::from(self.1 == CountsOneMore))
    }
    async fn range(&self, session: &str, range: std::ops::Range<usize>) -> Result<Vec<Message>> {
        let end = if self.1 == OneByOne { range.end.saturating_add(1) } else { range.end };
        self.0.range(session, range.start..end).await
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let mut names = self.0.sessions(after, limit).await?;
        match self.1 {
            Unsorted => names.reverse(),
            ListsEmpty if after.is_none() => names.push("ghost".to_owned()),
            FoldsSessions => names = self.0.sessions(Option::None, limit).await?,
            _ => {}
        }
        Ok(names)
    }
}

caught! {
    a_history_that_miscounts: chat_history::count_and_range_agree(history(CountsOneMore));
    a_history_of_longer_ranges: chat_history::count_and_range_agree(history(OneByOne));
    a_history_that_lists_backwards: chat_history::sessions_are_listed(history(Unsorted));
    a_history_that_lists_ghosts: chat_history::sessions_are_listed(history(ListsEmpty));
    a_history_without_pages: chat_history::sessions_are_listed(history(FoldsSessions));
    a_history_of_newest_first: chat_history::append_keeps_order(history(NewestFirst));
    a_history_of_text_alone: chat_history::append_keeps_order(history(KeepsText));
    a_history_that_folds_sessions: chat_history::sessions_are_apart(history(FoldsSessions));
    a_history_that_never_replaces: chat_history::replace_is_whole(history(ReplaceAppends));
    a_history_that_never_forgets: chat_history::clear_forgets(history(NeverForgets));
    a_history_that_appends_one_by_one: chat_history::concurrent_appends_lose_nothing(history(OneByOne));
    a_history_that_folds_names: chat_history::sessions_are_apart(history(FoldsSessions));
}

/// Records with one fault.
#[derive(Debug)]
struct Records(InMemoryRecords, Slip);

fn records(slip: Slip) -> Records {
    Records(InMemoryRecords::new(), slip)
}

impl Records {
    fn space<'n>(&self, namespace: &'n str) -> &'n str {
        if self.1 == OneSpace { "" } else { namespace }
    }
}

#[async_trait]
impl RecordStore for Records {
    async fn get(&self, namespace: &str, uri: &str) -> Result<Option<SourceRecord>> {
        self.0.get(self.space(namespace), uri).await
    }
    async fn put(&self, namespace: &str, record: SourceRecord) -> Result<()> {
        let space = self.space(namespace);
        if self.1 == KeepsText && self.0.get(space, &record.uri).await?.is_some() {
            return Ok(());
        }
        self.0.put(space, record).await
    }
    async fn remove(&self, namespace: &str, uri: &str) -> Result<()> {
        if self.1 == NeverForgets { Ok(()) } else { self.0.remove(self.space(namespace), uri).await }
    }
    async fn uris(&self, namespace: &str, scope: Option<&str>) -> Result<Vec<String>> {
        let mut uris = self.0.uris(self.space(namespace), scope).await?;
        if self.1 == Unsorted {
            uris.sort_by_key(|u| u.to_lowercase());
        }
        Ok(uris)
    }
    async fn fact(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        Ok(self.0.fact(self.space(namespace), name).await?.filter(|f| self.1 != KeepsText || !f.is_empty()))
    }
    async fn set_fact(&self, namespace: &str, name: &str, value: &str) -> Result<()> {
        self.0.set_fact(self.space(namespace), name, value).await
    }
    async fn clear(&self, namespace: &str) -> Result<()> {
        if self.1 == NeverForgets { Ok(()) } else { self.0.clear(self.space(namespace)).await }
    }
}

caught! {
    records_that_are_not_replaced: record_store::put_then_get(records(KeepsText));
    records_that_stay: record_store::remove_is_final(records(NeverForgets));
    records_out_of_order: record_store::uris_by_scope(records(Unsorted));
    records_of_one_namespace: record_store::namespaces_are_apart(records(OneSpace));
    records_without_empty_facts: record_store::facts_are_kept(records(KeepsText));
    records_that_are_never_cleared: record_store::clear_forgets_all(records(NeverForgets));
}
