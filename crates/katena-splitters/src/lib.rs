//! Text splitters for Katena: text to chunks with exact offsets.
