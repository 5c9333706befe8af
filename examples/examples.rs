//! Programs that show Katena; each is a file beside this one.
