//! Questions that a calculation answers.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, ChatModel, ChatRequest, Error, Event, Message, Result, Role, Run, extract_in};
use katena_prompts::{ChatPrompt, Vars};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Number, evaluate};
use crate::llm::ask::{Ask, check};
use crate::quote::cut;

/// Most times that an expression is sent back.
const REPAIRS: usize = 2;

const SYSTEM: &str = "Write the one expression whose value answers the question; do not calculate it yourself. Use numbers \
     without separators, + - * / % ^, parentheses, pi, e, and these functions: {functions}. Angles are in radians. 15% of x \
     is 0.15*x. If the question asks for no calculation, leave the expression empty.";
const FUNCTIONS: &str = "abs floor ceil trunc sign sqrt cbrt exp ln log10 log2 sin cos tan asin acos atan sinh cosh tanh deg \
     rad factorial, round(x, digits), log(x, base), pow(x, y), mod(x, y), atan2(y, x), hypot(x, y), gcd(a, b), lcm(a, b), \
     ncr(n, k), npr(n, k), min max sum avg of any count";

/// What the model writes.
#[derive(Deserialize, JsonSchema)]
struct Written {
    /// The expression; empty if there is nothing to calculate.
    expression: String,
}

/// A calculation and its value.
///
/// ```
/// use katena_chains::{MathAnswer, evaluate};
/// let answer = MathAnswer::new("6 * 7", evaluate("6 * 7")?);
/// assert_eq!(answer.to_string(), "42");
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MathAnswer {
    /// The expression that the model wrote.
    pub expression: String,
    /// Its value.
    pub value: Number,
}

impl MathAnswer {
    /// An expression and its value.
    pub fn new(expression: impl Into<String>, value: Number) -> Self {
        Self { expression: expression.into(), value }
    }
}

impl fmt::Display for MathAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// Answers questions by a calculation: the model writes an expression, [`evaluate`] works it out. No code is run.
///
/// The expression is told as event `expression`, the value as text. An expression that can't be worked out goes back to
/// the model, twice at most.
///
/// # Errors
/// `InvalidOutput` if no expression can be worked out or there is nothing to calculate, and those of the model.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::MathChain;
/// use katena_core::{ChainExt, fake::ScriptedChat};
/// let math = MathChain::new(ScriptedChat::texts([r#"{"expression": "3 * (17 - 4)"}"#]));
/// let answer = math.run("Three boxes of 17 eggs each, four break in each. How many are left?").await?;
/// assert_eq!(answer.value.as_integer(), Some(39));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct MathChain {
    ask: Ask,
}

impl fmt::Debug for MathChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MathChain").field("model", &self.ask.model.info().model).finish_non_exhaustive()
    }
}

impl MathChain {
    /// Lets `model` write the expressions.
    pub fn new(model: impl ChatModel + 'static) -> Self {
        #[expect(clippy::expect_used, reason = "a constant, tested")]
        let prompt = ChatPrompt::fstring([(Role::System, SYSTEM), (Role::User, "{question}")])
            .expect("a constant template");
        Self { ask: Ask::new(Arc::new(model), prompt) }
    }

    /// Replaces the prompt. It must use `{question}` and may use `{functions}`.
    ///
    /// # Errors
    /// `Config` that names the variable which is missing or unknown.
    pub fn with_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        check(&prompt, &["question"], &["functions"])?;
        self.ask.prompt = prompt;
        Ok(self)
    }

    /// Asks with the options of this request; its messages are put before the chain's own.
    pub fn with_request(mut self, request: ChatRequest) -> Self {
        self.ask.request = Some(request);
        self
    }
}

#[async_trait]
impl Chain for MathChain {
    type Input = String;
    type Output = MathAnswer;

    async fn call(&self, question: String, run: &Run) -> Result<MathAnswer> {
        if question.trim().is_empty() {
            return Err(Error::invalid_input("the question has no words"));
        }
        let vars = Vars::new().with("functions", FUNCTIONS).with("question", question);
        let mut request = self.ask.request(&vars)?;
        let mut repairs = 0;
        loop {
            let written: Written = extract_in(&run.quiet(), &*self.ask.model, request.clone()).await?;
            if written.expression.trim().is_empty() {
                return Err(Error::invalid_output("the model found nothing to calculate"));
            }
            let told = Value::from(cut(&written.expression, 4096));
            run.emit(Event::Custom { name: "expression".to_owned(), value: told }).await;
            let error = match evaluate(&written.expression) {
                Ok(value) => {
                    run.emit(Event::Text(value.to_string())).await;
                    return Ok(MathAnswer::new(written.expression, value));
                }
                Err(error) => error,
            };
            if repairs == REPAIRS {
                return Err(
                    Error::invalid_output("the model's expression can't be worked out").with_source(error)
                );
            }
            repairs += 1;
            let said = json!({"expression": cut(&written.expression, 1000)}).to_string();
            request.messages.push(Message::assistant(said));
            request
                .messages
                .push(Message::user(format!("That can't be worked out: {error}. Write it in another way.")));
        }
    }
}
