//! A supervisor that gives tasks to workers until the answer is there.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    BoxChain, Chain, ChainExt as _, ChatModel, Error, Event, Memory, Message, Result, Run, extract_in,
};
use katena_prompts::{PromptTemplate, Vars};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::talk::{Talk, delegate, leader_options};
use crate::agent::{AgentInput, AgentOutput, Finish, Frame, fingerprint};
use crate::prompt::{SUPERVISOR, paragraph};
use crate::quote::quoted;

#[derive(Deserialize, JsonSchema)]
struct Route {
    /// The name of the worker who is to do something next. Leave it out when the answer is there.
    worker: Option<String>,
    /// What that worker is to do, with all that it must know: it does not see the conversation.
    task: Option<String>,
    /// The final answer to the user, when nothing is left to do.
    answer: Option<String>,
}

struct Worker {
    name: String,
    description: String,
    agent: BoxChain<AgentInput, AgentOutput>,
}

/// A model that only routes: it gives tasks to workers, reads their reports, and answers. It needs no tool calls, since
/// each decision is a typed answer.
///
/// A worker's error is a report too. The reports reach the model as quoted text, so that nothing in them can route.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::{Agent, Supervisor};
/// use katena_core::{ChainExt, fake::ScriptedChat};
/// let boss = ScriptedChat::texts([r#"{"worker":"maths","task":"What is 6 * 7?"}"#, r#"{"answer":"It is 42."}"#]);
/// let maths = Agent::new(ScriptedChat::texts(["42"]));
/// let output = Supervisor::new(boss).with_worker("maths", "Calculates.", maths).run("6 * 7?").await?;
/// assert_eq!(output.text(), "It is 42.");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct Supervisor {
    model: Arc<dyn ChatModel>,
    name: String,
    instructions: String,
    prompt: Option<PromptTemplate>,
    workers: Arc<Vec<Worker>>,
    frame: Frame,
}

impl Clone for Worker {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), description: self.description.clone(), agent: self.agent.clone() }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("model", &self.model.info().model)
            .field("workers", &self.workers.iter().map(|w| &w.name).collect::<Vec<_>>())
            .field("frame", &self.frame)
            .finish_non_exhaustive()
    }
}

leader_options!(Supervisor, "one decision");

impl Supervisor {
    /// A supervisor without workers yet.
    pub fn new(model: impl ChatModel + 'static) -> Self {
        Self {
            model: Arc::new(model),
            name: "supervisor".to_owned(),
            instructions: String::new(),
            prompt: None,
            workers: Arc::default(),
            frame: Frame::default(),
        }
    }

    /// Adds a worker. The description tells the supervisor what it is for.
    pub fn with_worker(
        mut self,
        name: impl Into<String>,
        description: impl Into<String>,
        agent: impl Chain<Input = AgentInput, Output = AgentOutput> + 'static,
    ) -> Self {
        let worker = Worker { name: name.into(), description: description.into(), agent: agent.boxed() };
        Arc::make_mut(&mut self.workers).push(worker);
        self
    }

    /// Sets how often in a row the same worker may get the same task (default 2).
    pub fn with_repeats(mut self, turns: u32) -> Self {
        self.frame.limits.repeats = turns;
        self
    }

    /// Sets the words that tell it how to lead. The template must use `workers` and may use `instructions`.
    ///
    /// # Errors
    /// Kind `Config` naming the variable that it lacks or that nothing fills.
    pub fn with_prompt(mut self, template: PromptTemplate) -> Result<Self> {
        SUPERVISOR.check(&template)?;
        self.prompt = Some(template);
        Ok(self)
    }

    fn words(&self) -> Result<String> {
        let mut workers = String::new();
        for worker in &*self.workers {
            let _ = writeln!(workers, "- {}: {}", worker.name, worker.description);
        }
        let vars = Vars::new().with("instructions", paragraph(&self.instructions)).with("workers", workers);
        SUPERVISOR.render(self.prompt.as_ref(), &vars)
    }
}

#[async_trait]
impl Chain for Supervisor {
    type Input = AgentInput;
    type Output = AgentOutput;
    async fn call(&self, input: AgentInput, run: &Run) -> Result<AgentOutput> {
        if self.workers.is_empty() {
            return Err(Error::config("a supervisor needs a worker"));
        }
        let run = &run.counted();
        let mut talk = Talk::begin(&self.frame, input, run).await?;
        let (words, mut last, mut repeats) = (self.words()?, 0, 0);
        loop {
            if let Some(finish) = talk.reached(run.usage()) {
                let question =
                    "No more tasks can be given. Give the final answer now, with what the reports hold.";
                let request = talk.request(&words, question);
                talk.steps += 1;
                let answer = run.quiet().chat(&*self.model, request).await?;
                return talk.end(Message::assistant(answer.text()), finish, &self.name, run).await;
            }
            let route: Route = extract_in(&run.quiet(), &*self.model, talk.request(&words, "")).await?;
            talk.steps += 1;
            let Some(name) = route.worker.filter(|w| !w.trim().is_empty()) else {
                if let Some(answer) = route.answer.filter(|a| !a.trim().is_empty()) {
                    return talk.end(Message::assistant(answer), Finish::Answered, &self.name, run).await;
                }
                talk.push(Message::user("Name a worker and a task, or give the answer."));
                continue;
            };
            let task = route.task.unwrap_or_default();
            let print = fingerprint([&*name, &*task].into_iter());
            repeats = if print == last { repeats + 1 } else { 1 };
            last = print;
            if repeats > self.frame.limits.repeats {
                let request = talk
                    .request(&words, "The same task was given again and again. Give the final answer now.");
                talk.steps += 1;
                let answer = run.quiet().chat(&*self.model, request).await?;
                return talk
                    .end(Message::assistant(answer.text()), Finish::Repetition, &self.name, run)
                    .await;
            }
            talk.push(Message::assistant(format!("{name} is to do this: {task}")));
            let report = match self.workers.iter().find(|w| w.name == name) {
                Some(worker) => {
                    let value = json!({"worker": name, "task": task});
                    run.emit(Event::Custom { name: "route".to_owned(), value }).await;
                    {
                        let task = if task.is_empty() { "Go on." } else { task.as_str() };
                        delegate(&worker.agent, &worker.name, task.into(), &self.frame, run).await?
                    }
                }
                None => {
                    let names: Vec<&str> = self.workers.iter().map(|w| w.name.as_str()).collect();
                    format!("[there is no such worker; the workers are {}]", names.join(", "))
                }
            };
            talk.push(Message::user(format!("The report:\n{}", quoted(&report))));
        }
    }
}
