//! What a webhook tells.

use std::fmt;
use std::time::SystemTime;

use serde_json::Value;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// Which event. The vendors' words are unique, so one type serves both; a word that is not known is kept.
        ///
        /// ```
        /// use katena_llms::webhooks::WebhookKind;
        /// assert_eq!(WebhookKind::of("batch.completed"), WebhookKind::BatchCompleted);
        /// assert_eq!(WebhookKind::of("batch.lost").as_str(), "batch.lost");
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum WebhookKind {
            $($(#[$doc])* $variant,)*
            /// A kind that came after this was written: the vendor's word.
            Other(String),
        }

        impl WebhookKind {
            /// Every kind that has a name here.
            pub const KNOWN: &[Self] = &[$(Self::$variant,)*];

            /// By the vendor's word.
            pub fn of(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }

            /// The vendor's word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }
        }
    };
}

kinds! {
    /// OpenAI: a background response is done.
    ResponseCompleted = "response.completed",
    /// OpenAI: a background response failed.
    ResponseFailed = "response.failed",
    /// OpenAI: a background response was cancelled.
    ResponseCancelled = "response.cancelled",
    /// OpenAI: a background response ended early.
    ResponseIncomplete = "response.incomplete",
    /// OpenAI: a batch is done.
    BatchCompleted = "batch.completed",
    /// OpenAI: a batch failed.
    BatchFailed = "batch.failed",
    /// OpenAI: a batch took too long.
    BatchExpired = "batch.expired",
    /// OpenAI: a batch was cancelled.
    BatchCancelled = "batch.cancelled",
    /// OpenAI: a fine-tuning job is done.
    FineTuningJobSucceeded = "fine_tuning.job.succeeded",
    /// OpenAI: a fine-tuning job failed.
    FineTuningJobFailed = "fine_tuning.job.failed",
    /// OpenAI: a fine-tuning job was cancelled.
    FineTuningJobCancelled = "fine_tuning.job.cancelled",
    /// OpenAI: a run of evals is done.
    EvalRunSucceeded = "eval.run.succeeded",
    /// OpenAI: a run of evals failed.
    EvalRunFailed = "eval.run.failed",
    /// OpenAI: a run of evals was cancelled.
    EvalRunCanceled = "eval.run.canceled",
    /// OpenAI: a call comes in for the Realtime API.
    RealtimeCallIncoming = "realtime.call.incoming",
    /// OpenAI: a live call comes in.
    LiveCallIncoming = "live.call.incoming",
    /// Anthropic: a session was created.
    SessionCreated = "session.created",
    /// Anthropic: a session waits for its start.
    SessionPending = "session.pending",
    /// Anthropic: a session runs.
    SessionRunning = "session.running",
    /// Anthropic: a session has nothing to do.
    SessionIdled = "session.idled",
    /// Anthropic: a session waits for the caller.
    SessionRequiresAction = "session.requires_action",
    /// Anthropic: a session was archived.
    SessionArchived = "session.archived",
    /// Anthropic: a session was deleted.
    SessionDeleted = "session.deleted",
    /// Anthropic: a session tries again after a passing error.
    SessionStatusRescheduled = "session.status_rescheduled",
    /// Anthropic: a session's run began.
    SessionStatusRunStarted = "session.status_run_started",
    /// Anthropic: a session waits for input.
    SessionStatusIdled = "session.status_idled",
    /// Anthropic: a session ended.
    SessionStatusTerminated = "session.status_terminated",
    /// Anthropic: a session reached its budget.
    SessionBudgetReached = "session.budget_reached",
    /// Anthropic: an evaluation of a session's outcome ended.
    SessionOutcomeEvaluationEnded = "session.outcome_evaluation_ended",
    /// Anthropic: a thread of a session began.
    SessionThreadCreated = "session.thread_created",
    /// Anthropic: a thread of a session has nothing to do.
    SessionThreadIdled = "session.thread_idled",
    /// Anthropic: a thread of a session ended.
    SessionThreadTerminated = "session.thread_terminated",
    /// Anthropic: a vault was created.
    VaultCreated = "vault.created",
    /// Anthropic: a vault was archived.
    VaultArchived = "vault.archived",
    /// Anthropic: a vault was deleted.
    VaultDeleted = "vault.deleted",
    /// Anthropic: a credential was created.
    VaultCredentialCreated = "vault_credential.created",
    /// Anthropic: a credential was archived.
    VaultCredentialArchived = "vault_credential.archived",
    /// Anthropic: a credential was deleted.
    VaultCredentialDeleted = "vault_credential.deleted",
    /// Anthropic: a credential could not be renewed.
    VaultCredentialRefreshFailed = "vault_credential.refresh_failed",
    /// Anthropic: an agent was created.
    AgentCreated = "agent.created",
    /// Anthropic: an agent was changed.
    AgentUpdated = "agent.updated",
    /// Anthropic: an agent was archived.
    AgentArchived = "agent.archived",
    /// Anthropic: an agent was deleted.
    AgentDeleted = "agent.deleted",
    /// Anthropic: a deployment was created.
    DeploymentCreated = "deployment.created",
    /// Anthropic: a deployment was archived.
    DeploymentArchived = "deployment.archived",
    /// Anthropic: a deployment was deleted.
    DeploymentDeleted = "deployment.deleted",
}

/// A verified event. `Debug` shows what it is, not what it holds.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct WebhookEvent {
    /// The id of the delivery. The same event may be delivered again: who acts on it remembers the id.
    pub webhook_id: String,
    /// When it was sent, as the signature vouches for.
    pub sent_at: SystemTime,
    /// The event's own id.
    pub id: Option<String>,
    /// Which event.
    pub kind: WebhookKind,
    /// The id of what it is about: a response, a batch, a job, a session.
    pub subject: Option<String>,
    /// The event's data as the vendor wrote them.
    pub data: Value,
    /// The whole body.
    pub raw: Value,
}

impl fmt::Debug for WebhookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookEvent")
            .field("webhook_id", &self.webhook_id)
            .field("kind", &self.kind)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl WebhookEvent {
    /// Reads a verified body. OpenAI names the kind outside of `data`, Anthropic inside.
    pub(super) fn read(webhook_id: String, sent_at: SystemTime, raw: Value) -> Self {
        let word = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let data = raw.get("data").cloned().unwrap_or_default();
        let outer = word(&raw, "type").filter(|t| t != "event");
        let kind = outer.or_else(|| word(&data, "type")).unwrap_or_default();
        Self {
            webhook_id,
            sent_at,
            id: word(&raw, "id"),
            kind: WebhookKind::of(&kind),
            subject: word(&data, "id").or_else(|| word(&data, "call_id")),
            data,
            raw,
        }
    }
}
