//! The way to a server, as all components of this module have it.

use std::fmt;

use katena_core::{Context, Error, ErrorKind, MediaInfo, Result};
use katena_http::multipart::Form;
use katena_http::{Endpoint, ErrorDetails, HttpClient, HttpOptions, HttpReply, HttpRequest, Proxy, Secret};
use serde_json::Value;

use crate::fields::variable;

const OFFICIAL: &str = "https://api.openai.com/v1";

/// Client, address and names.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) client: HttpClient,
    pub(super) endpoint: Endpoint,
    pub(super) info: MediaInfo,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("info", &self.info)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

fn is_official(endpoint: &Endpoint) -> bool {
    endpoint.base().host_str() == Some("api.openai.com")
}

impl Service {
    pub(super) fn official(model: impl Into<String>) -> Self {
        // The address is a constant, so this can't fail; a test holds it to that.
        #[allow(clippy::expect_used)]
        let endpoint = Endpoint::new(OFFICIAL).expect("a good address");
        Self {
            client: HttpClient::new(),
            endpoint: endpoint.with_vendor("openai"),
            info: MediaInfo::new("openai", model),
        }
    }

    pub(super) fn with_base(mut self, base: impl AsRef<str>) -> Result<Self> {
        self.endpoint = self.endpoint.with_base(base)?;
        let vendor = match (is_official(&self.endpoint), self.info.vendor.as_str()) {
            (true, _) => "openai",
            (false, "openai") => "openai-compatible",
            (false, _) => return Ok(self),
        };
        Ok(self.with_vendor(vendor))
    }

    pub(super) fn with_vendor(mut self, vendor: impl Into<String>) -> Self {
        self.info.vendor = vendor.into();
        self.endpoint = self.endpoint.with_vendor(self.info.vendor.clone());
        self
    }

    pub(super) fn with_key(mut self, key: Secret) -> Self {
        if !key.is_empty() {
            self.endpoint = self.endpoint.with_bearer(key);
        }
        self
    }

    /// By the variables that OpenAI documents.
    pub(super) fn from_lookup(model: String, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut this = Self::official(model);
        if let Some(base) = variable(&lookup, "OPENAI_BASE_URL") {
            this = this.with_base(base)?;
        }
        match variable(&lookup, "OPENAI_API_KEY") {
            Some(key) => this = this.with_key(key.into()),
            None if is_official(&this.endpoint) => {
                return Err(Error::new(ErrorKind::Unauthenticated, "the variable OPENAI_API_KEY is not set")
                    .with_vendor("openai"));
            }
            None => {}
        }
        for (name, header) in
            [("OPENAI_ORG_ID", "openai-organization"), ("OPENAI_PROJECT_ID", "openai-project")]
        {
            if let Some(value) = variable(&lookup, name) {
                this.endpoint = this.endpoint.with_header(header, value);
            }
        }
        this.client = HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv));
        Ok(this)
    }

    pub(super) fn post_json(&self, path: &str, body: &Value, context: &Context) -> Result<HttpRequest> {
        context.check()?;
        Ok(HttpRequest::post(&self.endpoint, path)?.with_json(body)?.with_context(context.clone()))
    }

    pub(super) fn post_form(&self, path: &str, form: &Form, context: &Context) -> Result<HttpRequest> {
        context.check()?;
        let form = form.encode()?;
        let call = HttpRequest::post(&self.endpoint, path)?.with_body(form.content_type, form.bytes);
        Ok(call.with_context(context.clone()))
    }

    /// Calls, and reads the reply as JSON that holds no error.
    pub(super) async fn json(&self, call: HttpRequest) -> Result<(Value, HttpReply)> {
        let reply = self.client.send(call).await?;
        let value: Value = reply.json()?;
        if value.get("error").is_some_and(|e| !e.is_null()) {
            let details = ErrorDetails::from_value(&value).unwrap_or_default();
            return Err(reply.mark(details.into_error(None)));
        }
        Ok((value, reply))
    }
}

