//! Vector stores for Katena: in memory, embedded in one file, PostgreSQL, Qdrant.
