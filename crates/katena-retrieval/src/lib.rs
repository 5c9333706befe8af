//! Indexes and retrievers for Katena: ingestion with a record of what is in, dense, lexical, fused.
