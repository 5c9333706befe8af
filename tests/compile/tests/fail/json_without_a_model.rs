use katena_core::{ChainExt, func};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Person {
    name: String,
}

fn main() {
    let _ = func(async |word: String, _run| Ok(word)).json::<Person>();
}
