//! Embedders and rerankers over HTTP, a feature per vendor.
