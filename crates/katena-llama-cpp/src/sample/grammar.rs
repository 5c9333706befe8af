//! Forms that an answer must have, by llguidance: which tokens may come next, computed from a schema, a regular expression
//! or a grammar.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use katena_core::{Error, ErrorKind, Result};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llguidance::api::{GrammarWithLexer, ParserLimits, StopReason, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};
use toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};

use super::numbers::Numbers;
use super::schema::{prepare, size};
use super::weight::{lark_fits, regex_fits};

/// Compiled forms that a model keeps.
const KEPT: usize = 32;
/// Forms that are compiled at once.
const AT_ONCE: usize = 2;
/// Longest regular expression or grammar, in bytes, and deepest brackets in it.
const MAX_BYTES: usize = 256 * 1024;
const MAX_BRACKETS: usize = 100;
/// Most alternatives of a form.
const MAX_CHOICES: usize = 512;
/// Compiling recurses; its own stack keeps hostile input from overflowing the caller's.
const STACK_BYTES: usize = 64 << 20;

/// What bounds the work of a form: about 50 ms to compile, 20 ms a token, at worst.
const LIMITS: ParserLimits = ParserLimits {
    max_items_in_row: 20_000,
    initial_lexer_fuel: 2_000_000,
    step_lexer_fuel: 200_000,
    step_max_items: 50_000,
    max_lexer_states: 50_000,
    max_grammar_size: 300_000,
    precompute_large_lexemes: false,
    verbose_errors: false,
};

/// What stands next in an answer.
#[derive(Clone, PartialEq, Serialize)]
pub(crate) enum Part {
    /// Exactly this.
    Literal(String),
    /// JSON that fits a schema.
    Json(Value),
    /// Any text up to the literal that follows, in which that does not stand.
    Text,
    /// One of these texts.
    OneOf(Vec<String>),
    /// These, or nothing.
    Optional(Vec<Part>),
}

/// The form that an answer must have.
#[derive(Clone, PartialEq, Serialize)]
pub(crate) enum Form {
    /// JSON that fits a schema.
    Schema(Value),
    /// The whole answer matches, in the syntax of the crate `regex` without anchors and looking around.
    Regex(String),
    /// llguidance's dialect of Lark.
    Lark(String),
    /// One of these sequences.
    OneOf(Vec<Vec<Part>>),
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Schema(_) => "Schema",
            Self::Regex(_) => "Regex",
            Self::Lark(_) => "Lark",
            Self::OneOf(_) => "OneOf",
        })
    }
}

impl Form {
    /// Any JSON object.
    pub(crate) fn object() -> Self {
        Self::Schema(serde_json::json!({"type": "object"}))
    }

    /// JSON that fits `schema`, which is not looked at closely yet.
    ///
    /// # Errors
    /// `InvalidInput` if it is too large or too deep.
    pub(crate) fn schema(schema: &Value) -> Result<Self> {
        size(schema)?;
        Ok(Self::Schema(schema.clone()))
    }

    fn grammar(&self) -> Result<TopLevelGrammar> {
        match self {
            Self::Schema(schema) => Ok(TopLevelGrammar::from_json_schema(prepare(schema)?)),
            Self::Regex(pattern) => {
                bounded(pattern, regex_fits)?;
                if pattern.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
                    return Err(Error::invalid_input("the regular expression ends in a backslash"));
                }
                Ok(TopLevelGrammar::from_regex(pattern))
            }
            Self::Lark(text) => {
                bounded(text, lark_fits)?;
                Ok(TopLevelGrammar::from_lark(text.clone()))
            }
            Self::OneOf(choices) => one_of(choices),
        }
    }
}

/// Refuses texts that would be slow or deep to parse.
fn bounded(text: &str, fits: fn(&str) -> bool) -> Result<()> {
    let mut depth = 0usize;
    let mut deepest = 0;
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if text.trim().is_empty() || text.len() > MAX_BYTES || deepest > MAX_BRACKETS || !fits(text) {
        return Err(Error::invalid_input(
            "a regular expression or grammar is empty, too long, too deep or repeats too much",
        )
        .with_context("most_bytes", MAX_BYTES.to_string())
        .with_context("deepest", MAX_BRACKETS.to_string()));
    }
    Ok(())
}

