//! The katena command: ask your documents, with sources, from a local model.

fn main() {}
