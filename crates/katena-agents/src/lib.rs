//! Agents for Katena: the tool loop, tools, plans, hand-over, MCP.

extern crate self as katena_agents;

mod agent;
mod approval;
#[cfg(feature = "mcp")]
pub mod mcp;
mod plan;
mod prompt;
mod quote;
mod react;
mod team;
pub mod tools;
mod typed_tool;

pub use agent::{
    Agent, AgentInput, AgentOutput, AgentStep, Finish, Interruptible, Limits, Mode, OnToolError, Outcome,
    PendingRun, ToolOptions, TypedAgent, TypedOutput,
};
pub use approval::{ApprovalRequest, Approver, Decision, FnApprover, Needs};
pub use plan::PlanExecute;
pub use team::{AgentTool, Supervisor, Team};
#[doc(hidden)]
pub use typed_tool::__private;
#[cfg(feature = "macros")]
pub use typed_tool::tool;
pub use typed_tool::{IntoOutput, Json};
