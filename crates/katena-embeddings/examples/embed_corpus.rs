//! Embeds a corpus again and again, for measurements: `benches/local/embed/embed_bench.py` drives it.
//!
//! `embed_corpus MODEL.gguf CORPUS.jsonl [THREADS] [VECTORS.f32]`: a JSON text a line. Each line on the standard input is a run;
//! each run prints a line when it is done. The vectors of the first run go into the file, if one is named.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::io::BufRead;
use std::time::Instant;

use katena_core::{EmbedRequest, Embedder};
use katena_embeddings::BertEmbedder;
use katena_embeddings::bert::{BertOptions, Overlong};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(corpus)) = (args.next(), args.next()) else {
        return Err("embed_corpus MODEL.gguf CORPUS.jsonl [THREADS] [VECTORS.f32]".into());
    };
    let threads = args.next().map_or(Ok(1), |n| n.parse())?;
    let out = args.next();
    let texts = std::fs::read_to_string(corpus)?;
    let texts = texts.lines().map(serde_json::from_str).collect::<Result<Vec<String>, _>>()?;
    let options = BertOptions::new().with_threads(threads).with_overlong(Overlong::Truncate);
    let embedder = BertEmbedder::load(model, options)?;
    println!("ready");
    for (n, line) in std::io::stdin().lock().lines().enumerate() {
        line?;
        let start = Instant::now();
        let response = embedder.embed(&EmbedRequest::documents(texts.iter().cloned())).await?;
        let seconds = start.elapsed().as_secs_f64();
        if let Some(out) = out.as_ref().filter(|_| n == 0) {
            let bytes: Vec<u8> = response.vectors.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
            std::fs::write(out, bytes)?;
        }
        println!("{} texts {} tokens {seconds:.3} s", texts.len(), response.usage.input_tokens.unwrap_or(0));
    }
    Ok(())
}
