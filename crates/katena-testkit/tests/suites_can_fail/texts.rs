//! Splitters, tokenizers, loaders, retrievers, rerankers and memories with faults.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use katena_core::*;
use katena_testkit::document_loader::LoaderExpectations;
use katena_testkit::text_splitter::SplitterLimit;

use super::caught;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Slip {
    None,
    OffsetsInChars,
    LosesTheEnd,
    BlankChunks,
    OneTooLong,
    Backwards,
    Moody,
    FailsOnNul,
    NewPrint,
    Quadratic,
}
use Slip::*;

/// Cuts words together up to ten characters, with one fault.
#[derive(Debug)]
struct Words(Slip, AtomicUsize);

fn words(slip: Slip) -> Words {
    Words(slip, AtomicUsize::new(0))
}

const LIMIT: usize = 10;

impl TextSplitter for Words {
    fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
        if self.0 == FailsOnNul && text.contains('\0') {
            return Err(Error::invalid_input("NUL"));
        }
        if self.0 == Quadratic && text.len() > 1_000_000 {
            return Err(Error::invalid_input("too long"));
        }
        let calls = self.1.fetch_add(1, Ordering::SeqCst);
        let limit = LIMIT + usize::from(self.0 == OneTooLong) + if self.0 == Moody { calls % 2 } else { 0 };
        let mut chunks = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let end = text[start..].char_indices().nth(limit).map_or(text.len(), |(n, _)| start + n);
            let piece = &text[start..end];
            let offset = start + piece.len() - piece.trim_start().len();
            if !piece.trim().is_empty() {
                chunks.push(Chunk { text: piece.trim(), offset });
            } else if self.0 == BlankChunks {
                chunks.push(Chunk { text: piece, offset: start });
            }
            start = end;
        }
        match self.0 {
            OffsetsInChars => {
                for chunk in &mut chunks {
                    chunk.offset = text[..chunk.offset].chars().count() + chunk.offset % 2;
                }
            }
            LosesTheEnd => drop(chunks.pop()),
            Backwards => chunks.reverse(),
            _ => {}
        }
        Ok(chunks)
    }

    fn fingerprint(&self) -> String {
        format!("words/{}", if self.0 == NewPrint { self.1.fetch_add(1, Ordering::SeqCst) } else { 0 })
    }
}

katena_testkit::text_splitter_contract!(right_splitter, async { words(None) }, SplitterLimit::chars(LIMIT));
katena_testkit::text_splitter_contract!(splitter_of_no_limit, async { words(None) });

caught! {
    a_splitter_that_counts_chars: text_splitter::slices_with_offsets(words(OffsetsInChars));
    a_splitter_that_goes_backwards: text_splitter::in_order(words(Backwards));
    a_splitter_that_loses_the_end: text_splitter::nothing_is_lost(words(LosesTheEnd));
    a_splitter_with_blank_chunks: text_splitter::no_empty_chunks(words(BlankChunks));
    a_splitter_that_is_one_over: text_splitter::limit_is_kept(words(OneTooLong), SplitterLimit::chars(LIMIT));
    a_moody_splitter: text_splitter::same_text_same_chunks(words(Moody));
    a_splitter_that_fails_on_nul: text_splitter::any_unicode(words(FailsOnNul));
    a_splitter_of_small_inputs: text_splitter::huge_inputs_end(words(Quadratic));
    a_splitter_of_new_names: text_splitter::fingerprint_tells_settings(words(NewPrint), words(NewPrint));
}

/// One token a word; with a fault, counts bytes or gives spans out of order.
#[derive(Debug)]
struct Spaces(Slip);

impl Tokenizer for Spaces {
    fn name(&self) -> &'static str {
        "spaces"
    }
    fn count(&self, text: &str) -> usize {
        if self.0 == LosesTheEnd { text.len().div_ceil(4) } else { self.encode(text).len() }
    }
    fn encode(&self, text: &str) -> Vec<Span> {
        let at = |w: &str| w.as_ptr() as usize - text.as_ptr() as usize;
        let mut spans: Vec<Span> = text.split_whitespace().map(|w| (at(w)..at(w) + w.len()).into()).collect();
        if self.0 == Backwards {
            spans.reverse();
        }
        if self.0 == OffsetsInChars {
            for span in &mut spans {
                span.end += 1;
            }
        }
        spans
    }
}

