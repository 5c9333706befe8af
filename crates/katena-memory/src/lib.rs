//! Memory for Katena: chat histories and what a model sees of them again.
