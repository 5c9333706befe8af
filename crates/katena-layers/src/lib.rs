//! Layers: what makes a call survive production.
