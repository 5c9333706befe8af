use katena_core::{Chain, ChainExt, fake::EchoChat, func};

fn main() {
    let chain = func(async |word: String, _run| Ok(word)).chat(EchoChat::new()).text().map(|text: String| text.len());
    let _: std::sync::Arc<dyn Chain<Input = String, Output = usize>> = chain.boxed();
}