fn one_of(choices: &[Vec<Part>]) -> Result<TopLevelGrammar> {
    if choices.is_empty() || choices.len() > MAX_CHOICES {
        return Err(Error::invalid_input("too many tools, or none, to hold an answer to")
            .with_context("most", MAX_CHOICES.to_string()));
    }
    let mut rules = Rules { lines: vec![String::new()], schemas: Vec::new() };
    let starts: Vec<String> = choices.iter().map(|parts| rules.sequence(parts)).collect::<Result<_>>()?;
    rules.lines[0] = format!("start: {}", starts.join(" | "));
    let mut grammars = vec![GrammarWithLexer::from_lark(rules.lines.join("\n"))];
    grammars.append(&mut rules.schemas);
    Ok(TopLevelGrammar { grammars, max_tokens: None })
}

/// Rules of a grammar that is being written; the first line is the start's.
struct Rules {
    lines: Vec<String>,
    schemas: Vec<GrammarWithLexer>,
}

impl Rules {
    fn rule(&mut self, name: &str, options: &str, body: &str) -> String {
        let name = format!("{name}_{}", self.lines.len());
        self.lines.push(format!("{name}{options}: {body}"));
        name
    }

    fn sequence(&mut self, parts: &[Part]) -> Result<String> {
        let quoted = |text: &str| Value::from(text).to_string();
        let mut names = Vec::new();
        let mut rest = parts.iter().peekable();
        while let Some(part) = rest.next() {
            names.push(match part {
                Part::Literal(text) if text.is_empty() => continue,
                Part::Literal(text) => quoted(text),
                Part::OneOf(texts) => {
                    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                    self.rule("word", "", &texts.join(" | "))
                }
                Part::Optional(parts) => {
                    let inner = self.sequence(parts)?;
                    self.rule("maybe", "", &format!("{inner}?"))
                }
                Part::Json(schema) => {
                    let mut grammar = GrammarWithLexer::from_json_schema(prepare(schema)?);
                    let name = format!("schema_{}", self.schemas.len());
                    grammar.name = Some(name.clone());
                    self.schemas.push(grammar);
                    format!("@{name}")
                }
                Part::Text => match rest.next() {
                    Some(Part::Literal(end)) if !end.is_empty() => {
                        self.rule("text", &format!("[suffix={}]", quoted(end)), "/(?s:.*)/")
                    }
                    _ => return Err(Error::unexpected("free text of a form needs a text that ends it")),
                },
            });
        }
        Ok(self.rule("part", "", &names.join(" ")))
    }
}

/// What llguidance says to what it can't do.
fn refused(reason: &str) -> Error {
    let line = reason.lines().next().unwrap_or_default();
    let text: String = line.chars().take(200).collect();
    let broken = ["nsatisfiable", "too large", "too complex", "limit", "fuel", "xceeded", "circular"];
    let kind = if broken.iter().any(|b| reason.contains(b)) {
        ErrorKind::InvalidInput
    } else {
        ErrorKind::Unsupported
    };
    let error = Error::new(kind, "an answer can't be held to this form").with_context("reason", text);
    if let Some((_, rest)) = reason.split_once("Unimplemented keys: [\"") {
        let keyword: String = rest.chars().take_while(|c| *c != '"').collect();
        return error.with_context("keyword", keyword);
    }
    let told = [
        ("Unknown format", "format"),
        ("patternPropert", "patternProperties"),
        ("min/maxProperties", "minProperties"),
        ("multipleOf", "multipleOf"),
        ("oneOf", "oneOf"),
        ("circular references", "$ref"),
    ];
    match told.iter().find(|(part, _)| reason.contains(part)) {
        Some((_, keyword)) => error.with_context("keyword", *keyword),
        None => error,
    }
}

/// Where an answer is in its form.
pub(crate) struct Constraint {
    matcher: Matcher,
    tokens: TokEnv,
    /// JSON as a whole: it ends with its last bracket, quote or word.
    json: bool,
    /// Follows the JSON in the answer, if any.
    numbers: Option<Numbers>,
    ended: bool,
}

