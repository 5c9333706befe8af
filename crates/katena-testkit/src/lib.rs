//! Contract suites for Katena components, ours and third parties'.
