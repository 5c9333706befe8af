//! Wrong compositions that must not compile; see `tests/`.
