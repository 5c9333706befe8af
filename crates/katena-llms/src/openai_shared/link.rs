//! The way to a server: client, address, key or token, and the models that are there.

use std::fmt;
use std::sync::Arc;

use katena_core::{ChatCapabilities, Context, Error, ModelInfo, Result};
use katena_http::{Endpoint, HttpClient, HttpOptions, HttpRequest, Proxy, Secret, TokenSource};
use serde::Serialize;
use serde_json::Value;

use super::OFFICIAL;

/// Client, address and credentials.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: HttpClient,
    pub(crate) endpoint: Endpoint,
    /// Where the list of models is, if not below the endpoint.
    pub(crate) catalog: Option<Endpoint>,
    pub(crate) tokens: Option<Arc<dyn TokenSource>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("endpoint", &self.endpoint)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(base: impl AsRef<str>) -> Result<Self> {
        let endpoint = Endpoint::new(base)?;
        Ok(Self { client: HttpClient::new(), endpoint, catalog: None, tokens: None })
    }

    /// OpenAI's own service.
    pub(crate) fn official() -> Self {
        // The address is a constant, so this can't fail; a test holds it to that.
        #[allow(clippy::expect_used)]
        Self::new(OFFICIAL).expect("a good address").with_vendor("openai")
    }

    pub(crate) fn is_official(&self) -> bool {
        self.endpoint.base().host_str() == Some("api.openai.com")
    }

    fn each(mut self, change: impl Fn(Endpoint) -> Endpoint) -> Self {
        self.endpoint = change(self.endpoint);
        self.catalog = self.catalog.map(change);
        self
    }

    /// An empty key is not sent.
    pub(crate) fn with_bearer(self, key: &Secret) -> Self {
        if key.is_empty() { self } else { self.each(|e| e.with_bearer(key.clone())) }
    }

    pub(crate) fn with_header(self, name: &str, value: &Secret) -> Self {
        self.each(|e| e.with_header(name.to_owned(), value.clone()))
    }

    pub(crate) fn with_vendor(self, vendor: &str) -> Self {
        self.each(|e| e.with_vendor(vendor.to_owned()))
    }

    pub(crate) fn with_base(mut self, base: impl AsRef<str>) -> Result<Self> {
        self.endpoint = self.endpoint.with_base(base)?;
        self.catalog = None;
        Ok(self)
    }

    /// A client that uses the environment's proxy.
    pub(crate) fn with_env_proxy(mut self) -> Self {
        self.client = HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv));
        self
    }

    /// The call with the token that is good now, if there is a source of tokens.
    pub(crate) async fn authorized(&self, call: HttpRequest, context: &Context) -> Result<HttpRequest> {
        context.check()?;
        let call = call.with_context(context.clone());
        match &self.tokens {
            None => Ok(call),
            Some(tokens) => {
                let token = context.cancel.guard(tokens.token()).await?;
                Ok(call.with_header("authorization", format!("Bearer {}", token.expose())))
            }
        }
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        accept: &'static str,
        context: &Context,
    ) -> Result<HttpRequest> {
        let call = HttpRequest::post(&self.endpoint, path)?.with_json(body)?.with_header("accept", accept);
        self.authorized(call, context).await
    }

    /// The models that the server lists: `{"data": […]}`, or a bare list.
    pub(crate) async fn models(
        &self,
        vendor: &str,
        capabilities: ChatCapabilities,
    ) -> Result<Vec<ModelInfo>> {
        let endpoint = self.catalog.as_ref().unwrap_or(&self.endpoint);
        let call = self.authorized(HttpRequest::get(endpoint, "models")?, &Context::new()).await?;
        let reply = self.client.send(call).await?;
        models(&reply.json::<Value>()?, vendor, capabilities).map_err(|e| reply.mark(e))
    }
}

fn models(reply: &Value, vendor: &str, capabilities: ChatCapabilities) -> Result<Vec<ModelInfo>> {
    let list = ["data", "models"].iter().find_map(|key| reply.get(*key)).unwrap_or(reply);
    let Value::Array(list) = list else {
        return Err(Error::invalid_output("the server's reply is no list of models"));
    };
    let model = |entry: &Value| {
        let id = ["id", "name", "model"].iter().find_map(|key| entry.get(*key)?.as_str())?;
        let mut info = ModelInfo::new(vendor, id).with_capabilities(capabilities);
        let words = ["context_length", "context_window", "max_model_len", "max_context_length"];
        info.context_tokens = words
            .iter()
            .find_map(|key| entry.get(*key)?.as_u64())
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0);
        Some(info)
    };
    Ok(list.iter().filter_map(model).collect())
}

/// The value of a variable without white space around it; an empty one is none.
pub(crate) fn variable(lookup: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

/// Builders that each protocol's component has; it has the fields `link` and `info`.
macro_rules! builders {
    ($component:ident) => {
        impl $component {
            /// Sets the key; an empty one is not sent.
            pub fn with_api_key(mut self, key: impl Into<katena_http::Secret>) -> Self {
                self.link = self.link.with_bearer(&key.into());
                self
            }

            /// Asks `tokens` for the bearer token of every call, in place of a key.
            pub fn with_token_source(mut self, tokens: std::sync::Arc<dyn katena_http::TokenSource>) -> Self {
                self.link.tokens = Some(tokens);
                self
            }

            /// Sends a header with every call; its value is treated as a secret.
            pub fn with_header(
                mut self,
                name: impl Into<String>,
                value: impl Into<katena_http::Secret>,
            ) -> Self {
                self.link = self.link.with_header(&name.into(), &value.into());
                self
            }

            /// Sets the vendor's name, in `info()` and in errors.
            pub fn with_vendor(mut self, vendor: impl Into<String>) -> Self {
                self.info.vendor = vendor.into();
                self.link = self.link.with_vendor(&self.info.vendor);
                self
            }

            /// Sets what the model can do; without it, everything that the protocol can.
            pub fn with_capabilities(mut self, capabilities: katena_core::ChatCapabilities) -> Self {
                self.info.capabilities = capabilities;
                self
            }

            /// Sets the context window in tokens, as `info()` reports it.
            pub fn with_context_tokens(mut self, tokens: u32) -> Self {
                self.info.context_tokens = Some(tokens);
                self
            }

            /// Uses this client, so that components share connections and settings.
            pub fn with_client(mut self, client: katena_http::HttpClient) -> Self {
                self.link.client = client;
                self
            }
        }

        #[async_trait::async_trait]
        impl katena_core::ModelCatalog for $component {
            async fn models(&self) -> katena_core::Result<Vec<katena_core::ModelInfo>> {
                self.link.models(&self.info.vendor, self.info.capabilities).await
            }
        }
    };
}
pub(crate) use builders;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn official_is_a_good_address() {
        assert!(Link::official().is_official());
    }

    #[test]
    fn lists_of_models_in_their_forms() {
        let can = ChatCapabilities::none().with_tools();
        for reply in [
            json!({"object": "list", "data": [{"id": "a", "context_length": 8192}, {"odd": 1}, {"id": "b"}]}),
            json!([{"id": "a", "context_length": 8192}, {"id": "b"}]),
        ] {
            let list = models(&reply, "v", can).unwrap();
            assert_eq!(list.iter().map(|m| m.model.as_str()).collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!((list[0].context_tokens, list[1].context_tokens), (Some(8192), None));
            assert!(list[1].capabilities.tools);
        }
        assert!(models(&json!({"object": "list"}), "v", can).is_err());
    }
}
