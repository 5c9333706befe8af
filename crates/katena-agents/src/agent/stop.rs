//! When a run has to stop, and whether there is room for last words.

use std::time::{Duration, Instant};

use katena_core::{ChatResponse, Error, ErrorKind, Result, Run, Usage};

use super::io::Finish;
use super::limits::{Frame, Limits};
use super::looping::Member;
use super::state::State;

/// Watches the limits of one run.
pub(crate) struct Stop<'a> {
    frame: &'a Frame,
    /// When tools are cut off, and when all is.
    times: Option<(Instant, Instant)>,
}

/// A limit that was reached.
pub(crate) struct Reached {
    pub(crate) finish: Finish,
    /// Whether a final answer may be asked for.
    pub(crate) last_words: bool,
    /// Most tokens for it.
    pub(crate) max_tokens: Option<u32>,
}

impl Reached {
    pub(crate) fn with_answer(finish: Finish) -> Self {
        Self { finish, last_words: true, max_tokens: None }
    }
}

/// Fewer tokens than this are no answer.
const LEAST_ANSWER: u64 = 16;

impl<'a> Stop<'a> {
    pub(crate) fn new(frame: &'a Frame) -> Self {
        let times = frame.time.as_ref().map(|(limit, clock)| {
            let now = clock.now();
            (now + limit.mul_f64(0.8), now + *limit)
        });
        Self { frame, times }
    }

    pub(crate) fn limits(&self) -> &'a Limits {
        &self.frame.limits
    }

    /// The run for tools: it ends while there is time for an answer.
    pub(crate) fn for_tools(&self, run: &Run) -> Run {
        self.until(run, self.times.map(|(soft, _)| soft))
    }

    /// The run for models.
    pub(crate) fn for_models(&self, run: &Run) -> Run {
        self.until(run, self.times.map(|(_, hard)| hard))
    }

    fn until(&self, run: &Run, deadline: Option<Instant>) -> Run {
        let (Some(deadline), Some((_, clock))) = (deadline, &self.frame.time) else { return run.clone() };
        let mut context = run.context().clone();
        context.deadline = Some(context.deadline.map_or(deadline, |outer| outer.min(deadline)));
        run.clone().with_context(context).with_clock(clock.clone())
    }

    fn passed(&self, pick: impl Fn((Instant, Instant)) -> Instant) -> bool {
        match (self.times, &self.frame.time) {
            (Some(times), Some((_, clock))) => pick(times) <= clock.now(),
            _ => false,
        }
    }

    /// True if an error is this run's own time limit, not the caller's deadline.
    pub(crate) fn is_out_of_time(&self, error: &Error, run: &Run) -> bool {
        error.kind() == ErrorKind::Timeout && run.check().is_ok() && self.passed(|(_, hard)| hard)
    }

    /// Counts a model call.
    pub(crate) fn count(&self, member: &Member, response: &ChatResponse, state: &mut State) -> Result<()> {
        state.steps += 1;
        match response.usage.total_tokens() {
            Some(tokens) => state.last_tokens = tokens,
            None if self.frame.limits.tokens.is_some() => {
                return Err(Error::config("a token limit needs a model that reports its token counts"));
            }
            None => {}
        }
        if let Some((_, cost)) = &self.frame.cost {
            let cost = cost(member.agent.model.info(), &response.usage);
            let known = cost.filter(|c| c.is_finite() && *c >= 0.0);
            state.last_cost = known
                .ok_or_else(|| Error::new(ErrorKind::Budget, "the cost of a model call is not known"))?;
            state.cost += state.last_cost;
        }
        Ok(())
    }

    /// All tokens so far.
    pub(crate) fn usage(state: &State, run: &Run) -> Usage {
        let mut usage = state.before;
        usage += run.usage();
        usage
    }

    /// The limit that forbids another turn, if one does.
    pub(crate) fn reached(&self, state: &State, run: &Run) -> Option<Reached> {
        let limits = &self.frame.limits;
        if self.passed(|(soft, _)| soft) {
            let last_words = !self.passed(|(_, hard)| hard);
            return Some(Reached { finish: Finish::TimeLimit, last_words, max_tokens: None });
        }
        if let Some(limit) = limits.tokens {
            let used = Self::usage(state, run).total_tokens().unwrap_or(0);
            // The next prompt is at least what the last turn was; after it there must be room for last words.
            if used + 2 * state.last_tokens + LEAST_ANSWER > limit && state.steps > 0 || used >= limit {
                let room = limit.saturating_sub(used + state.last_tokens);
                return Some(Reached {
                    finish: Finish::TokenLimit,
                    last_words: room >= LEAST_ANSWER,
                    max_tokens: Some(u32::try_from(room).unwrap_or(u32::MAX)),
                });
            }
        }
        if let Some((Some(limit), _)) = self.frame.cost
            && state.cost + 2.0 * state.last_cost > limit
        {
            let last_words = state.steps > 0 && state.cost + state.last_cost <= limit;
            return Some(Reached { finish: Finish::CostLimit, last_words, max_tokens: None });
        }
        (state.steps >= limits.steps).then(|| Reached::with_answer(Finish::StepLimit))
    }

    /// The whole time limit, for errors.
    pub(crate) fn time(&self) -> Duration {
        self.frame.time.as_ref().map_or(Duration::ZERO, |(limit, _)| *limit)
    }
}
