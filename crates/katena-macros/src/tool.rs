//! The expansion of `#[tool]`.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, format_ident, quote};
use syn::parse::Parser as _;
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, Expr, FnArg, Ident, ItemFn, LitStr, Meta, Pat, Path, Result, Type};

/// What stands in `#[tool(…)]`.
#[derive(Default)]
struct Options {
    name: Option<LitStr>,
    description: Option<LitStr>,
    krate: Option<Path>,
}

impl Options {
    fn parse(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                options.name = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("description") {
                options.description = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("crate") {
                options.krate = Some(meta.value()?.parse::<LitStr>()?.parse()?);
            } else {
                return Err(meta.error("#[tool] knows `name`, `description` and `crate`"));
            }
            Ok(())
        });
        parser.parse2(tokens)?;
        Ok(options)
    }
}

/// A parameter of the function.
#[expect(clippy::large_enum_variant, reason = "a handful, for a moment, at compile time")]
enum Param {
    /// `&Run`.
    RunRef,
    /// `Run`.
    Run,
    /// Shared with the program.
    State { name: Ident, ty: Type },
    /// What the model gives.
    Argument { name: Ident, field: TokenStream },
}

pub(crate) fn expand(options: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let options = Options::parse(options)?;
    let mut function: ItemFn = syn::parse2(function)
        .map_err(|e| Error::new(e.span(), format!("#[tool] stands before an async function: {e}")))?;
    check(&function)?;
    let krate = options.krate.clone().map_or_else(home, |path| path.into_token_stream());
    let name = options.name.map_or_else(|| function.sig.ident.to_string(), |n| n.value());
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(named) {
        let words = "a tool's name has 1 to 64 letters, digits, `_` or `-`";
        return Err(Error::new(function.sig.ident.span(), words));
    }
    let description = options.description.map_or_else(|| words(&function.attrs), |d| d.value());
    if description.is_empty() {
        let words = "a tool needs a description for the model: write a doc comment, or `#[tool(description = \"…\")]`";
        return Err(Error::new(function.sig.ident.span(), words));
    }
    let mut defaults = Vec::new();
    let mut params = Vec::new();
    for input in &mut function.sig.inputs {
        params.push(param(input, &mut defaults)?);
    }
    let states: Vec<_> = params.iter().filter(|p| matches!(p, Param::State { .. })).collect();
    if let [_, Param::State { name, .. }, ..] = states.as_slice() {
        return Err(Error::new(
            name.span(),
            "a tool has one #[state]; put several values into a struct or a tuple",
        ));
    }
    Ok(generate(&function, &krate, &name, &description, &params, &defaults))
}

fn check(function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    let fail = |span, words: &str| Err(Error::new(span, words));
    if sig.asyncness.is_none() {
        return fail(sig.fn_token.span(), "a tool is an async function: write `async fn`");
    }
    if let Some(receiver) = sig.receiver() {
        return fail(receiver.span(), "a tool has no `self`; take shared data by a parameter with #[state]");
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        let words = "a tool can't be generic: its schema is made from its types";
        return fail(sig.generics.span(), words);
    }
    if let Some(constness) = &sig.constness {
        return fail(constness.span(), "a tool can't be const");
    }
    if let Some(abi) = &sig.abi {
        return fail(abi.span(), "a tool can't have a foreign ABI");
    }
    if let Some(variadic) = &sig.variadic {
        return fail(variadic.span(), "a tool can't have a variable number of arguments");
    }
    Ok(())
}

