//! Verified webhooks with typed events.
