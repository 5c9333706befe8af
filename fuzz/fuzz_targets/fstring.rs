#![no_main]

use katena_prompts::{Format, PromptTemplate, Vars};
use libfuzzer_sys::fuzz_target;

// Any template is refused or filled; a text without braces is itself; values are not expanded again.
fuzz_target!(|input: (String, String)| {
    let (text, value) = input;
    for format in [Format::FString, Format::Mustache] {
        let Ok(template) = PromptTemplate::new(format, &text) else { continue };
        let vars =
            template.variables().iter().fold(Vars::new(), |v, name| v.with(name.clone(), value.clone()));
        let filled = template.render(&vars);
        if format == Format::FString && !text.contains(['{', '}']) {
            assert_eq!(filled.unwrap(), text);
        }
    }
});
