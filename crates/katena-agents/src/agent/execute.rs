//! Runs the calls of a turn.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use katena_core::{Error, ErrorKind, Event, Part, Result, Run, ToolCall, ToolResult};
use serde_json::json;

use super::calls::{failed, output, told};
use super::looping::Member;
use super::stop::Stop;
use super::toolbox::OnToolError;
use crate::approval::Decision;

/// One call that may be run.
pub(crate) struct Job {
    pub(crate) call: ToolCall,
    pub(crate) tool: usize,
    /// What a person said of it.
    pub(crate) decision: Decision,
}

/// Runs the jobs, those that may at once, and gives the results in their order.
pub(crate) async fn execute(
    member: &Member,
    stop: &Stop<'_>,
    jobs: Vec<Job>,
    run: &Run,
) -> Result<Vec<ToolResult>> {
    let set = &member.agent.set;
    let inner = stop.for_tools(run);
    let alone = |job: &Job| set.toolbox.entries[job.tool].options.alone;
    let mut results = Vec::with_capacity(jobs.len());
    let mut jobs = jobs.into_iter().peekable();
    while let Some(job) = jobs.next() {
        if alone(&job) {
            results.push(one(member, stop, job, run, &inner).await?);
            continue;
        }
        let mut group = vec![job];
        while let Some(job) = jobs.next_if(|job| !alone(job)) {
            group.push(job);
        }
        if group.len() == 1 {
            for job in group {
                results.push(one(member, stop, job, run, &inner).await?);
            }
            continue;
        }
        // Boxed: a stream of async blocks that borrow is not `Send` in general (rust-lang/rust#89976).
        let work: Vec<_> = group
            .into_iter()
            .map(|job| futures_util::FutureExt::boxed(one(member, stop, job, run, &inner)))
            .collect();
        let group: Vec<ToolResult> = stream::iter(work).buffered(set.concurrency).try_collect().await?;
        results.extend(group);
    }
    Ok(results)
}

async fn one(member: &Member, stop: &Stop<'_>, job: Job, run: &Run, inner: &Run) -> Result<ToolResult> {
    let Job { mut call, tool, decision } = job;
    let set = &member.agent.set;
    let limits = stop.limits();
    let edited = match decision {
        Decision::Approve => None,
        Decision::Deny { reason } => {
            let message = format!("a person did not allow this call: {reason}");
            let hint = "Don't make this call again; go on without it.";
            let result = told(&call, "permission_denied", message, false, hint);
            tell_call(&call, run).await;
            tell_result(&result, run).await;
            return Ok(result);
        }
        Decision::Edit { arguments } => {
            let note = format!("[a person changed the arguments to {arguments}]\n");
            call.arguments = arguments;
            Some(note)
        }
    };
    tell_call(&call, run).await;
    let entry = &set.toolbox.entries[tool];
    let done = inner.step(&call.name, async |run: Run| entry.tool.call(call.clone(), &run).await).await;
    let mut result = match done {
        Ok(done) => {
            let bytes = entry.options.output_bytes.unwrap_or(limits.output_bytes);
            output(&call, done, limits, bytes, member.agent.model.info().capabilities)
        }
        Err(error) => {
            run.check()?;
            if error.kind() == ErrorKind::Cancelled {
                return Err(error);
            }
            if entry.options.on_error.unwrap_or(set.on_error) == OnToolError::Fail {
                return Err(error.with_context("tool", call.name.clone()));
            }
            tracing::debug!(tool = call.name, kind = error.kind().as_str(), "a tool failed");
            failed(&call, &error, limits)
        }
    };
    if let Some(note) = edited {
        result.parts.insert(0, Part::text(note));
    }
    tell_result(&result, run).await;
    Ok(result)
}

fn heard(run: &Run) -> bool {
    run.is_listened() || run.is_recording()
}

/// Tells the listener of a call.
pub(crate) async fn tell_call(call: &ToolCall, run: &Run) {
    if heard(run) {
        let value = json!({"id": call.id, "name": call.name, "arguments": call.arguments});
        run.emit(Event::Custom { name: "tool_call".to_owned(), value }).await;
    }
}

/// Tells the listener of a result.
pub(crate) async fn tell_result(result: &ToolResult, run: &Run) {
    if heard(run) {
        let text: String = result
            .parts
            .iter()
            .filter_map(|p| if let Part::Text { text } = p { Some(text.as_str()) } else { None })
            .collect();
        let value = json!({"id": result.call_id, "name": result.name, "ok": !result.is_error, "text": text});
        run.emit(Event::Custom { name: "tool_result".to_owned(), value }).await;
    }
}

/// A decision that doesn't hold: edited arguments that are no object.
pub(crate) fn check_decision(decision: &Decision) -> Result<()> {
    if let Decision::Edit { arguments } = decision {
        let value: serde_json::Value = serde_json::from_str(arguments)
            .map_err(|e| Error::invalid_input("edited arguments are no JSON").with_source(e))?;
        if !value.is_object() {
            return Err(Error::invalid_input("edited arguments are no JSON object"));
        }
    }
    Ok(())
}