impl Constraint {
    /// The answer goes on after `prefix`, which is part of the prompt.
    #[must_use]
    pub(crate) fn after(mut self, prefix: &str) -> Self {
        self.numbers = self.numbers.map(|n| n.after(prefix.as_bytes()).0);
        self
    }

    /// Leaves out what would make a number too long; all of them if nothing else is left.
    fn readable(&self, mut mask: SimpleVob) -> SimpleVob {
        let Some(numbers) = self.numbers.filter(|n| n.inside()) else { return mask };
        let trie = self.tokens.tok_trie();
        let long: Vec<u32> = mask.iter().filter(|id| !numbers.after(trie.token(*id)).1).collect();
        if long.len() < mask.num_set() {
            for id in long {
                mask.disallow_token(id);
            }
        }
        mask
    }

    /// True if `token` surely may come next.
    pub(super) fn allows(&mut self, token: LlamaToken) -> bool {
        let long = |n: Numbers| !n.after(self.tokens.tok_trie().token(token.0.cast_unsigned())).1;
        if self.numbers.is_some_and(long) {
            return false;
        }
        // After an error the mask says why.
        self.matcher.validate_tokens(&[token.0.cast_unsigned()]).is_ok_and(|valid| valid == 1)
    }

    /// All tokens that may come next.
    ///
    /// # Errors
    /// `InvalidInput` if the form is too complex to go on.
    pub(super) fn mask(&mut self) -> Result<SimpleVob> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|_| self.stopped())?;
        Ok(self.readable(mask))
    }

    fn stopped(&self) -> Error {
        let what = match self.matcher.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex => {
                "the form that the answer must have is too complex"
            }
            _ => "the answer can't be held to its form",
        };
        let reason = self.matcher.get_error().unwrap_or_default();
        let line = reason.lines().next().unwrap_or_default();
        Error::invalid_input(what).with_context("reason", line.chars().take(200).collect::<String>())
    }

    /// Goes on by a chosen token.
    ///
    /// # Errors
    /// As [`Constraint::mask`].
    pub(super) fn accept(&mut self, token: LlamaToken) -> Result<()> {
        if self.matcher.is_error() {
            return Err(self.stopped());
        }
        if self.matcher.is_stopped() {
            return Ok(());
        }
        let id = token.0.cast_unsigned();
        self.matcher.consume_token(id).map_err(|_| self.stopped())?;
        let bytes = self.tokens.tok_trie().token(id);
        self.numbers = self.numbers.map(|n| n.after(bytes).0);
        let last = bytes.last().copied().unwrap_or_default();
        let closes = matches!(last, b'}' | b']' | b'"' | b'e' | b'l');
        self.ended = self.matcher.is_stopped()
            || self.json && closes && self.matcher.is_accepting().map_err(|_| self.stopped())?;
        Ok(())
    }

    /// True once nothing may follow.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }
}

/// Compiles forms for one model, and keeps what is compiled.
pub(crate) struct Grammars {
    vocabulary: Box<dyn Fn() -> Result<TokEnv> + Send + Sync>,
    factory: OnceLock<Result<ParserFactory>>,
    /// The newest last.
    kept: Mutex<VecDeque<(blake3::Hash, Arc<Matcher>)>>,
    at_once: Semaphore,
}

impl Grammars {
    /// For a loaded model. Its vocabulary is read when the first form is compiled.
    pub(crate) fn of_model(model: Arc<LlamaModel>) -> Arc<Self> {
        Self::new(Box::new(move || vocabulary(&model)))
    }

