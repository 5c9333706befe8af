//! A request to the tokens of its prompt.

use std::sync::Arc;

use katena_core::{ChatRequest, Error, ErrorKind, Result};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::calls::{CallParser, Format};
use super::emit::Reading;
use super::plan::{Calling, Plan};
use super::template::ChatTemplate;
use super::thoughts::{Marks, Thoughts};

/// Characters of private use that fence off a control mark inside a message; a pair that no message has is chosen.
const FENCES: [(char, char); 4] = [
    ('\u{F0F01}', '\u{F0F02}'),
    ('\u{F0F03}', '\u{F0F04}'),
    ('\u{F0F05}', '\u{F0F06}'),
    ('\u{F0F07}', '\u{F0F08}'),
];

/// A request as the model reads it, and how its answer is read.
pub(crate) struct Prompt {
    pub(crate) tokens: Vec<LlamaToken>,
    pub(crate) reading: Reading,
}

/// A prompt's text, its fences, and how its answer is read.
struct Written {
    text: String,
    open: char,
    close: char,
    reading: Reading,
}

/// Whether a text is where a prompt begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    Yes,
    #[cfg_attr(not(feature = "mtmd"), allow(dead_code, reason = "only images cut a prompt"))]
    No,
}

fn too_long(tokens: usize, context: usize) -> Error {
    Error::new(ErrorKind::ContextTooLong, "the prompt doesn't fit into the model's context")
        .with_context("prompt_tokens", tokens.to_string())
        .with_context("context_tokens", context.to_string())
}

/// Makes prompts of one model.
pub(crate) struct Prompter {
    model: Arc<LlamaModel>,
    template: Result<ChatTemplate>,
    /// How the model marks its reasoning.
    thoughts: Option<Marks>,
    /// Control tokens that stand for marks of calls and reasoning, sorted.
    marks: Arc<[i32]>,
    /// Texts of control tokens, such as `<|im_end|>`, longest first.
    controls: Vec<String>,
    /// Bytes of the longest token.
    longest: usize,
    bos: Option<(LlamaToken, String)>,
}

