//! Agents for Katena: the tool loop, tools, plans, hand-over, MCP.

extern crate self as katena_agents;

mod agent;
mod approval;
#[cfg(feature = "mcp")]
pub mod mcp;
mod react;
pub mod tools;

pub use agent::{
    Agent, AgentInput, AgentOutput, AgentStep, Finish, Interruptible, Limits, Mode, OnToolError, Outcome,
    PendingRun, ToolOptions, TypedAgent, TypedOutput,
};
pub use approval::{ApprovalRequest, Approver, Decision, Needs};
