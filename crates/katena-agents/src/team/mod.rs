//! Several agents: as tools of another, handing over to each other, or led by a supervisor.

mod handover;
mod supervisor;
mod talk;
mod tool;

pub use handover::Team;
pub use supervisor::Supervisor;
pub use tool::AgentTool;

pub(crate) use talk::{Talk, delegate, leader_options};
