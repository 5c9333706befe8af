use katena_core::{ChainExt, func};

fn main() {
    let chain = func(async |n: u32, _run| Ok(n));
    let _ = chain.run("five");
}