katena_testkit::tokenizer_contract!(right_tokenizer, async { Spaces(None) });

caught! {
    a_tokenizer_that_estimates: tokenizer::count_is_length_of_encode(Spaces(LosesTheEnd));
    a_tokenizer_that_goes_backwards: tokenizer::offsets_rise(Spaces(Backwards));
    a_tokenizer_that_leaves_the_text: tokenizer::offsets_rise(Spaces(OffsetsInChars));
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Load {
    Right,
    StopsAtErrors,
    NamelessErrors,
    Interleaved,
    Shuffled,
    NoText,
    LeavesATask,
    Misses,
}

/// Yields a fixed list, with one fault.
#[derive(Debug)]
struct Loader(Load, Mutex<usize>);

fn loader(fault: Load) -> Loader {
    Loader(fault, Mutex::new(0))
}

fn expected() -> LoaderExpectations {
    LoaderExpectations::new().with_good(["a.md", "d.pdf"]).with_bad(["b.md"])
}

impl DocumentLoader for Loader {
    fn load(&self) -> DocumentStream {
        let doc = |uri: &str, text: &str| Ok(Document::new(text, Source::new(format!("/tmp/x/{uri}"))));
        let error = Error::invalid_input("broken");
        let named = error.clone().with_context("uri", "/tmp/x/b.md");
        let mut items =
            vec![doc("a.md", "A."), Err(named), doc("c.md", "C."), doc("d.pdf", "1"), doc("d.pdf", "2")];
        match self.0 {
            Load::StopsAtErrors => items.truncate(2),
            Load::NamelessErrors => items[1] = Err(error),
            Load::Interleaved => items.swap(2, 3),
            Load::NoText => items[2] = doc("c.md", "  "),
            Load::Misses => items.truncate(3),
            Load::Shuffled => {
                let mut calls = self.1.lock().unwrap();
                *calls += 1;
                items.rotate_left(*calls % 2 * 2);
            }
            Load::LeavesATask => drop(tokio::spawn(std::future::pending::<()>())),
            Load::Right => {}
        }
        stream::iter(items).boxed()
    }
}

katena_testkit::document_loader_contract!(right_loader, async { loader(Load::Right) }, expected());

caught! {
    a_loader_that_misses_one: document_loader::loads_what_is_there(loader(Load::Misses), expected());
    a_loader_of_blank_texts: document_loader::loads_what_is_there(loader(Load::NoText), expected());
    a_loader_that_shuffles: document_loader::loading_twice_is_the_same(loader(Load::Shuffled), expected());
    a_loader_that_mixes: document_loader::parts_of_a_uri_come_together(loader(Load::Interleaved), expected());
    a_loader_of_nameless_errors: document_loader::errors_name_their_document(loader(Load::NamelessErrors), expected());
    a_loader_with_unexpected_errors:
        document_loader::errors_name_their_document(loader(Load::Right), LoaderExpectations::new());
    a_loader_that_stops: document_loader::errors_do_not_end_the_stream(
        loader(Load::StopsAtErrors), LoaderExpectations::new().with_good(["a.md"]).with_bad(["b.md"]));
    a_loader_that_goes_on: document_loader::dropping_early_is_fine(loader(Load::LeavesATask), expected());
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Find {
    Right,
    WorstFirst,
    NoTopK,
    NoFilter,
    Nameless,
    Moody,
    TakesBlank,
    NeverStops,
}

/// Counts common words, with one fault.
#[derive(Debug)]
struct Finder(Find, AtomicUsize);

fn finder(fault: Find) -> Finder {
    Finder(fault, AtomicUsize::new(0))
}

fn terms(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

fn ranked(query: &str, documents: Vec<Document>) -> Vec<Scored<Document>> {
    let query = terms(query);
    let score = |d: &Document| terms(&d.text).intersection(&query).count() as f32;
    let mut hits: Vec<_> = documents.into_iter().map(|d| Scored::new(d.clone(), score(&d))).collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits
}

#[async_trait]
impl Retriever for Finder {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        if self.0 != Find::NeverStops {
            query.context.check()?;
        }
        if query.text.trim().is_empty() && self.0 != Find::TakesBlank {
            return Err(Error::invalid_input("no words"));
        }
        let mut documents = katena_testkit::corpus();
        if self.0 != Find::NoFilter {
            documents.retain(|d| query.filter.as_ref().is_none_or(|f| f.matches(&d.metadata)));
        }
        let mut hits = ranked(&query.text, documents);
        hits.retain(|h| h.score > 0.0);
        hits.truncate(if self.0 == Find::NoTopK { 4 } else { query.top_k.unwrap_or(3) });
        match self.0 {
            Find::WorstFirst => hits.reverse(),
            Find::Nameless => hits.iter_mut().for_each(|h| h.item.id.clear()),
            Find::Moody => hits.truncate(self.1.fetch_add(1, Ordering::SeqCst) % 2),
            _ => {}
        }
        Ok(hits)
    }
}

#[async_trait]
impl Reranker for Finder {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let mut documents = request.documents;
        if self.0 == Find::Moody {
            documents.push(Document::new("new", Source::new("new")).with_id("new"));
        }
        let mut hits = ranked(&request.query, documents);
        if self.0 == Find::WorstFirst {
            hits.reverse();
        }
        if self.0 != Find::NoTopK {
            hits.truncate(request.top_k.unwrap_or(usize::MAX));
        }
        Ok(hits)
    }
}

katena_testkit::retriever_contract!(right_retriever, async { finder(Find::Right) });
katena_testkit::reranker_contract!(right_reranker, async { finder(Find::Right) });

caught! {
    a_retriever_that_gives_the_worst: retriever::best_first(finder(Find::WorstFirst));
    a_retriever_of_its_own_top_k: retriever::top_k_is_kept(finder(Find::NoTopK));
    a_retriever_without_filter: retriever::filter_holds(finder(Find::NoFilter));
    a_retriever_of_nameless_passages: retriever::sources_are_named(finder(Find::Nameless));
    a_moody_retriever: retriever::same_query_same_result(finder(Find::Moody));
    a_retriever_of_nothing: retriever::empty_query_is_invalid(finder(Find::TakesBlank));
    a_retriever_that_never_stops: retriever::cancelled_before_the_call(finder(Find::NeverStops));
    a_reranker_that_gives_the_worst: reranker::best_first(finder(Find::WorstFirst));
    a_reranker_without_top_k: reranker::top_k_is_kept(finder(Find::NoTopK));
    a_reranker_that_invents: reranker::no_documents_no_result(finder(Find::Moody));
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Keep {
    Turns,
    Messages,
    Everybody,
    Always,
}

/// Keeps the last two turns; with a fault, the last seven messages wherever they begin, or all sessions as one, or for ever.
#[derive(Debug)]
struct Window(Keep, Mutex<Vec<RecordRequest>>);

#[async_trait]
impl Memory for Window {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        let turns = self.1.lock().unwrap();
        let own: Vec<_> =
            turns.iter().filter(|t| self.0 == Keep::Everybody || t.session == request.session).collect();
        let messages =
            |turns: &[&RecordRequest]| turns.iter().flat_map(|t| t.messages.clone()).collect::<Vec<_>>();
        if self.0 == Keep::Messages {
            let all = messages(&own);
            return Ok(all[all.len().saturating_sub(7)..].to_vec());
        }
        Ok(messages(&own[own.len().saturating_sub(2)..]))
    }
    async fn record(&self, request: RecordRequest) -> Result<()> {
        self.1.lock().unwrap().push(request);
        Ok(())
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.1.lock().unwrap().retain(|t| self.0 == Keep::Always || t.session != session);
        Ok(())
    }
}

katena_testkit::memory_contract!(right_memory, async { Window(Keep::Turns, Mutex::default()) });

caught! {
    a_memory_that_cuts_turns: memory::tool_calls_are_never_orphaned(Window(Keep::Messages, Mutex::default()));
    a_memory_that_never_forgets: memory::clear_forgets(Window(Keep::Always, Mutex::default()));
    a_memory_of_everybody: memory::recalls_what_was_recorded(Window(Keep::Everybody, Mutex::default()));
}
