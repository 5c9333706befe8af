//! The loop: ask, check, approve, run, ask again.

use std::collections::BTreeMap;

use katena_core::{
    ChatResponse, Error, FinishReason, Message, Part, Result, Role, Run, ToolCall, ToolResult, ToolSpec,
};

use super::calls::told;
use super::check::{Checked, Verdict, check};
use super::execute::{Job, check_decision, execute, tell_call, tell_result};
use super::io::{AgentInput, AgentOutput, Finish};
use super::limits::Frame;
use super::outcome::{Outcome, PendingRun};
use super::settings::{Agent, recall, record};
use super::state::{State, fingerprint};
use super::stop::{Reached, Stop};
use super::turn::Turn;
use super::typed::FinalTool;
use crate::approval::{ApprovalRequest, Decision};

/// A tool that hands over to another member.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) spec: ToolSpec,
    pub(crate) to: usize,
}

/// An agent that can be active in a run.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) agent: Agent,
    pub(crate) transfers: Vec<Transfer>,
}

impl Member {
    pub(crate) fn alone(agent: &Agent) -> Self {
        Self { agent: agent.clone(), transfers: Vec::new() }
    }

    /// All that the model may call.
    pub(crate) fn offered<'a>(&'a self, last: Option<&'a FinalTool>) -> impl Iterator<Item = &'a ToolSpec> {
        let transfers = self.transfers.iter().map(|t| &t.spec);
        self.agent.set.toolbox.specs().chain(transfers).chain(last.map(|l| &l.spec))
    }
}

/// A run of one agent, or of several that hand over to each other.
pub(crate) struct Loop<'a> {
    members: std::borrow::Cow<'a, [Member]>,
    frame: &'a Frame,
    last: Option<&'a FinalTool>,
}

/// A turn whose calls are known.
struct Calls {
    turn: Vec<ToolCall>,
    /// Results of those that are not run.
    answered: Vec<ToolResult>,
    transfer: Option<usize>,
    decisions: BTreeMap<String, Decision>,
}

impl<'a> Loop<'a> {
    pub(crate) fn new(members: impl Into<std::borrow::Cow<'a, [Member]>>, frame: &'a Frame) -> Self {
        Self { members: members.into(), frame, last: None }
    }

    /// Ends with a call of this tool.
    pub(crate) fn with_last(mut self, last: &'a FinalTool) -> Self {
        self.last = Some(last);
        self
    }

