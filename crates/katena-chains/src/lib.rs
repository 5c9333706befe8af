//! Chains for Katena: retrieval question answering with checked citations.
