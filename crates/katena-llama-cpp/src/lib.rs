//! In-process llama.cpp for Katena: chat models and embedders over one loaded model.
