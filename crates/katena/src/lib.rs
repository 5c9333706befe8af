//! Katena: LangChain-style components for LLM products. Re-exports and a prelude, by feature.
