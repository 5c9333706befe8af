//! Tests of katena-core; see `tests/`.
