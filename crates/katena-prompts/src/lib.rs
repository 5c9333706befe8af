//! Prompts for Katena: templates, chat prompts, few-shot examples, prompt files, output parsers.
