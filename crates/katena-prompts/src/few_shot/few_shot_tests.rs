use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use katena_core::{ChainExt as _, Context, EmbedRequest, EmbedResponse, Embedder, EmbedderInfo, Tokenizer};

use super::{ExampleSelector as _, FewShot, FixedExamples, SimilaritySelector};
use crate::{ChatPrompt, vars};

/// Gives fixed vectors by the first letter and counts the texts.
#[derive(Debug)]
struct Letters(EmbedderInfo, Arc<AtomicUsize>);

#[async_trait]
impl Embedder for Letters {
    fn info(&self) -> &EmbedderInfo {
        &self.0
    }
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        None
    }
    async fn embed(&self, request: &EmbedRequest) -> katena_core::Result<EmbedResponse> {
        self.1.fetch_add(request.texts.len(), Ordering::Relaxed);
        let vector = |t: &String| match t.chars().next() {
            Some('a') => vec![1.0, 0.0],
            Some('b') => vec![0.99, 0.141],
            Some('c') => vec![0.6, -0.8],
            _ => vec![1.0, 0.05],
        };
        Ok(EmbedResponse::new(request.texts.iter().map(vector).collect()))
    }
}

fn selector(count: &Arc<AtomicUsize>) -> SimilaritySelector {
    let examples = ["a", "b", "c"].map(|t| vars! { "q" => t, "other" => "x" });
    SimilaritySelector::new(examples, Letters(EmbedderInfo::new("letters", 2), count.clone()), 2)
        .with_keys(["q"])
}

#[test]
fn the_nearest_come_last_and_vectors_are_made_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let near = selector(&count);
    for _ in 0..2 {
        let chosen = near.select(&vars! { "q" => "z" }, &Context::new()).now_or_never().unwrap().unwrap();
        let chosen: Vec<_> = chosen.iter().filter_map(|v| v.text("q")).collect();
        assert_eq!(chosen, ["b", "a"]);
    }
    assert_eq!(count.load(Ordering::Relaxed), 3 + 2);
}

#[test]
fn mmr_prefers_variety() {
    let varied = selector(&Arc::default()).with_mmr(0.3, 3);
    let chosen = varied.select(&vars! { "q" => "z" }, &Context::new()).now_or_never().unwrap().unwrap();
    let chosen: Vec<_> = chosen.iter().filter_map(|v| v.text("q")).collect();
    assert_eq!(chosen, ["c", "a"]);
}

#[test]
fn examples_become_messages() {
    let example = ChatPrompt::builder().user("{q}").assistant("{a}").build().unwrap();
    let few = FewShot::chat("shots", example, FixedExamples::new([vars! { "q" => "1+1", "a" => 2 }]));
    let prompt = ChatPrompt::builder().placeholder("shots").user("{q}").build().unwrap();
    let request = few.then(prompt).run(vars! { "q" => "2+2" }).now_or_never().unwrap().unwrap();
    let texts: Vec<String> = request.messages.iter().map(|m| m.text()).collect();
    assert_eq!(texts, ["1+1", "2", "2+2"]);
}
