use katena_core::{ChainExt, fake::EchoChat, func};

fn main() {
    let first = func(async |word: String, _run| Ok(word)).chat(EchoChat::new());
    let _ = first.then(func(async |word: String, _run| Ok(word)));
}