    fn new(vocabulary: Box<dyn Fn() -> Result<TokEnv> + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            vocabulary,
            factory: OnceLock::new(),
            kept: Mutex::default(),
            at_once: Semaphore::new(AT_ONCE),
        })
    }

    /// The form's constraint, at its beginning. A new form is compiled on a thread of its own: some 10 ms, the first one
    /// of a model some 100 ms.
    ///
    /// # Errors
    /// `Unsupported` for what can't be kept, naming a keyword of a schema; `InvalidInput` for what is broken, can't be
    /// met or is too complex.
    pub(crate) async fn compile(self: &Arc<Self>, form: &Form) -> Result<Constraint> {
        let json = matches!(form, Form::Schema(_));
        let text =
            serde_json::to_vec(form).map_err(|e| Error::unexpected("a form has no text").with_source(e))?;
        let hash = blake3::hash(&text);
        let matcher = match self.find(hash) {
            Some(matcher) => matcher,
            None => {
                let _permit = self.at_once.acquire().await.map_err(|_| died())?;
                match self.find(hash) {
                    Some(matcher) => matcher,
                    None => self.build(hash, form.clone()).await?,
                }
            }
        };
        let matcher = matcher.deep_clone();
        let tokens = matcher.tok_env().map_err(|_| died())?;
        let numbers = matches!(form, Form::Schema(_) | Form::OneOf(_)).then(Numbers::default);
        Ok(Constraint { matcher, tokens, json, numbers, ended: false })
    }

    fn find(&self, hash: blake3::Hash) -> Option<Arc<Matcher>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(h, _)| *h == hash)?;
        let entry = kept.remove(at)?;
        let matcher = entry.1.clone();
        kept.push_back(entry);
        Some(matcher)
    }

    async fn build(self: &Arc<Self>, hash: blake3::Hash, form: Form) -> Result<Arc<Matcher>> {
        let (done, result) = oneshot::channel();
        let me = self.clone();
        std::thread::Builder::new().name("katena-form".into()).stack_size(STACK_BYTES).spawn(move || {
            // Nobody waits any more if the caller is gone; what is compiled is kept anyway.
            let _ = done.send(me.compile_here(&form).map(|matcher| {
                let matcher = Arc::new(matcher);
                let mut kept = me.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_back((hash, matcher.clone()));
                if kept.len() > KEPT {
                    kept.pop_front();
                }
                matcher
            }));
        })?;
        // A panic of the thread.
        result.await.map_err(|_| died())?
    }

    fn compile_here(&self, form: &Form) -> Result<Matcher> {
        let grammar = form.grammar()?;
        let factory = self.factory.get_or_init(|| {
            let tokens = (self.vocabulary)()?;
            let mut factory = ParserFactory::new_simple(&tokens).map_err(|e| refused(&e.to_string()))?;
            factory.quiet();
            *factory.limits_mut() = LIMITS;
            Ok(factory)
        });
        let factory = factory.as_ref().map_err(Clone::clone)?;
        let parser = factory.create_parser(grammar).map_err(|e| refused(&format!("{e:#}")))?;
        let mut matcher = Matcher::new(Ok(parser));
        let mask = matcher.compute_mask_or_eos().map_err(|e| refused(&format!("{e:#}")))?;
        if mask.is_zero() {
            return Err(Error::unsupported(
                "no token of the model begins the form that the answer must have",
            ));
        }
        Ok(matcher)
    }
}

fn died() -> Error {
    Error::invalid_input("the form that the answer must have could not be compiled")
}

/// The model's tokens as bytes. Control tokens are marked, so that a form never matches their text.
fn vocabulary(model: &LlamaModel) -> Result<TokEnv> {
    let vocab = model.vocab();
    let count = u32::try_from(model.n_vocab()).map_err(|_| died())?;
    let mut words = Vec::with_capacity(count as usize);
    let mut ends = Vec::new();
    for id in 0..count {
        let token = LlamaToken::new(id as i32);
        if vocab.is_eog(token) {
            ends.push(id);
        }
        let mut bytes = vocab.token_to_piece(token, false, None);
        if bytes.is_empty() || vocab.is_eog(token) {
            bytes = vocab.token_to_piece(token, true, None);
            if !bytes.is_empty() {
                bytes.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
            }
        }
        words.push(bytes);
    }
    let usual = [vocab.eot(), vocab.eos()].into_iter().find_map(|t| u32::try_from(t.0).ok());
    let end = usual.filter(|t| ends.contains(t)).or(ends.first().copied()).ok_or_else(|| {
        Error::unsupported("the model has no token that ends an answer, so no answer can be held to a form")
    })?;
    ends.retain(|t| *t != end);
    ends.insert(0, end);
    let trie = TokTrie::from(&TokRxInfo::new(count, end), &words).with_eos_tokens(&ends);
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

#[cfg(test)]
#[path = "grammar_tests.rs"]
mod tests;
