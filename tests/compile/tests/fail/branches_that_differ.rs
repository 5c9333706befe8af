use katena_core::{ChainExt, func};

fn main() {
    let text = func(async |n: u32, _run| Ok(n.to_string()));
    let number = func(async |n: u32, _run| Ok(n));
    let _ = func(async |n: u32, _run| Ok(n)).branch(|n| *n > 1, text, number);
}
