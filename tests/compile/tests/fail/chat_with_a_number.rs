use katena_core::{ChainExt, fake::EchoChat, func};

fn main() {
    let _ = func(async |n: u32, _run| Ok(n)).chat(EchoChat::new());
}
