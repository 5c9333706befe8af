//! Where the protocol is spoken: paths, hosts and what opens them.

use katena_core::{Context, Result};
use katena_http::{Endpoint, HttpRequest};

use super::encode::{Reply, Target};

/// Anthropic's own API or another server of the same routes, or Vertex AI.
#[derive(Clone)]
pub(super) enum Place {
    Api,
    #[cfg(feature = "vertex")]
    Vertex {
        /// `projects/{project}/locations/{location}/publishers/anthropic/models`
        models: String,
        tokens: std::sync::Arc<dyn katena_http::TokenSource>,
    },
}

impl Place {
    pub(super) fn target(&self) -> Target {
        match self {
            Self::Api => Target::Api,
            #[cfg(feature = "vertex")]
            Self::Vertex { .. } => Target::Vertex,
        }
    }

    /// The path of a call below the endpoint's base.
    #[cfg_attr(not(feature = "vertex"), allow(unused_variables))]
    pub(super) fn path(&self, endpoint: &Endpoint, model: &str, reply: Reply) -> String {
        match self {
            Self::Api => {
                below_v1(endpoint, if reply == Reply::Count { "messages/count_tokens" } else { "messages" })
            }
            #[cfg(feature = "vertex")]
            Self::Vertex { models, .. } => match reply {
                Reply::Whole => format!("{models}/{model}:rawPredict"),
                Reply::Stream => format!("{models}/{model}:streamRawPredict"),
                Reply::Count => format!("{models}/count-tokens:rawPredict"),
            },
        }
    }

    /// Adds what opens the place, if that is not in the endpoint's headers.
    #[allow(clippy::unused_async, reason = "tokens are fetched")]
    #[cfg_attr(not(feature = "vertex"), allow(unused_variables))]
    pub(super) async fn open(&self, call: HttpRequest, context: &Context) -> Result<HttpRequest> {
        let call = call.with_context(context.clone());
        match self {
            Self::Api => Ok(call),
            #[cfg(feature = "vertex")]
            Self::Vertex { tokens, .. } => {
                let token = context.cancel.guard(tokens.token()).await?;
                let bearer = format!("Bearer {}", token.expose());
                Ok(call.with_header("authorization", bearer))
            }
        }
    }
}

/// The path below a base that may end in `/v1` already.
pub(crate) fn below_v1(endpoint: &Endpoint, path: &str) -> String {
    if endpoint.base().path().trim_end_matches('/').ends_with("/v1") {
        path.to_owned()
    } else {
        format!("v1/{path}")
    }
}

#[cfg(feature = "vertex")]
mod vertex {
    use std::sync::Arc;

    use katena_core::{Error, Result};
    use katena_http::{Endpoint, HttpClient, TokenSource};

    use super::Place;
    use crate::anthropic::encode::Settings;
    use crate::anthropic::{AnthropicChat, info};

    /// A project, location or model as it may stand in a path or host.
    fn checked(what: &'static str, name: String) -> Result<String> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.@:".contains(c);
        if name.is_empty() || !name.chars().all(fine) || name.contains("..") {
            return Err(Error::config("not a name that can stand in an address").with_context("name", what));
        }
        Ok(name)
    }

    impl AnthropicChat {
        /// A Claude model on Vertex AI. `location` is a region, `us`, `eu` or `global`; `tokens` gives access tokens of the
        /// scope `https://www.googleapis.com/auth/cloud-platform`.
        ///
        /// ```
        /// use std::sync::Arc;
        /// use katena_core::ChatModel;
        /// use katena_http::StaticToken;
        /// use katena_llms::AnthropicChat;
        /// let tokens = Arc::new(StaticToken::new("ya29.abc"));
        /// let model = AnthropicChat::vertex("claude-sonnet-4-5@20250929", "my-project", "us-east5", tokens)?;
        /// assert_eq!(model.info().vendor, "vertex");
        /// # Ok::<(), katena_core::Error>(())
        /// ```
        ///
        /// # Errors
        /// Kind `Config` if model, project or location can't stand in an address.
        pub fn vertex(
            model: impl Into<String>,
            project: impl Into<String>,
            location: impl Into<String>,
            tokens: Arc<dyn TokenSource>,
        ) -> Result<Self> {
            let model = checked("model", model.into())?;
            let (project, location) =
                (checked("project", project.into())?, checked("location", location.into())?);
            let host = match location.as_str() {
                "global" => "aiplatform.googleapis.com".to_owned(),
                "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
                region => format!("{region}-aiplatform.googleapis.com"),
            };
            let models = format!("projects/{project}/locations/{location}/publishers/anthropic/models");
            Ok(Self {
                client: HttpClient::new(),
                endpoint: Endpoint::new(format!("https://{host}/v1"))?.with_vendor("vertex"),
                place: Place::Vertex { models, tokens },
                info: info("vertex", model),
                settings: Settings::default(),
            })
        }
    }
}
