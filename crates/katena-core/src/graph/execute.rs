//! Walking a graph.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};

use super::END;
use super::builder::GraphState;
use super::compiled::CompiledGraph;
use super::context::{NodeContext, no_checkpoints};
use super::parts::{Kind, Next, Node, Target};
use super::session::{Env, Place};
use super::stored::{Frame, Inside, unwritable};
use crate::error::{Error, ErrorKind, Result};
use crate::run::{Event, Run};

/// A line of steps: of a graph or of a branch.
pub(super) struct Live<S> {
    at: Target,
    seq: u64,
    taken: u64,
    state: S,
    waiting: Option<Value>,
    answers: Vec<Value>,
    inside: Option<Inside>,
}

/// How a line came to rest.
pub(super) enum End<S> {
    /// At the graph's end or the branch's join.
    Done { state: S, taken: u64 },
    /// An answer is needed.
    Waiting,
    /// A parallel line has failed.
    Stopped,
}

/// How a node came to rest.
enum Outcome<S> {
    Went { state: S, next: Target, taken: u64 },
    Joined { before: S, states: Vec<S>, taken: u64 },
    Asked(Value),
    Waiting,
    Stopped,
}

/// A node's visit.
struct Visit<'a> {
    seq: u64,
    taken: u64,
    answers: Vec<Value>,
    inside: Option<Inside>,
    place: &'a Place,
    env: &'a Env,
}

impl<S: GraphState> Live<S> {
    /// A line before its first step.
    pub(super) fn begin(graph: &CompiledGraph<S>, at: Target, state: S, taken: u64) -> Self {
        let waiting = graph.first_question(at);
        Self { at, seq: 0, taken, state, waiting, answers: Vec::new(), inside: None }
    }

    /// A line where a checkpoint has it.
    pub(super) fn load(graph: &CompiledGraph<S>, frame: Frame) -> Result<Self> {
        Ok(Self {
            at: graph.target(&frame.at)?,
            seq: frame.seq,
            taken: frame.taken,
            state: graph.state(frame.state)?,
            waiting: frame.waiting,
            answers: frame.answers,
            inside: frame.inside,
        })
    }

    /// Its form for a checkpoint, without what goes on inside.
    pub(super) fn frame(&self, graph: &CompiledGraph<S>) -> Result<Frame> {
        Ok(Frame {
            at: self.at.map_or(END, |at| &graph.node(at).name).to_owned(),
            seq: self.seq,
            taken: self.taken,
            done: false,
            waiting: self.waiting.clone(),
            answers: self.answers.clone(),
            inside: None,
            state: serde_json::to_value(&self.state).map_err(unwritable)?,
        })
    }
}

