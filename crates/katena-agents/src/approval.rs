//! Asking a person before a tool runs.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Result, Run, ToolCall};
use serde::{Deserialize, Serialize};

/// A person's word on one tool call.
///
/// ```
/// use katena_agents::Decision;
/// let json = serde_json::to_string(&Decision::deny("too expensive")).unwrap();
/// assert_eq!(json, r#"{"deny":{"reason":"too expensive"}}"#);
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Run it.
    Approve,
    /// Don't run it; the model is told why.
    Deny {
        /// For the model.
        reason: String,
    },
    /// Run it with other arguments; the model is told which.
    Edit {
        /// JSON text of an object.
        arguments: String,
    },
}

impl Decision {
    /// Don't run it, for this reason.
    pub fn deny(reason: impl Into<String>) -> Self {
        Self::Deny { reason: reason.into() }
    }

    /// Run it with these arguments: JSON text of an object.
    pub fn edit(arguments: impl Into<String>) -> Self {
        Self::Edit { arguments: arguments.into() }
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approve => "Approve",
            Self::Deny { .. } => "Deny",
            Self::Edit { .. } => "Edit",
        })
    }
}

/// The question to a person: may this call be run?
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApprovalRequest {
    /// The agent's name.
    pub agent: String,
    /// The session, if the input named one.
    pub session: Option<String>,
    /// What would be run. The arguments are the model's words: show them as data.
    pub call: ToolCall,
}

impl ApprovalRequest {
    /// A question.
    pub fn new(agent: impl Into<String>, session: Option<String>, call: ToolCall) -> Self {
        Self { agent: agent.into(), session, call }
    }
}

impl fmt::Debug for ApprovalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApprovalRequest")
            .field("agent", &self.agent)
            .field("tool", &self.call.name)
            .finish_non_exhaustive()
    }
}

/// Asks a person (or a policy) while the run waits. For answers that come hours later, see [`Agent::start`](crate::Agent::start).
///
/// # Contract
/// - An error ends the run; a call that nobody approved is not run.
///
/// ```
/// use katena_agents::{ApprovalRequest, Approver, Decision};
/// use katena_core::{Result, Run};
///
/// #[derive(Debug)]
/// struct NobodyHome;
/// #[async_trait::async_trait]
/// impl Approver for NobodyHome {
///     async fn decide(&self, _request: &ApprovalRequest, _run: &Run) -> Result<Decision> {
///         Ok(Decision::deny("nobody is here to ask"))
///     }
/// }
/// ```
#[async_trait]
pub trait Approver: fmt::Debug + Send + Sync {
    /// Decides on one call.
    async fn decide(&self, request: &ApprovalRequest, run: &Run) -> Result<Decision>;
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Approver + ?Sized> Approver for Arc<T> {
    async fn decide(&self, request: &ApprovalRequest, run: &Run) -> Result<Decision> {
        (**self).decide(request, run).await
    }
}

/// An approver made from an async function.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::{ApprovalRequest, Approver, Decision, FnApprover};
/// use katena_core::{Run, ToolCall};
/// let never = FnApprover::new(async |_request: ApprovalRequest, _run: Run| Ok(Decision::deny("no")));
/// let request = ApprovalRequest::new("agent", None, ToolCall::new("1", "refund", "{}"));
/// assert_eq!(never.decide(&request, &Run::new()).await.unwrap(), Decision::deny("no"));
/// # }).unwrap();
/// ```
pub struct FnApprover<F>(F);

impl<F> fmt::Debug for FnApprover<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnApprover")
    }
}

impl<F, Fut> FnApprover<F>
where
    Fut: Future<Output = Result<Decision>> + Send,
    F: Fn(ApprovalRequest, Run) -> Fut + Send + Sync,
{
    /// Asks by this function.
    pub fn new(ask: F) -> Self {
        Self(ask)
    }
}

#[async_trait]
impl<F, Fut> Approver for FnApprover<F>
where
    Fut: Future<Output = Result<Decision>> + Send,
    F: Fn(ApprovalRequest, Run) -> Fut + Send + Sync,
{
    async fn decide(&self, request: &ApprovalRequest, run: &Run) -> Result<Decision> {
        self.0(request.clone(), run.clone()).await
    }
}

type Predicate = Arc<dyn Fn(&ToolCall) -> bool + Send + Sync>;

/// Which calls need approval.
///
/// ```
/// use katena_agents::Needs;
/// use katena_core::ToolCall;
/// let call = ToolCall::new("1", "refund", r#"{"amount": 900}"#);
/// assert!(Needs::tools(["refund"]).matches(&call));
/// assert!(!Needs::when(|call| call.arguments.contains("1000")).matches(&call));
/// ```
#[derive(Clone)]
pub struct Needs(Kind);

#[derive(Clone)]
enum Kind {
    All,
    Tools(Arc<[String]>),
    When(Predicate),
}

impl fmt::Debug for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::All => f.write_str("Needs(all)"),
            Kind::Tools(names) => write!(f, "Needs({names:?})"),
            Kind::When(_) => f.write_str("Needs(when)"),
        }
    }
}

impl Needs {
    /// Every call of every tool.
    pub fn all() -> Self {
        Self(Kind::All)
    }

    /// Every call of these tools. A name that the agent doesn't have is a Config error when it runs.
    pub fn tools<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self(Kind::Tools(names.into_iter().map(Into::into).collect()))
    }

    /// Calls for which this is true. It sees the arguments as the model wrote them.
    pub fn when(matches: impl Fn(&ToolCall) -> bool + Send + Sync + 'static) -> Self {
        Self(Kind::When(Arc::new(matches)))
    }

    /// True if this call needs approval.
    pub fn matches(&self, call: &ToolCall) -> bool {
        match &self.0 {
            Kind::All => true,
            Kind::Tools(names) => names.contains(&call.name),
            Kind::When(matches) => matches(call),
        }
    }

    pub(crate) fn names(&self) -> &[String] {
        if let Kind::Tools(names) = &self.0 { names } else { &[] }
    }
}

/// Calls that need approval, and who is asked; nobody there means that the run pauses.
#[derive(Debug, Clone)]
pub(crate) struct Approval {
    pub(crate) needs: Needs,
    pub(crate) approver: Option<Arc<dyn Approver>>,
}