/// What an extra is within a form: text as it is, anything else as JSON.
pub(super) fn form_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Constructors and builders that each component has; it has the field `service`.
macro_rules! builders {
    ($component:ident, model) => {
        impl $component {
            /// A model of OpenAI's own service.
            pub fn new(model: impl Into<String>, key: impl Into<katena_http::Secret>) -> Self {
                Self { service: Service::official(model).with_key(key.into()) }
            }

            /// A model of a server with the same routes, without a key; [`with_api_key`](Self::with_api_key) adds one.
            ///
            /// # Errors
            /// Kind `Config` if `base_url` is no `http` or `https` address, or has a user name or password in it.
            pub fn compatible(
                model: impl Into<String>,
                base_url: impl AsRef<str>,
            ) -> katena_core::Result<Self> {
                Ok(Self { service: Service::official(model).with_base(base_url)? })
            }

            /// A model by the environment: `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID`, and
            /// the usual proxy variables. The key may be missing if the base URL is another than OpenAI's own.
            ///
            /// # Errors
            /// Kind `Unauthenticated` if the key is missing, `Config` for a bad base URL.
            pub fn from_env(model: impl Into<String>) -> katena_core::Result<Self> {
                let service = Service::from_lookup(model.into(), |name| std::env::var(name).ok())?;
                Ok(Self { service })
            }
        }
        builders!($component);
    };
    ($component:ident) => {
        impl std::fmt::Debug for $component {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($component)).field("service", &self.service).finish()
            }
        }

        impl $component {
            /// Moves to another server; the key stays. Unless it is OpenAI's own, the vendor's name becomes
            /// `openai-compatible`.
            ///
            /// # Errors
            /// Kind `Config` if `base_url` is no `http` or `https` address, or has a user name or password in it.
            pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> katena_core::Result<Self> {
                self.service = self.service.with_base(base_url)?;
                Ok(self)
            }

            /// Sets the key; an empty one is not sent.
            pub fn with_api_key(mut self, key: impl Into<katena_http::Secret>) -> Self {
                self.service = self.service.with_key(key.into());
                self
            }

            /// Sends a header with every call; its value is treated as a secret.
            pub fn with_header(
                mut self,
                name: impl Into<String>,
                value: impl Into<katena_http::Secret>,
            ) -> Self {
                self.service.endpoint = self.service.endpoint.with_header(name.into(), value);
                self
            }

            /// Sets the vendor's name, in `info()` and in errors.
            pub fn with_vendor(mut self, vendor: impl Into<String>) -> Self {
                self.service = self.service.with_vendor(vendor);
                self
            }

            /// Uses this client, so that components share connections and settings.
            pub fn with_client(mut self, client: katena_http::HttpClient) -> Self {
                self.service.client = client;
                self
            }
        }
    };
}
pub(super) use builders;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_key_and_place() {
        let with = |pairs: &'static [(&str, &str)]| {
            let lookup = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            Service::from_lookup("m".into(), lookup)
        };
        assert_eq!(with(&[]).unwrap_err().kind(), ErrorKind::Unauthenticated);
        let own = with(&[("OPENAI_API_KEY", "sk-secret"), ("OPENAI_ORG_ID", "org")]).unwrap();
        assert_eq!(own.endpoint.base().as_str(), OFFICIAL);
        let shown = format!("{own:?}");
        assert!(shown.contains("openai-organization") && !shown.contains("sk-secret"), "{shown}");
        let other = with(&[("OPENAI_BASE_URL", "http://localhost:1/v1")]).unwrap();
        assert_eq!(other.info.vendor, "openai-compatible");
        assert!(!format!("{other:?}").contains("authorization"));
        assert_eq!(with(&[("OPENAI_BASE_URL", "nonsense")]).unwrap_err().kind(), ErrorKind::Config);
    }
}
