//! The ten-line program with local models:
//! `cargo run --release -p katena-examples --example answer_locally -- CHAT.gguf EMBEDDER.gguf FOLDER "QUESTION"`.
//! Without arguments it says so and ends, so that it can be run anywhere.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use katena::prelude::*;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [chat, embedder, folder, question] = args.as_slice() else {
        println!("usage: answer_locally CHAT.gguf EMBEDDER.gguf FOLDER QUESTION");
        return Ok(());
    };
    let model = LlamaChat::load(chat, LlamaOptions::default())?;
    let embedder = LlamaEmbedder::load(embedder, EmbedderOptions::default())?;
    let index = VectorIndex::new(MemoryStore::new(), embedder);
    let splitter = RecursiveSplitter::tokens(120, index.tokenizer()?);
    index.ingest(DirectoryLoader::new(folder), splitter).await?.complete()?;

    let qa = RetrievalQa::new(model, index.retriever());
    println!("{}", qa.run(question.as_str()).await?);
    Ok(())
}
