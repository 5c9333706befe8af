//! Models that judge whether content may be shown.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{MediaInfo, pointers_and_layers};
use crate::context::Context;
use crate::error::Result;
use crate::message::Part;

/// One call of a moderation model.
///
/// ```
/// use katena_core::ModerationRequest;
/// let request = ModerationRequest::texts(["first", "second"]);
/// assert_eq!(request.inputs.len(), 2);
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ModerationRequest {
    /// What to judge: each input is text, pictures, or both together.
    pub inputs: Vec<Vec<Part>>,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

impl fmt::Debug for ModerationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModerationRequest").field("inputs", &self.inputs.len()).finish_non_exhaustive()
    }
}

impl ModerationRequest {
    /// Judges each text by itself.
    pub fn texts<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        let inputs = texts.into_iter().map(|text| vec![Part::text(text)]).collect();
        Self { inputs, ..Self::default() }
    }

    /// Judges each list of parts as one.
    pub fn new(inputs: impl IntoIterator<Item = Vec<Part>>) -> Self {
        Self { inputs: inputs.into_iter().collect(), ..Self::default() }
    }

    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// How much an input belongs to a category.
///
/// ```
/// use katena_core::CategoryScore;
/// assert_eq!(CategoryScore::new(0.9).flagged().score, Some(0.9));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct CategoryScore {
    /// True if it does, in the model's opinion.
    pub flagged: bool,
    /// 0 to 1, higher is surer.
    pub score: Option<f32>,
}

impl CategoryScore {
    /// A score that raises no flag.
    pub fn new(score: f32) -> Self {
        Self { flagged: false, score: Some(score) }
    }

    /// Raises the flag.
    pub fn flagged(mut self) -> Self {
        self.flagged = true;
        self
    }
}

/// The judgement of one input.
///
/// ```
/// use katena_core::{CategoryScore, Moderation};
/// let bad = Moderation::new([("violence", CategoryScore::new(0.9).flagged())]);
/// assert!(bad.flagged);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Moderation {
    /// True if any category is.
    pub flagged: bool,
    /// The categories, by the vendor's names.
    pub categories: BTreeMap<String, CategoryScore>,
}

impl Moderation {
    /// A judgement by its categories.
    pub fn new<S: Into<String>>(categories: impl IntoIterator<Item = (S, CategoryScore)>) -> Self {
        let categories: BTreeMap<String, CategoryScore> =
            categories.into_iter().map(|(name, score)| (name.into(), score)).collect();
        Self { flagged: categories.values().any(|c| c.flagged), categories }
    }
}

/// The judgements, in the order of the inputs.
///
/// ```
/// use katena_core::{Moderation, ModerationResponse};
/// assert!(!ModerationResponse::new(vec![Moderation::default()]).any_flagged());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModerationResponse {
    /// One for each input.
    pub results: Vec<Moderation>,
    /// The model that judged, as the vendor names it.
    pub model: Option<String>,
    /// The vendor's id of the request.
    pub request_id: Option<String>,
}

impl ModerationResponse {
    /// These judgements.
    pub fn new(results: Vec<Moderation>) -> Self {
        Self { results, model: None, request_id: None }
    }

    /// True if any input is flagged.
    pub fn any_flagged(&self) -> bool {
        self.results.iter().any(|r| r.flagged)
    }
}

/// A model that judges texts and pictures.
///
/// There is one judgement for each input, in order; a request without inputs has none. What the model can't judge is
/// `Unsupported`, never passed as harmless; a cancelled context is `Cancelled`.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ModerationModel, ModerationRequest, fake::FakeModeration};
/// let model = FakeModeration::new(["rude"]);
/// let response = model.moderate(&ModerationRequest::texts(["How rude!", "Hello"])).await.unwrap();
/// assert!(response.results[0].flagged && !response.results[1].flagged);
/// # }).unwrap();
/// ```
#[async_trait]
pub trait ModerationModel: fmt::Debug + Send + Sync {
    /// Its names.
    fn info(&self) -> &MediaInfo;

    /// Judges each input.
    async fn moderate(&self, request: &ModerationRequest) -> Result<ModerationResponse>;
}

pointers_and_layers!(ModerationModel, ModerationModelExt, {
    moderate(ModerationRequest) -> ModerationResponse;
});