    fn check(&self) -> Result<()> {
        self.frame.limits.check()?;
        for member in &*self.members {
            member.agent.check()?;
            let mut names: Vec<&str> = member.offered(self.last).map(|s| s.name.as_str()).collect();
            names.sort_unstable();
            if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                let name = pair[0].to_owned();
                return Err(Error::config("two tools have the same name").with_context("tool", name));
            }
        }
        Ok(())
    }

    pub(crate) async fn begin(&self, input: AgentInput, run: &Run) -> Result<Outcome> {
        self.check()?;
        if input.messages.is_empty() {
            return Err(Error::invalid_input("an agent needs at least one message"));
        }
        let mut messages = recall(self.frame, &input, run).await?;
        let recalled = messages.len();
        messages.extend(input.messages);
        let fresh = messages.len();
        let active = self.members[0].agent.set.name.clone();
        let state = State { session: input.session, messages, recalled, fresh, active, ..State::default() };
        self.go(state, None, run).await
    }

    pub(crate) async fn resume(
        &self,
        pending: PendingRun,
        decisions: BTreeMap<String, Decision>,
        run: &Run,
    ) -> Result<Outcome> {
        self.check()?;
        pending.check()?;
        let PendingRun { state, turn, answered, .. } = pending;
        if let Some(id) = decisions.keys().find(|id| !turn.iter().any(|c| c.id == **id)) {
            return Err(Error::invalid_input("a decision names no call of the paused run")
                .with_context("call", id.clone()));
        }
        decisions.values().try_for_each(check_decision)?;
        let member = &self.members[self.active(&state)?];
        let done = |call: &ToolCall| answered.iter().any(|r| r.call_id == call.id && !r.is_error);
        let mut transfers = member.transfers.iter();
        let transfer =
            transfers.find(|t| turn.iter().any(|c| c.name == t.spec.name && done(c))).map(|t| t.to);
        self.go(state, Some(Calls { turn, answered, transfer, decisions }), run).await
    }

    async fn go(&self, mut state: State, mut calls: Option<Calls>, run: &Run) -> Result<Outcome> {
        let run = &run.counted();
        let stop = &Stop::new(self.frame);
        let models = &stop.for_models(run);
        let mut active = self.active(&state)?;
        let mut turn = Turn { member: &self.members[active], last: self.last, stop, run: models };
        let mut request = turn.request();
        loop {
            let todo = match calls.take() {
                Some(resumed) => resumed,
                None => {
                    if let Some(reached) = stop.reached(&state, run) {
                        let message = turn.last_words(&reached, request, &mut state).await?;
                        return self.end(message, reached.finish, state, run).await;
                    }
                    let mut response = match turn.take(&mut request, &mut state).await {
                        Err(error) if stop.is_out_of_time(&error, run) => {
                            let message = state.last_words();
                            tracing::debug!(limit = ?stop.time(), "the agent's time is over");
                            return self.end(message, Finish::TimeLimit, state, run).await;
                        }
                        other => other?,
                    };
                    let earlier = &state.messages;
                    let limits = &self.frame.limits;
                    let checked = check(
                        turn.member,
                        self.last,
                        limits,
                        &mut response.message,
                        earlier,
                        &response.finish,
                    );
                    if checked.is_empty() {
                        let cut = response.finish == FinishReason::Length;
                        let finish = if cut { Finish::Cut } else { Finish::Answered };
                        return self.end(response.message, finish, state, run).await;
                    }
                    match self.sort(checked, response, &mut state, run).await? {
                        Sorted::Calls(calls) => calls,
                        Sorted::Answer(message) => {
                            return self.end(message, Finish::Answered, state, run).await;
                        }
                        Sorted::Repeated => {
                            let reached = Reached::with_answer(Finish::Repetition);
                            let message = turn.last_words(&reached, request, &mut state).await?;
                            return self.end(message, Finish::Repetition, state, run).await;
                        }
                    }
                }
            };
            let transfer = todo.transfer;
            match self.perform(turn.member, stop, todo, &mut state, run).await? {
                Ok(results) => {
                    let parts = results.into_iter().map(Part::ToolResult).collect();
                    state.messages.push(Message::new(Role::Tool, parts));
                }
                Err(pending) => {
                    let (turn, answered, calls) = *pending;
                    state.before = Stop::usage(&state, run);
                    let pending = PendingRun::new(state, turn, answered, calls);
                    return Ok(Outcome::Pending(Box::new(pending)));
                }
            }
            if let Some(to) = transfer {
                active = to;
                state.transfers += 1;
                state.active.clone_from(&self.members[active].agent.set.name);
                turn = Turn { member: &self.members[active], ..turn };
                request = turn.request();
            }
        }
    }

    fn active(&self, state: &State) -> Result<usize> {
        self.members.iter().position(|m| m.agent.set.name == state.active).ok_or_else(|| {
            Error::invalid_input("the paused run's agent is not here")
                .with_context("agent", state.active.clone())
        })
    }

    /// Sorts the calls of a turn: those to run, those that are answered without.
    async fn sort(
        &self,
        checked: Vec<Checked>,
        mut response: ChatResponse,
        state: &mut State,
        run: &Run,
    ) -> Result<Sorted> {
        let limits = &self.frame.limits;
        let print = fingerprint(checked.iter().flat_map(|c| [c.call.name.as_str(), c.call.arguments.trim()]));
        state.repeats = if print == state.fingerprint { state.repeats + 1 } else { 1 };
        state.fingerprint = print;
        if state.repeats > limits.repeats + 1 {
            return Ok(Sorted::Repeated);
        }
        let repeated = state.repeats > limits.repeats;
        let malformed = checked.iter().all(|c| c.malformed);
        state.malformed = if malformed { state.malformed + 1 } else { 0 };
        if state.malformed > limits.repairs {
            let problem = checked.into_iter().find_map(|c| match c.verdict {
                Verdict::Told(result) => Some(Message::tool(result)),
                _ => None,
            });
            let problem = problem.map(|m| text_of(&m)).unwrap_or_default();
            return Err(Error::invalid_output("the model called tools wrongly, again and again")
                .with_context("problem", problem));
        }
        let single = checked.len() == 1;
        let mut calls =
            Calls { turn: Vec::new(), answered: Vec::new(), transfer: None, decisions: BTreeMap::new() };
        for Checked { call, verdict, .. } in checked {
            let result = match verdict {
                Verdict::Told(result) => Some(result),
                _ if repeated => {
                    let words = "this same call has been made again and again; it was not run";
                    Some(told(
                        &call,
                        "invalid_input",
                        words,
                        false,
                        "Use the results that you have, or do something else.",
                    ))
                }
                Verdict::Run => None,
                Verdict::Final if single => match self.last.map(|l| (l.check)(&call.arguments)) {
                    Some(Err(problem)) => {
                        let hint = "Call the tool again with an answer that fits its schema.";
                        Some(told(&call, "invalid_output", problem, true, hint))
                    }
                    _ => {
                        // A call without a result would be an orphan in the memory.
                        response
                            .message
                            .parts
                            .retain(|p| !matches!(p, Part::ToolCall(_) | Part::Text { .. }));
                        response.message.parts.push(Part::text(call.arguments));
                        return Ok(Sorted::Answer(response.message));
                    }
                },
                Verdict::Final => {
                    let words = "the answer was given together with other calls; it was not taken";
                    Some(told(
                        &call,
                        "invalid_input",
                        words,
                        true,
                        "Look at the other results first, then answer alone.",
                    ))
                }
                Verdict::Transfer(_) if calls.transfer.is_some() => {
                    let words = "only one hand-over in a turn; this one was not done";
                    Some(told(&call, "invalid_input", words, false, ""))
                }
                Verdict::Transfer(_) if state.transfers >= limits.transfers => {
                    let words = "no more hand-overs; this one was not done";
                    Some(told(&call, "budget", words, false, "Answer yourself."))
                }
                Verdict::Transfer(to) => {
                    calls.transfer = Some(to);
                    let name = &self.members[to].agent.set.name;
                    Some(ToolResult::text(&call, format!("[handed over to {name}]")))
                }
            };
            if let Some(result) = result {
                tell_call(&call, run).await;
                tell_result(&result, run).await;
                calls.answered.push(result);
            }
            calls.turn.push(call);
        }
        state.messages.push(response.message);
        Ok(Sorted::Calls(calls))
    }

    /// Runs a turn's calls that a person allows, or says which still need a decision.
    async fn perform(
        &self,
        member: &Member,
        stop: &Stop<'_>,
        calls: Calls,
        state: &mut State,
        run: &Run,
    ) -> Result<std::result::Result<Vec<ToolResult>, Box<(Vec<ToolCall>, Vec<ToolResult>, Vec<ToolCall>)>>>
    {
        let set = &member.agent.set;
        let Calls { turn, mut answered, mut decisions, .. } = calls;
        let is_open = |call: &&ToolCall| !answered.iter().any(|r| r.call_id == call.id);
        let waits = |call: &&ToolCall| {
            let asks = |a: &crate::approval::Approval| a.approver.is_none() && a.needs.matches(call);
            set.approvals.iter().any(asks) && !decisions.contains_key(&call.id)
        };
        let waiting: Vec<ToolCall> = turn.iter().filter(is_open).filter(waits).cloned().collect();
        if !waiting.is_empty() {
            if !decisions.is_empty() {
                return Err(Error::invalid_input("a decision is missing for a call of the paused run")
                    .with_context("call", waiting[0].id.clone()));
            }
            return Ok(Err(Box::new((turn, answered, waiting))));
        }
        let mut jobs = Vec::new();
        for call in turn.iter().filter(is_open) {
            let Some(tool) = set.toolbox.find(&call.name) else {
                return Err(Error::invalid_input("the paused run calls a tool that the agent doesn't have")
                    .with_context("tool", call.name.clone()));
            };
            let given = decisions.remove(&call.id).unwrap_or(Decision::Approve);
            let decision = self.decide(member, call, given, state, run).await?;
            jobs.push(Job { call: call.clone(), tool, decision });
        }
        let mut ran = execute(member, stop, jobs, run).await?.into_iter().peekable();
        let mut results = Vec::with_capacity(turn.len());
        for call in turn {
            let next = match ran.next_if(|r| r.call_id == call.id) {
                Some(result) => Some(result),
                None => answered.iter().position(|r| r.call_id == call.id).map(|n| answered.swap_remove(n)),
            };
            let missing = || Error::unexpected("a tool call has no result");
            results.push(next.ok_or_else(missing)?);
        }
        Ok(Ok(results))
    }

    /// Asks all who must be asked about a call; the first that denies it decides.
    async fn decide(
        &self,
        member: &Member,
        call: &ToolCall,
        given: Decision,
        state: &State,
        run: &Run,
    ) -> Result<Decision> {
        let mut decision = given;
        for approval in &member.agent.set.approvals {
            let Some(approver) = &approval.approver else { continue };
            let mut call = call.clone();
            match &decision {
                Decision::Deny { .. } => break,
                Decision::Edit { arguments } => call.arguments.clone_from(arguments),
                Decision::Approve => {}
            }
            if !approval.needs.matches(&call) {
                continue;
            }
            let request = ApprovalRequest::new(&member.agent.set.name, state.session.clone(), call);
            let next = run.step("approval", async |run: Run| approver.decide(&request, &run).await).await?;
            check_decision(&next)?;
            if next != Decision::Approve {
                decision = next;
            }
        }
        Ok(decision)
    }

    async fn end(&self, message: Message, finish: Finish, mut state: State, run: &Run) -> Result<Outcome> {
        let usage = Stop::usage(&state, run);
        state.messages.push(message.clone());
        let fresh = state.messages[state.fresh..].to_vec();
        if self.frame.memory.is_some() {
            let turn = state.messages.split_off(state.recalled);
            record(self.frame, state.session.as_deref(), turn, run).await?;
        }
        let output = AgentOutput {
            message,
            finish,
            steps: state.steps,
            usage,
            cost: self.frame.cost.is_some().then_some(state.cost),
            messages: fresh,
            agent: state.active,
        };
        Ok(Outcome::Done(Box::new(output)))
    }
}

enum Sorted {
    Calls(Calls),
    Answer(Message),
    Repeated,
}

fn text_of(message: &Message) -> String {
    let texts = message.parts.iter().filter_map(|p| match p {
        Part::ToolResult(result) => result.parts.iter().find_map(|p| match p {
            Part::Text { text } => Some(text.as_str()),
            _ => None,
        }),
        _ => None,
    });
    texts.collect()
}
