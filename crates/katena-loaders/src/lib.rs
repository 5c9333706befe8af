//! Document loaders for Katena: bytes to documents with their sources.
