//! Batches of chat requests.
