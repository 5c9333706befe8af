//! Numbers against slow and plain computations.
