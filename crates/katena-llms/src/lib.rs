//! Chat models over HTTP for Katena, a feature per protocol.
