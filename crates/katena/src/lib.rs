//! Katena: components for products built on language models. This crate re-exports the others by feature and adds no logic.
//!
//! ```
//! use katena::prelude::*;
//! use katena::fake::EchoChat;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let chain = func(async |word: String, _run| Ok(format!("Say {word}"))).chat(EchoChat::new()).text();
//! assert_eq!(chain.run("hello").await.unwrap(), "Say hello");
//! # });
//! ```

pub use katena_core::*;

#[cfg(feature = "agents")]
pub use katena_agents as agents;
#[cfg(feature = "chains")]
pub use katena_chains as chains;
#[cfg(feature = "embeddings")]
pub use katena_embeddings as embeddings;
#[cfg(feature = "layers")]
pub use katena_layers as layers;
#[cfg(feature = "llama-cpp")]
pub use katena_llama_cpp as llama_cpp;
#[cfg(feature = "llms")]
pub use katena_llms as llms;
#[cfg(feature = "loaders")]
pub use katena_loaders as loaders;
#[cfg(feature = "memory")]
pub use katena_memory as memory;
#[cfg(feature = "prompts")]
pub use katena_prompts as prompts;
#[cfg(feature = "retrieval")]
pub use katena_retrieval as retrieval;
#[cfg(feature = "splitters")]
pub use katena_splitters as splitters;
#[cfg(feature = "vectorstores")]
pub use katena_vectorstores as vectorstores;

/// What most programs name: the traits with their conveniences, the common data, and the components of the chosen features.
pub mod prelude {
    pub use katena_core::{
        Backoff, Chain, ChainExt, ChatHistory, ChatModel, ChatModelExt, ChatRequest, ChatResponse, Context,
        Document, DocumentLoader, Embedder, EmbedderExt, Error, ErrorKind, Event, Filter, FnTool, Graph,
        Labels, Memory, Message, Part, Query, Result, Retriever, RetrieverExt, Role, Run, Source, Streamed,
        TextSplitter, Tool, VectorStore, VectorStoreExt, func, parallel,
    };

    #[cfg(feature = "agents")]
    pub use katena_agents::{Agent, AgentInput, tool};

    #[cfg(feature = "chains")]
    pub use katena_chains::{Conversation, ConversationalRetrievalQa, RetrievalQa};
    #[cfg(feature = "layers")]
    pub use katena_layers::{
        Cache, CircuitBreaker, Concurrency, Fallback, Guard, Meter, RateLimit, Retry, Timeout, Trace,
    };
    #[cfg(feature = "llama-cpp")]
    pub use katena_llama_cpp::{EmbedderOptions, LlamaChat, LlamaEmbedder, LlamaOptions, LlamaReranker};
    #[cfg(feature = "anthropic")]
    pub use katena_llms::AnthropicChat;
    #[cfg(feature = "bedrock")]
    pub use katena_llms::BedrockChat;
    #[cfg(feature = "cohere")]
    pub use katena_llms::CohereChat;
    #[cfg(feature = "gemini")]
    pub use katena_llms::GeminiChat;
    #[cfg(feature = "mistral")]
    pub use katena_llms::MistralChat;
    #[cfg(feature = "ollama")]
    pub use katena_llms::OllamaChat;
    #[cfg(feature = "openai")]
    pub use katena_llms::OpenAiChat;
    #[cfg(feature = "responses")]
    pub use katena_llms::OpenAiResponses;
    #[cfg(feature = "loaders")]
    pub use katena_loaders::DirectoryLoader;
    #[cfg(feature = "memory-sqlite")]
    pub use katena_memory::SqliteHistory;
    #[cfg(feature = "memory")]
    pub use katena_memory::{BufferMemory, SummaryBufferMemory, TokenMemory, WindowMemory};
    #[cfg(feature = "prompts")]
    pub use katena_prompts::{ChatPrompt, PromptTemplate, vars};
    #[cfg(feature = "retrieval")]
    pub use katena_retrieval::VectorIndex;
    #[cfg(feature = "splitters")]
    pub use katena_splitters::RecursiveSplitter;
    #[cfg(feature = "embedded")]
    pub use katena_vectorstores::EmbeddedStore;
    #[cfg(feature = "vectorstores")]
    pub use katena_vectorstores::MemoryStore;
}
