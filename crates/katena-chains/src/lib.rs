//! Chains for Katena: what a product asks of a model, as typed steps.

#[cfg(feature = "api")]
pub mod api;
mod classify;
mod combine;
mod conversation;
mod critique;
mod extract;
mod llm;
mod math;
mod moderation;
mod qa;
mod quote;
mod router;
#[cfg(feature = "sql")]
pub mod sql;
mod translate;
mod triples;

pub use classify::{Classification, Classifier, MultiClassifier};
pub use combine::{
    Candidate, Combined, DocumentInput, DocumentQuestion, FailedDocument, MapReduceDocuments,
    MapRerankDocuments, OnFailure, Overflow, Ranked, RefineDocuments, StuffDocuments,
};
pub use conversation::{
    AskedAs, CondenseQuestion, Conversation, ConversationalAnswer, ConversationalQuestion,
    ConversationalRetrievalQa, FollowUp, Turn,
};
pub use critique::{Critique, CritiqueRevise, Draft, Principle, Revised};
pub use extract::{Extract, ExtractAll, Extracted, ExtractedItem, FailedPiece, Tag};
pub use llm::{LlmChain, LlmJson};
pub use math::{MathAnswer, MathChain, Number, evaluate};
pub use moderation::{Moderate, Moderated, ModeratedSides, OnFlagged};
pub use qa::{
    Answer, AnswerKind, Citation, CitationOrigin, GeneratedQuestion, HydeEmbedder, HydeQuery, HydeRetriever,
    MultiQueryRetriever, Passage, Question, QuestionGenerator, RetrievalQa,
};
pub use router::{EmbeddingRouter, EmbeddingRouterBuilder, ModelRouter};
pub use translate::{MissingTerm, Translate, Translation, TranslationInput};
pub use triples::{Evidence, KnowledgeTriples, Triple, Triples};
