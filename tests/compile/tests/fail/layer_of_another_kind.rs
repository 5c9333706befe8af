use std::sync::Arc;

use katena_core::{ChatModelExt, Embedder, Layer, fake::EchoChat};

struct ForEmbedders;

impl Layer<dyn Embedder> for ForEmbedders {
    fn layer(&self, inner: Arc<dyn Embedder>) -> Arc<dyn Embedder> {
        inner
    }
}

fn main() {
    let _ = EchoChat::new().layer(ForEmbedders);
}