/// Takes the attributes off a parameter and says what it is.
fn param(input: &mut FnArg, defaults: &mut Vec<TokenStream>) -> Result<Param> {
    let FnArg::Typed(input) = input else {
        return Err(Error::new(input.span(), "a tool has no `self`"));
    };
    let attrs = std::mem::take(&mut input.attrs);
    let ty = (*input.ty).clone();
    if let Type::Reference(reference) = &ty {
        if is_run(&reference.elem) {
            return Ok(Param::RunRef);
        }
        let words = "a tool's arguments are owned, such as `String` or `Vec<T>`; only `&Run` may be a reference, and #[state] \
                     is taken by value, such as `Arc<T>`";
        return Err(Error::new(ty.span(), words));
    }
    if let Type::ImplTrait(_) = &ty {
        return Err(Error::new(ty.span(), "a tool can't be generic: its schema is made from its types"));
    }
    if is_run(&ty) {
        return Ok(Param::Run);
    }
    let Pat::Ident(pattern) = &*input.pat else {
        return Err(Error::new(input.pat.span(), "a tool's argument is a plain name: the model calls it so"));
    };
    let name = pattern.ident.clone();
    let mut kept = Vec::new();
    let mut state = false;
    for attr in attrs {
        if attr.path().is_ident("state") {
            state = true;
        } else if attr.path().is_ident("default") {
            kept.push(default(&attr, &name, &ty, defaults)?);
        } else if ["doc", "serde", "schemars"].iter().any(|known| attr.path().is_ident(known)) {
            kept.push(attr.into_token_stream());
        } else {
            let words =
                "a tool's argument takes #[state], #[default], #[serde], #[schemars] and doc comments";
            return Err(Error::new(attr.span(), words));
        }
    }
    if state {
        return Ok(Param::State { name, ty });
    }
    let field = quote!(#(#kept)* #name: #ty);
    Ok(Param::Argument { name, field })
}

/// `#[default]`, `#[default = 3]` or `#[default(3)]`.
fn default(
    attr: &Attribute,
    name: &Ident,
    ty: &Type,
    defaults: &mut Vec<TokenStream>,
) -> Result<TokenStream> {
    let value: Expr = match &attr.meta {
        Meta::Path(_) => return Ok(quote!(#[serde(default)])),
        Meta::NameValue(pair) => pair.value.clone(),
        Meta::List(list) => list.parse_args()?,
    };
    let function = format_ident!("__default_{name}");
    let path = function.to_string();
    // A text literal for a `String` is what one would write.
    let value = match &value {
        Expr::Lit(lit) if matches!(lit.lit, syn::Lit::Str(_)) => quote!(::core::convert::Into::into(#value)),
        _ => quote!(#value),
    };
    defaults.push(quote!(fn #function() -> #ty { #value }));
    Ok(quote!(#[serde(default = #path)]))
}

fn is_run(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|s| s.ident == "Run" && s.arguments.is_none()))
}

/// The doc comment as a text: lines joined, paragraphs kept.
fn words(attrs: &[Attribute]) -> String {
    let mut text = String::new();
    for attr in attrs.iter().filter(|a| a.path().is_ident("doc")) {
        let Meta::NameValue(pair) = &attr.meta else { continue };
        let Expr::Lit(lit) = &pair.value else { continue };
        let syn::Lit::Str(line) = &lit.lit else { continue };
        let (line, whole) = (line.value(), text.ends_with('\n') || text.is_empty());
        match line.trim() {
            "" if whole => {}
            "" => text.push('\n'),
            line => {
                if !whole {
                    text.push(' ');
                }
                text.push_str(line);
            }
        }
    }
    text.trim().to_owned()
}

fn generate(
    function: &ItemFn,
    krate: &TokenStream,
    name: &str,
    description: &str,
    params: &[Param],
    defaults: &[TokenStream],
) -> TokenStream {
    let (ident, vis) = (&function.sig.ident, &function.vis);
    let (maker, args) = (format_ident!("{ident}_tool"), format_ident!("__{ident}_arguments"));
    let home = quote!(#krate::__private);
    let path = |of: &str| {
        let text = format!("{krate}::__private::{of}");
        text.split_whitespace().collect::<String>()
    };
    let (serde, schemars) = (path("serde"), path("schemars"));
    let mut fields = Vec::new();
    let mut state = None;
    let given: Vec<TokenStream> = params
        .iter()
        .map(|param| match param {
            Param::RunRef => quote!(&__run),
            Param::Run => quote!(__run.clone()),
            Param::State { name, ty } => {
                state = Some((name, ty));
                quote!(__state)
            }
            Param::Argument { name, field } => {
                fields.push(field);
                quote!(__args.#name)
            }
        })
        .collect();
    let (parameter, value) = match state {
        Some((name, ty)) => (quote!(#name: #ty), quote!(#name)),
        None => (quote!(), quote!(())),
    };
    let doc = format!("The tool `{name}`, made from [`{ident}`].");
    quote! {
        #[allow(clippy::unused_async)]
        #function

        #[doc = #doc]
        #vis fn #maker(#parameter) -> #home::FnTool {
            #(#defaults)*
            #[allow(non_camel_case_types)]
            #[derive(#home::serde::Deserialize, #home::schemars::JsonSchema)]
            #[serde(crate = #serde)]
            #[schemars(crate = #schemars, rename = #name)]
            struct #args { #(#fields),* }
            #[allow(unused_variables)]
            let body = |__state, __args: #args, __run: #home::Run| async move {
                #home::IntoOutput::into_output(#ident(#(#given),*).await)
            };
            #home::FnTool::with_state(#name, #description, #value, body)
        }
    }
}

/// Where katena-agents is to be found from the crate that is being compiled: on its own, or within the facade.
fn home() -> TokenStream {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|dir| std::fs::read_to_string(std::path::Path::new(&dir).join("Cargo.toml")).ok())
        .unwrap_or_default();
    let lines = || manifest.lines().map(|l| l.split('#').next().unwrap_or_default());
    let own = lines().any(|l| l.contains("katena-agents"));
    let facade = lines().any(|l| {
        let l = l.trim_start();
        l.starts_with("[dependencies.katena]")
            || l.strip_prefix("katena").is_some_and(|r| r.starts_with([' ', '=', '.']))
    });
    if facade && !own { quote!(::katena::agents) } else { quote!(::katena_agents) }
}

#[cfg(test)]
#[path = "tool_tests.rs"]
mod tests;
