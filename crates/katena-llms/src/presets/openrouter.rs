//! OpenRouter's own options.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::openai_chat::OpenAiChat;

/// What OpenRouter alone knows: other models to fall back on, the highest price, which providers serve a model, and the
/// app's name in its statistics. The model that answered is [`ChatResponse::model`](katena_core::ChatResponse::model).
///
/// Source: OpenRouter's API reference, provider routing.
///
/// ```
/// use katena_llms::{OpenAiChat, OpenRouterOptions, Preset};
/// let options = OpenRouterOptions::new()
///     .with_fallback("anthropic/claude-sonnet-4.5")
///     .with_max_price(1.0, 5.0)
///     .with_app("https://example.com", "Example");
/// let model = OpenAiChat::preset(Preset::OpenRouter, "openai/gpt-5-mini", "sk-or-1")?.with_openrouter(options);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct OpenRouterOptions {
    /// Models to ask in turn if the first can't answer.
    pub models: Vec<String>,
    /// Which providers serve the model.
    pub provider: ProviderPreferences,
    /// The app's address, sent as `HTTP-Referer`.
    pub app_url: Option<String>,
    /// The app's name, sent as `X-Title`.
    pub app_title: Option<String>,
}

/// Which of OpenRouter's providers may serve a model, and in what order. Unset fields are left to OpenRouter.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProviderPreferences {
    /// Ask these first, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
    /// Ask only these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Ask none of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Whether others may be asked if those of the order can't answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_fallbacks: Option<bool>,
    /// Ask only providers that know every field of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_parameters: Option<bool>,
    /// `allow` or `deny`: whether providers may keep what they are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_collection: Option<String>,
    /// `price`, `throughput` or `latency`: what matters most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// The highest price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price: Option<MaxPrice>,
}

/// The highest price, in US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MaxPrice {
    /// Of the prompt.
    pub prompt: f64,
    /// Of the answer.
    pub completion: f64,
}

impl ProviderPreferences {
    /// Nothing preferred.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks these first, in this order.
    pub fn with_order<S: Into<String>>(mut self, order: impl IntoIterator<Item = S>) -> Self {
        self.order = order.into_iter().map(Into::into).collect();
        self
    }

    /// Asks only these.
    pub fn with_only<S: Into<String>>(mut self, only: impl IntoIterator<Item = S>) -> Self {
        self.only = only.into_iter().map(Into::into).collect();
        self
    }

    /// Asks none of these.
    pub fn with_ignore<S: Into<String>>(mut self, ignore: impl IntoIterator<Item = S>) -> Self {
        self.ignore = ignore.into_iter().map(Into::into).collect();
        self
    }

    /// Asks nobody beyond the order.
    pub fn without_fallbacks(mut self) -> Self {
        self.allow_fallbacks = Some(false);
        self
    }

    /// Asks only providers that know every field of the request.
    pub fn with_required_parameters(mut self) -> Self {
        self.require_parameters = Some(true);
        self
    }

    /// Asks only providers that keep nothing.
    pub fn without_data_collection(mut self) -> Self {
        self.data_collection = Some("deny".to_owned());
        self
    }

    /// Sets what matters most: `price`, `throughput` or `latency`.
    pub fn with_sort(mut self, sort: impl Into<String>) -> Self {
        self.sort = Some(sort.into());
        self
    }
}

impl OpenRouterOptions {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a model to ask if those before can't answer.
    pub fn with_fallback(mut self, model: impl Into<String>) -> Self {
        self.models.push(model.into());
        self
    }

    /// Sets which providers serve the model.
    pub fn with_provider(mut self, provider: ProviderPreferences) -> Self {
        self.provider =
            ProviderPreferences { max_price: provider.max_price.or(self.provider.max_price), ..provider };
        self
    }

    /// Sets the highest price, in US dollars per million tokens of prompt and answer.
    pub fn with_max_price(mut self, prompt: f64, completion: f64) -> Self {
        self.provider.max_price = Some(MaxPrice { prompt, completion });
        self
    }

    /// Tells OpenRouter which app asks.
    pub fn with_app(mut self, url: impl Into<String>, title: impl Into<String>) -> Self {
        (self.app_url, self.app_title) = (Some(url.into()), Some(title.into()));
        self
    }

    /// The options as extras of one request.
    pub fn extras(&self) -> BTreeMap<String, Value> {
        let mut extras = BTreeMap::new();
        if !self.models.is_empty() {
            extras.insert("models".to_owned(), json!(self.models));
        }
        if self.provider != ProviderPreferences::default() {
            extras.insert("provider".to_owned(), json!(self.provider));
        }
        extras
    }
}

impl OpenAiChat {
    /// Sends OpenRouter's options with every request; what a request's own extras name goes before.
    pub fn with_openrouter(mut self, options: OpenRouterOptions) -> Self {
        if let Some(url) = &options.app_url {
            self = self.with_header("http-referer", url.as_str());
        }
        if let Some(title) = &options.app_title {
            self = self.with_header("x-title", title.as_str());
        }
        for (name, value) in options.extras() {
            self = self.with_default_extra(name, value);
        }
        self
    }
}
