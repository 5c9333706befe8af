//! A question to a folder with a hashing embedder and a scripted model, so that it runs anywhere in a moment:
//! `cargo run -p katena-examples --example answer_with_fakes`.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::path::Path;

use katena::fake::{HashEmbedder, ScriptedChat};
use katena::prelude::*;

#[tokio::main]
async fn main() -> Result<()> {
    let handbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("handbook");
    let index = VectorIndex::new(MemoryStore::new(), HashEmbedder::new(512));
    let report =
        index.ingest(DirectoryLoader::new(handbook), RecursiveSplitter::chars(600)).await?.complete()?;
    println!("{report:?}\n");

    let model = ScriptedChat::texts(["Full-time employees have paid leave as the handbook says [1]."]);
    let qa = RetrievalQa::new(model, index.retriever());
    let answer = qa.run("How many days of paid leave do full-time employees have?").await?;
    println!("{answer}");
    Ok(())
}
