//! Converts a BERT embedder in safetensors to GGUF: `convert FOLDER OUT.gguf`.

fn main() -> katena_core::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err(katena_core::Error::config("usage: convert FOLDER OUT.gguf"));
    };
    katena_gguf::convert::bert_to_gguf(folder, out)
}
