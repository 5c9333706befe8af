use quote::quote;

use super::*;

fn error(options: TokenStream, function: TokenStream) -> String {
    expand(options, function).unwrap_err().to_string()
}

fn refused(function: TokenStream) -> String {
    error(quote!(), function)
}

#[test]
fn what_cannot_be_a_tool_is_said() {
    assert!(
        refused(quote!(
            #[doc = "x"]
            fn f() {}
        ))
        .contains("write `async fn`")
    );
    assert!(
        refused(quote!(
            #[doc = "x"]
            async fn f(&self) {}
        ))
        .contains("no `self`")
    );
    assert!(
        refused(quote!(
            #[doc = "x"]
            async fn f<T>(t: T) {}
        ))
        .contains("can't be generic")
    );
    assert!(
        refused(quote!(
            #[doc = "x"]
            async fn f(t: impl Into<String>) {}
        ))
        .contains("can't be generic")
    );
    assert!(
        refused(quote!(
            #[doc = "x"]
            async fn f(t: &str) {}
        ))
        .contains("owned")
    );
    assert!(
        refused(quote!(
            #[doc = "x"]
            async fn f(#[state] t: &Db) {}
        ))
        .contains("by value")
    );
    assert!(
        refused(quote!(
            #[doc = "x"]
            async fn f((a, b): (u8, u8)) {}
        ))
        .contains("plain name")
    );
    assert!(
        refused(quote!(
            #[doc = "x"]
            async fn f(#[arg] a: u8) {}
        ))
        .contains("#[default]")
    );
    assert!(
        refused(quote!(
            #[doc = "x"]
            async fn f(#[state] a: u8, #[state] b: u8) {}
        ))
        .contains("one #[state]")
    );
    assert!(
        refused(quote!(
            async fn f(a: u8) {}
        ))
        .contains("needs a description")
    );
    assert!(
        refused(quote!(
            struct F;
        ))
        .contains("before an async function")
    );
    assert!(
        error(
            quote!(name = "two words"),
            quote!(
                #[doc = "x"]
                async fn f() {}
            )
        )
        .contains("64 letters")
    );
    assert!(
        error(
            quote!(nam = "f"),
            quote!(
                #[doc = "x"]
                async fn f() {}
            )
        )
        .contains("knows `name`")
    );
}

#[test]
fn the_function_stays_and_a_maker_comes_beside_it() {
    let made = expand(
        quote!(name = "weather", crate = "my::agents"),
        quote! {
            #[doc = " Tomorrow's weather"]
            #[doc = " in a city."]
            #[doc = ""]
            #[doc = " Only for Europe."]
            pub(crate) async fn forecast(#[doc = "Where."] city: String, #[default = 3] days: u8, run: &Run) -> String { city }
        },
    );
    let text = made.unwrap().to_string();
    let function =
        "pub (crate) async fn forecast (city : String , days : u8 , run : & Run) -> String { city }";
    assert!(text.contains(function), "{text}");
    assert!(
        text.contains("pub (crate) fn forecast_tool () -> my :: agents :: __private :: FnTool"),
        "{text}"
    );
    assert!(text.contains(r#""Tomorrow's weather in a city.\nOnly for Europe.""#), "{text}");
    assert!(text.contains(r#"serde (crate = "my::agents::__private::serde")"#), "{text}");
    assert!(text.contains("fn __default_days () -> u8 { 3 }"), "{text}");
    assert!(text.contains(r#"# [doc = "Where."] city : String"#), "{text}");
    assert!(text.contains("forecast (__args . city , __args . days , & __run)"), "{text}");
}
