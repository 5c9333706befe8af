//! What opens the vendor's door, where a header that never changes is not enough.

use std::sync::Arc;

use katena_core::{Context, Result};
use katena_http::{HttpRequest, Secret, TokenSource};

#[derive(Clone, Default)]
pub(crate) enum Auth {
    /// Nothing beyond the endpoint's headers.
    #[default]
    Headers,
    /// `Authorization: Bearer` with a token that is fetched for each call.
    #[allow(dead_code, reason = "each vendor is a feature")]
    Token(Arc<dyn TokenSource>),
    /// A bearer key of Amazon's, or a signature of each call.
    #[cfg(feature = "bedrock")]
    Aws { auth: katena_http::aws::AwsAuth, region: String },
}

impl Auth {
    /// The request with its proof. It carries the context already.
    pub(crate) async fn apply(&self, request: HttpRequest, context: &Context) -> Result<HttpRequest> {
        match self {
            Self::Headers => Ok(request),
            Self::Token(source) => {
                let token = context.cancel.guard(source.token()).await?;
                context.check()?;
                let value = Secret::new(format!("Bearer {}", token.expose()));
                Ok(request.with_header("authorization", value))
            }
            #[cfg(feature = "bedrock")]
            Self::Aws { auth, region } => auth.apply(request, region.clone(), "bedrock").await,
        }
    }
}
