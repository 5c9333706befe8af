//! Rewrites a model's weight matrices as `Q8_0`: `quantize IN.gguf OUT.gguf`.

use std::io::Write as _;

fn main() -> katena_core::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err(katena_core::Error::config("usage: quantize IN.gguf OUT.gguf"));
    };
    let done = katena_gguf::quantize(input, output)?;
    writeln!(
        std::io::stdout(),
        "{} matrices rewritten, {} tensors copied, {} bytes",
        done.rewritten,
        done.copied,
        done.bytes
    )?;
    Ok(())
}
