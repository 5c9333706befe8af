//! The way to the service: address, proof of identity, client.

use std::borrow::Cow;
use std::fmt;

use katena_core::{Error, Result};
use katena_http::aws::{AwsAuth, check_region, domain, path_segment, region_from};
use katena_http::{Endpoint, HttpClient, HttpOptions, HttpRequest, Method, Proxy};

pub(super) const VENDOR: &str = "bedrock";
/// The variable that holds an API key of Bedrock.
const KEY: &str = "AWS_BEARER_TOKEN_BEDROCK";

#[derive(Clone)]
pub(super) struct Link {
    pub(super) client: HttpClient,
    region: String,
    auth: AwsAuth,
    base: Option<Endpoint>,
    control: Option<Endpoint>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("region", &self.region)
            .field("auth", &self.auth)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(region: impl Into<String>, auth: AwsAuth) -> Self {
        Self { client: HttpClient::new(), region: region.into(), auth, base: None, control: None }
    }

    pub(super) fn from_env() -> Result<Self> {
        let lookup = |name: &str| std::env::var(name).ok();
        Self::from_lookup(lookup)
    }

    pub(super) fn from_lookup(
        lookup: impl Fn(&str) -> Option<String> + Clone + Send + Sync + 'static,
    ) -> Result<Self> {
        let region = region_from(&lookup).ok_or_else(|| {
            Error::config("neither AWS_REGION nor AWS_DEFAULT_REGION nor the profile names a region")
                .with_vendor(VENDOR)
        })?;
        let auth = katena_http::aws::AuthChoice::new().resolve(KEY, lookup.clone())?;
        let mut link = Self::new(region, auth);
        link.client = HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv));
        let get = |name| lookup(name).filter(|v| !v.trim().is_empty());
        if let Some(base) = get("AWS_ENDPOINT_URL_BEDROCK_RUNTIME") {
            link.base = Some(Endpoint::new(base)?);
        }
        if let Some(base) = get("AWS_ENDPOINT_URL_BEDROCK") {
            link.control = Some(Endpoint::new(base)?);
        }
        Ok(link)
    }

    pub(super) fn set_base(&mut self, base: impl AsRef<str>) -> Result<()> {
        let endpoint = Endpoint::new(base)?;
        self.base = Some(endpoint.clone());
        self.control = Some(endpoint);
        Ok(())
    }

    fn endpoint(&self, service: &str, set: Option<&Endpoint>) -> Result<Endpoint> {
        check_region(&self.region)?;
        let endpoint = match set {
            Some(endpoint) => endpoint.clone(),
            None => Endpoint::new(format!("https://{service}.{}.{}", self.region, domain(&self.region)))?,
        };
        Ok(endpoint.with_vendor(VENDOR))
    }

    /// A call of the model's route, without the proof.
    pub(super) fn call(&self, model: &str, route: &str) -> Result<HttpRequest> {
        let endpoint = self.endpoint("bedrock-runtime", self.base.as_ref())?;
        HttpRequest::post(&endpoint, &format!("model/{}/{route}", path_segment(model)))
    }

    /// A call of the service that knows which models there are, without the proof.
    pub(super) fn control_call(&self, path: &str) -> Result<HttpRequest> {
        HttpRequest::new(Method::Get, &self.endpoint("bedrock", self.control.as_ref())?, path)
    }

    /// The call with the proof, which is good for a few minutes: each try makes its own.
    pub(super) async fn prove(&self, call: HttpRequest) -> Result<HttpRequest> {
        let region: Cow<'static, str> = Cow::Owned(self.region.clone());
        self.auth.apply(call, region, "bedrock").await.map_err(|e| e.with_vendor(VENDOR))
    }
}
