//! The `#[tool]` macro of katena-agents.

use proc_macro::TokenStream;

mod tool;

/// Makes a tool from an async function: see `katena_agents::tool`, which re-exports this.
#[proc_macro_attribute]
pub fn tool(options: TokenStream, function: TokenStream) -> TokenStream {
    let made = tool::expand(options.into(), function.clone().into());
    match made {
        Ok(tokens) => tokens.into(),
        Err(error) => error.into_compile_error().into(),
    }
}
