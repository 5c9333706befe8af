//! How an agent is put together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use katena_core::{
    Chain, ChatModel, ChatRequest, Clock, Error, Memory, Message, ModelInfo, RecallRequest, RecordRequest,
    Result, Run, Tool, ToolSpec, Usage,
};
use katena_prompts::PromptTemplate;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::io::{AgentInput, AgentOutput};
use super::limits::{Frame, Limits};
use super::looping::{Loop, Member};
use super::outcome::{AgentStep, Interruptible, Outcome, PendingRun};
use super::toolbox::{OnToolError, ToolOptions, Toolbox};
use super::typed::TypedAgent;
use crate::approval::{Approval, Approver, Decision, Needs};
use crate::prompt::REACT;

/// How tools are offered to the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// By the model's own tool calls where its capabilities name them, else as ReAct text.
    #[default]
    Auto,
    /// By the model's own tool calls.
    Native,
    /// As ReAct text (thought, action, observation), for models without tool calls.
    React,
}

/// A model that calls tools until it has an answer: a [`Chain`] from [`AgentInput`] to [`AgentOutput`].
///
/// What it tells its listener, as it happens: the model's events (text, reasoning, pieces of tool arguments); for each call
/// a custom event `tool_call` (`id`, `name`, `arguments`), the tool's own step, and `tool_result` (`id`, `name`, `ok`,
/// `text`). Whether a turn was the answer is known at its end: text that the listener saw before a tool call is a preview;
/// the output is the truth. With ReAct, thoughts come as `thought`, and the answer as [`Event::Text`](katena_core::Event::Text).
///
/// The tools of one turn run in parallel; their results keep the order of the calls. Tool output is data: it reaches the
/// model as a tool's result only, and cannot call, offer or approve anything.
///
/// A turn that ends with an error is not recorded in the memory.
///
/// # Errors
/// `Refused` if the model declined; `InvalidOutput` if it said nothing, or called tools wrongly again and again; `Config`
/// for limits of 0 or two tools of one name; those of the model; those of tools only by [`OnToolError::Fail`].
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::Agent;
/// use katena_core::{ChainExt, ChatResponse, FinishReason, FnTool, Message, Part, Role, Run, ToolCall, fake::ScriptedChat};
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Add { a: i64, b: i64 }
///
/// let call = Part::ToolCall(ToolCall::new("1", "add", r#"{"a":2,"b":3}"#));
/// let asks = ChatResponse::new(Message::new(Role::Assistant, vec![call]), FinishReason::ToolCalls);
/// let answers = ChatResponse::new(Message::assistant("It is 5."), FinishReason::Stop);
/// let add = FnTool::new("add", "Adds two numbers.", async |args: Add, _run: Run| Ok((args.a + args.b).to_string()));
///
/// let agent = Agent::new(ScriptedChat::new([Ok(asks), Ok(answers)])).with_tool(add);
/// assert_eq!(agent.run("What is 2 + 3?").await?.text(), "It is 5.");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct Agent {
    pub(crate) model: Arc<dyn ChatModel>,
    pub(crate) set: Arc<Settings>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) instructions: Option<String>,
    pub(crate) react_prompt: Option<PromptTemplate>,
    pub(crate) request: ChatRequest,
    pub(crate) toolbox: Toolbox,
    pub(crate) mode: Mode,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) on_error: OnToolError,
    pub(crate) concurrency: usize,
    pub(crate) frame: Frame,
    problem: Option<Error>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("name", &self.set.name)
            .field("model", &self.model.info().model)
            .field("tools", &self.set.toolbox)
            .field("approvals", &self.set.approvals)
            .field("frame", &self.set.frame)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// An agent without tools yet.
    pub fn new(model: impl ChatModel + 'static) -> Self {
        let settings = Settings {
            name: "agent".to_owned(),
            instructions: None,
            react_prompt: None,
            request: ChatRequest::default(),
            toolbox: Toolbox::default(),
            mode: Mode::Auto,
            approvals: Vec::new(),
            on_error: OnToolError::Tell,
            concurrency: 8,
            frame: Frame::default(),
            problem: None,
        };
        Self { model: Arc::new(model), set: Arc::new(settings) }
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.set));
        self
    }

    /// Sets its name, which approvals, outputs and teams show; `agent` otherwise.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        self.set(|s| s.name = name.into())
    }

    /// Sets the system message.
    pub fn with_instructions(self, text: impl Into<String>) -> Self {
        self.set(|s| s.instructions = Some(text.into()))
    }

    /// Sets the options of every model call (temperature, reasoning, vendor extras, …). Its messages, tools and answer
    /// format are not used.
    pub fn with_request(self, mut request: ChatRequest) -> Self {
        request.messages = Vec::new();
        request.tools = Vec::new();
        request.response_format = None;
        self.set(|s| s.request = request)
    }

    /// Adds a tool.
    pub fn with_tool(self, tool: impl Tool + 'static) -> Self {
        self.with_tool_options(tool, ToolOptions::new())
    }

    /// Adds a tool with its own policy.
    pub fn with_tool_options(self, tool: impl Tool + 'static, options: ToolOptions) -> Self {
        self.set(|s| {
            if let Err(error) = s.toolbox.add(Arc::new(tool), options) {
                s.problem.get_or_insert(error);
            }
        })
    }

    /// Adds several tools.
    pub fn with_tools<T: Tool + 'static>(self, tools: impl IntoIterator<Item = T>) -> Self {
        tools.into_iter().fold(self, Agent::with_tool)
    }

    /// Sets how tools are offered; [`Mode::Auto`] otherwise.
    pub fn with_mode(self, mode: Mode) -> Self {
        self.set(|s| s.mode = mode)
    }

    /// Sets the words that tell a model without tool calls how to use tools. The template must use `tools` and `tool_names`;
    /// it may use `instructions` and `answer_form`. Another variable, or a missing one, is a Config error when the agent runs.
    pub fn with_react_prompt(self, template: PromptTemplate) -> Self {
        self.set(|s| {
            if let Err(error) = REACT.check(&template) {
                s.problem.get_or_insert(error);
            }
            s.react_prompt = Some(template);
        })
    }

    /// Sets what happens when a tool fails; [`OnToolError::Tell`] otherwise.
    pub fn with_on_tool_error(self, policy: OnToolError) -> Self {
        self.set(|s| s.on_error = policy)
    }

    /// Sets how many tools of a turn run at once, 1 and up; 8.
    pub fn with_tool_concurrency(self, tools: usize) -> Self {
        self.set(|s| s.concurrency = tools.max(1))
    }

    /// Asks `approver` before such a call runs. Where several rules match a call, all must allow it.
    pub fn with_approval(self, needs: Needs, approver: impl Approver + 'static) -> Self {
        self.set(|s| s.approvals.push(Approval { needs, approver: Some(Arc::new(approver)) }))
    }

    /// Pauses before such a call runs, for a decision that may come hours later in another process: see
    /// [`start`](Agent::start). Run in any other way, the agent ends with `PermissionDenied` instead of running the call.
    pub fn with_approval_pause(self, needs: Needs) -> Self {
        self.set(|s| s.approvals.push(Approval { needs, approver: None }))
    }

    /// Sets the memory: recalled before each turn, and the turn recorded after it, tool calls and results included. The
    /// input must name a session then.
    pub fn with_memory(self, memory: Arc<dyn Memory>) -> Self {
        self.set(|s| s.frame.memory = Some(memory))
    }

    /// Sets the limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        self.set(|s| s.frame.limits = limits)
    }

    /// Counts the cost of the agent's own model calls by this function, in any unit; see [`AgentOutput::cost`]. A cost that
    /// is not known (`None`) ends the run with an error of kind `Budget`: it never counts as 0.
    pub fn with_cost(self, cost: impl Fn(&ModelInfo, &Usage) -> Option<f64> + Send + Sync + 'static) -> Self {
        self.set(|s| s.frame.cost = Some((None, Arc::new(cost))))
    }

    /// Stops at this cost, leaving room for a final answer where it can.
    pub fn with_cost_limit(
        self,
        limit: f64,
        cost: impl Fn(&ModelInfo, &Usage) -> Option<f64> + Send + Sync + 'static,
    ) -> Self {
        self.set(|s| s.frame.cost = Some((Some(limit), Arc::new(cost))))
    }

    /// Stops after this time by the clock. Tools are cut off after four fifths of it; the rest is kept for a final answer.
    pub fn with_time_limit(self, limit: Duration, clock: Arc<dyn Clock>) -> Self {
        self.set(|s| s.frame.time = Some((limit, clock)))
    }

    /// The agent with a typed answer.
    pub fn json<T: JsonSchema + DeserializeOwned + Send + 'static>(self) -> TypedAgent<T> {
        TypedAgent::new(self)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.set.name
    }

    /// What the model is told about its tools.
    pub fn tools(&self) -> impl Iterator<Item = &ToolSpec> {
        self.set.toolbox.specs()
    }

    /// Runs until the answer, or until a person must decide on a tool call ([`with_approval_pause`](Agent::with_approval_pause)).
    ///
    /// Nothing of the turn in question has been run then, and the [`PendingRun`] can be stored as JSON.
    ///
    /// # Errors
    /// As the agent's.
    pub async fn start(&self, input: impl Into<AgentInput>, run: &Run) -> Result<Outcome> {
        self.looping().begin(input.into(), run).await
    }

    /// Goes on with a paused run, perhaps in another process, with a decision for each of its calls by their ids.
    ///
    /// A `PendingRun` is used up by this: whoever stores it deletes it first, else a second answer runs the calls again.
    ///
    /// # Errors
    /// `InvalidInput` if a decision is missing or names no call of it, or if the stored form is of another version or broken;
    /// else as the agent's.
    pub async fn resume<S: Into<String>>(
        &self,
        pending: PendingRun,
        decisions: impl IntoIterator<Item = (S, Decision)> + Send,
        run: &Run,
    ) -> Result<Outcome> {
        let decisions = decisions.into_iter().map(|(id, decision)| (id.into(), decision)).collect();
        self.looping().resume(pending, decisions, run).await
    }

    /// The agent as a chain that may pause: [`start`](Agent::start) and [`resume`](Agent::resume) with all that chains can do.
    pub fn interruptible(self) -> Interruptible {
        Interruptible::new(self)
    }

    pub(crate) async fn step(&self, step: AgentStep, run: &Run) -> Result<Outcome> {
        match step {
            AgentStep::Start(input) => self.start(input, run).await,
            AgentStep::Resume { pending, decisions } => self.resume(*pending, decisions, run).await,
        }
    }

    fn looping(&self) -> Loop<'_> {
        Loop::new(vec![Member::alone(self)], &self.set.frame)
    }

    /// True if tools are ReAct text.
    pub(crate) fn speaks_react(&self, tools: usize) -> bool {
        match self.set.mode {
            Mode::Native => false,
            Mode::React => true,
            Mode::Auto => tools > 0 && !self.model.info().capabilities.tools,
        }
    }

    /// Finds what was put together wrongly.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(problem) = &self.set.problem {
            return Err(problem.clone());
        }
        for name in self.set.approvals.iter().flat_map(|a| a.needs.names()) {
            if self.set.toolbox.find(name).is_none() {
                return Err(Error::config("an approval names a tool that the agent doesn't have")
                    .with_context("tool", name.clone()));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Chain for Agent {
    type Input = AgentInput;
    type Output = AgentOutput;
    async fn call(&self, input: AgentInput, run: &Run) -> Result<AgentOutput> {
        self.looping().begin(input, run).await?.done()
    }
}

/// What the memory has for this turn; none without a memory.
pub(crate) async fn recall(frame: &Frame, input: &AgentInput, run: &Run) -> Result<Vec<Message>> {
    let Some(memory) = &frame.memory else { return Ok(Vec::new()) };
    let Some(session) = &input.session else {
        return Err(Error::invalid_input("the agent has a memory, so its input needs a session"));
    };
    let request =
        RecallRequest::new(session).with_input(input.messages.clone()).with_context(run.context().clone());
    memory.recall(&request).await
}

/// Hands the finished turn to the memory.
pub(crate) async fn record(
    frame: &Frame,
    session: Option<&str>,
    messages: Vec<Message>,
    run: &Run,
) -> Result<()> {
    let (Some(memory), Some(session)) = (&frame.memory, session) else { return Ok(()) };
    memory.record(RecordRequest::new(session, messages).with_context(run.context().clone())).await
}