impl Prompter {
    /// `source`: the chat template, if there is one.
    pub(crate) fn new(model: Arc<LlamaModel>, source: Option<&str>) -> Self {
        let vocab = model.vocab();
        let text = |token: LlamaToken| {
            let text = (token.0 >= 0 && token.0 < vocab.n_tokens()).then(|| vocab.text(token)).flatten();
            text.map(|t| t.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let (mut controls, mut longest) = (Vec::new(), 1);
        for token in vocab.tokens() {
            longest = longest.max(vocab.text(token).map_or(0, |t| t.to_bytes().len()));
            if vocab.is_control(token) {
                controls.push(text(token));
            }
        }
        controls.retain(|c| !c.is_empty());
        controls.sort_by_key(|c| std::cmp::Reverse(c.len()));
        let (bos, eos) = (text(vocab.bos()), text(vocab.eos()));
        let template = match source {
            Some(source) => ChatTemplate::new(source, bos.clone(), eos),
            None => {
                Err(Error::unsupported("the model has no chat template; give one with `with_chat_template`"))
            }
        };
        let thoughts = source.and_then(Marks::of_template);
        let format = template.as_ref().ok().and_then(ChatTemplate::format);
        let known: Vec<&str> = format
            .iter()
            .flat_map(|format| format.marks())
            .chain(thoughts.iter().flat_map(|marks| [marks.open, marks.close]))
            .collect();
        let is_mark = |token: &LlamaToken| vocab.is_control(*token) && known.contains(&text(*token).as_str());
        let marks = vocab.tokens().filter(is_mark).map(|token| token.0).collect();
        let bos = (vocab.should_add_bos() && vocab.bos().0 >= 0).then(|| (vocab.bos(), bos));
        Self { model, template, thoughts, marks, controls, longest, bos }
    }

    /// How the model writes tool calls, if that is known.
    pub(crate) fn format(&self) -> Option<&'static Format> {
        self.template.as_ref().ok().and_then(ChatTemplate::format)
    }

    /// The prompt. The text of control tokens inside messages stays text: it can't end a turn or begin another.
    ///
    /// # Errors
    /// `Unsupported` without a template, `InvalidInput` if it refuses the messages, `ContextTooLong` if no room for an
    /// answer is left in `context` tokens.
    pub(crate) fn prompt(&self, request: &ChatRequest, plan: &Plan, context: usize) -> Result<Prompt> {
        let Written { text, open, close, reading } = self.written(request, plan, context)?;
        let tokens = self.tokens(&text, open, close, Begins::Yes);
        if tokens.len() >= context {
            return Err(too_long(tokens.len(), context));
        }
        if tokens.is_empty() {
            return Err(Error::invalid_input("the prompt is empty"));
        }
        Ok(Prompt { tokens, reading })
    }

    /// The prompt, cut at each `mark`.
    ///
    /// # Errors
    /// As [`Prompter::prompt`]; the caller checks that it is not too long.
    #[cfg(feature = "mtmd")]
    pub(crate) fn parts(
        &self,
        request: &ChatRequest,
        plan: &Plan,
        context: usize,
        mark: char,
    ) -> Result<(Vec<Vec<LlamaToken>>, Reading)> {
        let Written { text, open, close, reading } = self.written(request, plan, context)?;
        let part = |(n, text)| self.tokens(text, open, close, if n == 0 { Begins::Yes } else { Begins::No });
        Ok((text.split(mark).enumerate().map(part).collect(), reading))
    }

    /// The prompt's text, bounded.
    fn written(&self, request: &ChatRequest, plan: &Plan, context: usize) -> Result<Written> {
        let template = self.template.as_ref().map_err(Clone::clone)?;
        let json = serde_json::to_string(&request.messages)
            .map_err(|e| Error::invalid_input("the messages can't be read").with_source(e))?;
        let free = FENCES.iter().find(|(a, b)| !json.contains(*a) && !json.contains(*b));
        let (open, close) =
            *free.ok_or_else(|| Error::invalid_input("the messages hold characters of private use"))?;
        let fence = |text: &str| self.fenced(text, open, close);
        let mut text = template.render(request, plan.calling != Calling::Off, fence)?;
        let reading = self.reading(request, plan, &mut text);
        // Even if every token were the longest one; spares tokenising what can't fit.
        let least = text.len() / self.longest.max(1);
        if least > context.saturating_mul(4) || i32::try_from(text.len()).is_err() {
            return Err(too_long(least, context));
        }
        Ok(Written { text, open, close, reading })
    }

    /// How the answer to `prompt` is read. What the answer must begin with is added to the prompt.
    fn reading(&self, request: &ChatRequest, plan: &Plan, prompt: &mut String) -> Reading {
        let begun = self.thoughts.filter(|marks| marks.begun(prompt));
        let held = match &plan.calling {
            Calling::Forced(_) => true,
            Calling::Off | Calling::Free => request.response_format.is_some(),
        };
        // An answer that is held to a form has no room for reasoning: what the prompt began is ended.
        if let Some(marks) = begun.filter(|_| held) {
            prompt.extend(["\n", marks.close, "\n\n"]);
        }
        let mut calls = match (&plan.calling, self.format()) {
            (Calling::Free | Calling::Forced(_), Some(format)) => {
                Some(CallParser::new(format, request.tools.clone()))
            }
            _ => None,
        };
        let forced = matches!(plan.calling, Calling::Forced(_));
        if let Calling::Forced(call) = &plan.calling {
            prompt.push_str(&call.prefix);
            if let Some(calls) = &mut calls {
                // Nothing is certain yet.
                calls.push(&call.prefix);
            }
        }
        let thoughts = self.thoughts.filter(|_| !held).map(|marks| Thoughts::new(marks, begun.is_some()));
        Reading { thoughts, calls, forced, marks: self.marks.clone() }
    }

    fn fenced(&self, text: &str, open: char, close: char) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let first = self
                .controls
                .iter()
                .filter_map(|c| Some((rest.find(c.as_str())?, c.len())))
                .min_by_key(|(at, len)| (*at, std::cmp::Reverse(*len)));
            let Some((at, len)) = first else { break };
            out.push_str(&rest[..at]);
            out.push(open);
            out.push_str(&rest[at..at + len]);
            out.push(close);
            rest = &rest[at + len..];
        }
        out.push_str(rest);
        out
    }

    fn tokens(&self, text: &str, open: char, close: char, begins: Begins) -> Vec<LlamaToken> {
        let vocab = self.model.vocab();
        let mut tokens = Vec::new();
        if let Some((bos, mark)) = &self.bos
            && begins == Begins::Yes
            && (mark.is_empty() || !text.starts_with(mark.as_str()))
        {
            tokens.push(*bos);
        }
        let mut rest = text;
        while let Some(at) = rest.find(open) {
            let Some(len) = rest[at..].find(close) else { break };
            tokens.extend(vocab.tokenize(&rest.as_bytes()[..at], false, true));
            let inside = &rest[at + open.len_utf8()..at + len];
            tokens.extend(vocab.tokenize(inside.as_bytes(), false, false));
            rest = &rest[at + len + close.len_utf8()..];
        }
        tokens.extend(vocab.tokenize(rest.as_bytes(), false, true));
        tokens
    }
}
