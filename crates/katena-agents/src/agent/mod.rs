//! The agent: a model, its tools, and the loop between them.

mod calls;
mod check;
mod execute;
mod io;
mod limits;
mod looping;
mod outcome;
mod settings;
mod state;
mod stop;
mod toolbox;
mod turn;
mod typed;

pub use io::{AgentInput, AgentOutput, Finish};
pub use limits::Limits;
pub use outcome::{AgentStep, Interruptible, Outcome, PendingRun};
pub use settings::{Agent, Mode};
pub use toolbox::{OnToolError, ToolOptions};
pub use typed::{TypedAgent, TypedOutput};

pub(crate) use calls::shorten;
pub(crate) use limits::Frame;
pub(crate) use looping::{Loop, Member, Transfer};
pub(crate) use settings::{recall, record};
pub(crate) use state::{State, fingerprint};
pub(crate) use turn::Turn;