impl<S: GraphState> CompiledGraph<S> {
    /// Walks a line to its end: the graph's, or the join `stop`.
    pub(super) fn frame<'a>(
        &'a self,
        live: Live<S>,
        stop: Option<usize>,
        place: Place,
        env: &'a Env,
        run: &'a Run,
    ) -> BoxFuture<'a, Result<End<S>>> {
        Box::pin(self.walk(live, stop, place, env, run))
    }

    async fn walk(
        &self,
        mut live: Live<S>,
        stop: Option<usize>,
        place: Place,
        env: &Env,
        run: &Run,
    ) -> Result<End<S>> {
        loop {
            if live.at == stop {
                return Ok(End::Done { state: live.state, taken: live.taken });
            }
            let Some(at) = live.at else { return Err(self.misplaced(END)) };
            let node = self.node(at);
            if env.is_stopping() {
                return Ok(End::Stopped);
            }
            if let Some(question) = live.waiting {
                if env.session().is_none() {
                    return Err(no_checkpoints(&node.name));
                }
                told(run, &node.name, question).await;
                return Ok(End::Waiting);
            }
            if live.taken >= self.step_limit() {
                let (limit, name) = (self.step_limit(), self.name());
                let message = format!("the graph `{name}` has taken the {limit} steps that it may");
                return Err(Error::new(ErrorKind::Budget, message).with_context("next", &node.name));
            }
            let Live { seq, taken, answers, inside, state, .. } = live;
            let visit = Visit { seq, taken, answers, inside, place: &place, env };
            let outcome = run.step(&node.name, |run| self.visit(node, state, visit, run)).await?;
            let (state, next, taken) = match outcome {
                Outcome::Went { state, next, taken } => (state, next, taken),
                Outcome::Joined { before, states, taken } => {
                    let (state, next) = self.fold(node, before, states, run).await?;
                    (state, next, taken)
                }
                Outcome::Asked(question) => {
                    if let Some(session) = env.session() {
                        let asked = question.clone();
                        session.commit(&place, |frame| frame.waiting = Some(asked)).await?;
                    }
                    told(run, &node.name, question).await;
                    return Ok(End::Waiting);
                }
                Outcome::Waiting => return Ok(End::Waiting),
                Outcome::Stopped => return Ok(End::Stopped),
            };
            live = Live { seq: seq.saturating_add(1), ..Live::begin(self, next, state, taken) };
            if let Some(session) = env.session() {
                let mut new = live.frame(self)?;
                new.done = live.at == stop;
                session.commit(&place, |frame| *frame = new).await?;
            }
        }
    }

    async fn visit(&self, node: &Node<S>, state: S, visit: Visit<'_>, run: Run) -> Result<Outcome<S>> {
        let Visit { seq, taken, answers, inside, place, env } = visit;
        let taken = taken.saturating_add(1);
        match &node.kind {
            Kind::Task(task) => {
                let context = NodeContext::new(run, &node.name, place.step(seq), env.session().cloned());
                let context = context.with_answers(answers, node.asks_first);
                match context.until_asked(task.run(state, context.clone())).await {
                    Err(question) => Ok(Outcome::Asked(question)),
                    Ok(state) => self.went(node, state?, taken),
                }
            }
            Kind::SubGraph(graph) => {
                let stored = match inside {
                    Some(Inside::Graph(root)) => Some(*root),
                    Some(Inside::Branches(_)) => return Err(self.misplaced(&node.name)),
                    None => None,
                };
                match graph.run(state, stored, place, place.inner(seq), env, &run).await? {
                    End::Done { state, .. } => self.went(node, state, taken),
                    End::Waiting => Ok(Outcome::Waiting),
                    End::Stopped => Ok(Outcome::Stopped),
                }
            }
            Kind::FanOut { branches, join } => {
                let lives = self.branches(&state, taken, branches, inside, node, place, env).await?;
                let lines = lives.into_iter().enumerate().map(|(n, live)| {
                    let line = self.frame(live, Some(*join), place.branch(seq, n), env, &run);
                    async move { (n, line.await) }
                });
                let ends = together(lines.collect(), env).await?;
                Ok(joined(state, ends))
            }
            Kind::Join(_) => Err(self.misplaced(&node.name)),
        }
    }

    fn went(&self, node: &Node<S>, state: S, taken: u64) -> Result<Outcome<S>> {
        Ok(Outcome::Went { next: self.onward(node, &state)?, state, taken })
    }

    /// The lines of a fan-out: new ones, or where a checkpoint has them.
    #[expect(clippy::too_many_arguments, reason = "the parts of one visit")]
    async fn branches(
        &self,
        state: &S,
        taken: u64,
        targets: &[usize],
        inside: Option<Inside>,
        node: &Node<S>,
        place: &Place,
        env: &Env,
    ) -> Result<Vec<Live<S>>> {
        match inside {
            Some(Inside::Branches(frames)) if frames.len() == targets.len() => {
                frames.into_iter().map(|frame| Live::load(self, frame)).collect()
            }
            Some(_) => Err(self.misplaced(&node.name)),
            None => {
                let begin = |to: &usize| Live::begin(self, Some(*to), state.clone(), taken);
                let lives: Vec<_> = targets.iter().map(begin).collect();
                if let Some(session) = env.session() {
                    let frames: Result<Vec<_>> = lives.iter().map(|live| live.frame(self)).collect();
                    session.stage(place, Inside::Branches(frames?)).await?;
                }
                Ok(lives)
            }
        }
    }

    /// The join of a fan-out, as a step of its own.
    async fn fold(&self, fan: &Node<S>, before: S, states: Vec<S>, run: &Run) -> Result<(S, Target)> {
        let Kind::FanOut { join, .. } = &fan.kind else { return Err(self.misplaced(&fan.name)) };
        let join = self.node(*join);
        let Kind::Join(fold) = &join.kind else { return Err(self.misplaced(&join.name)) };
        run.step(&join.name, async |_run| {
            let state = fold(before, states)?;
            let next = self.onward(join, &state)?;
            Ok((state, next))
        })
        .await
    }

    /// Where a node leads with this state.
    fn onward(&self, node: &Node<S>, state: &S) -> Result<Target> {
        match &node.next {
            Next::To(to) => Ok(*to),
            Next::Branches => Err(self.misplaced(&node.name)),
            Next::Choose { choose, targets } => {
                let chosen = choose(state);
                let name = |to: &Target| to.map_or(END, |to| self.node(to).name.as_str());
                targets.iter().copied().find(|to| name(to) == chosen).ok_or_else(|| {
                    let names: Vec<_> = targets.iter().map(name).collect();
                    let all = names.join("`, `");
                    let from = &node.name;
                    Error::config(format!(
                        "the branch after `{from}` chose `{chosen}`, which is none of its targets (`{all}`)"
                    ))
                })
            }
        }
    }
}

async fn told(run: &Run, node: &str, question: Value) {
    run.emit(Event::Custom { name: "interrupt".into(), value: json!({"node": node, "value": question}) })
        .await;
}

/// Runs the lines of a fan-out in this task. After an error no line begins another step; with checkpoints those under way
/// are ended first, so that what they do is recorded.
async fn together<S, F>(lines: Vec<F>, env: &Env) -> Result<Vec<End<S>>>
where
    F: Future<Output = (usize, Result<End<S>>)>,
{
    let mut ends: Vec<Option<End<S>>> = lines.iter().map(|_| None).collect();
    let mut running: FuturesUnordered<F> = lines.into_iter().collect();
    let mut first = None;
    while let Some((n, end)) = running.next().await {
        match end {
            Ok(end) => ends[n] = Some(end),
            Err(error) if env.session().is_none() => return Err(error),
            Err(error) => {
                env.stop();
                first.get_or_insert(error);
            }
        }
    }
    match first {
        Some(error) => Err(error),
        None => Ok(ends.into_iter().flatten().collect()),
    }
}

fn joined<S>(before: S, ends: Vec<End<S>>) -> Outcome<S> {
    let (mut states, mut most, mut waiting) = (Vec::with_capacity(ends.len()), 0, false);
    for end in ends {
        match end {
            End::Done { state, taken } => {
                states.push(state);
                most = most.max(taken);
            }
            End::Waiting => waiting = true,
            End::Stopped => return Outcome::Stopped,
        }
    }
    if waiting { Outcome::Waiting } else { Outcome::Joined { before, states, taken: most.saturating_add(1) } }
}
