//! Servers that speak Chat Completions, as data: name, address, key variable, abilities, quirks.

mod openrouter;

use katena_core::{ChatCapabilities, Error, ErrorKind, Result};
use katena_http::Secret;

use crate::openai_chat::{
    CacheForm, Dialect, JsonMode, NamedTool, OpenAiChat, Quirks, ReasoningBack, ReasoningForm, TokenLimit,
};
use crate::openai_shared::link::{Link, variable};

pub use openrouter::{MaxPrice, OpenRouterOptions, ProviderPreferences};

/// A known server of the Chat Completions protocol.
///
/// ```
/// use katena_core::ChatModel;
/// use katena_llms::{OpenAiChat, Preset};
/// let model = OpenAiChat::preset(Preset::Groq, "llama-3.3-70b-versatile", "gsk-123")?;
/// assert_eq!(model.info().vendor, "groq");
/// let local = OpenAiChat::preset(Preset::Vllm, "qwen3", "")?;
/// assert!(local.info().capabilities.top_k);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// OpenRouter, one address for many vendors; see [`OpenRouterOptions`].
    OpenRouter,
    /// Groq.
    Groq,
    /// DeepSeek.
    DeepSeek,
    /// xAI.
    Xai,
    /// Together AI.
    Together,
    /// Fireworks AI.
    Fireworks,
    /// Perplexity.
    Perplexity,
    /// The router of Hugging Face's inference providers.
    HuggingFace,
    /// Cloudflare Workers AI; the account's id is part of the address, see [`OpenAiChat::cloudflare`].
    Cloudflare,
    /// NVIDIA's hosted models.
    Nvidia,
    /// Cerebras.
    Cerebras,
    /// A vLLM server, on port 8000 of this machine.
    Vllm,
    /// LM Studio, on port 1234 of this machine.
    LmStudio,
    /// llama.cpp's server, on port 8080 of this machine.
    LlamaCpp,
    /// LocalAI, on port 8080 of this machine.
    LocalAi,
}

/// One server.
struct Row {
    preset: Preset,
    name: &'static str,
    base: &'static str,
    /// Variables that may hold the key; the first that does counts.
    keys: &'static [&'static str],
    /// The variable that may hold another address.
    base_variable: &'static str,
    needs_key: NeedsKey,
    can: ChatCapabilities,
    quirks: Quirks,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NeedsKey {
    Yes,
    /// A server of one's own.
    No,
}

const COMPATIBLE: Quirks = Quirks::COMPATIBLE.with_prompt_cache(CacheForm::Automatic);

/// Abilities by the names of their builders.
macro_rules! can {
    ($($ability:ident)*) => {
        ChatCapabilities::none()$(.$ability())*
    };
}

/// The table. Sources: each vendor's API reference, and recorded replies of their servers.
fn rows() -> [Row; 15] {
    use NeedsKey::{No, Yes};
    let row = |preset, name, base, keys, base_variable, needs_key, can, quirks| Row {
        preset,
        name,
        base,
        keys,
        base_variable,
        needs_key,
        can,
        quirks,
    };
    [
        row(
            Preset::OpenRouter,
            "openrouter",
            "https://openrouter.ai/api/v1",
            &["OPENROUTER_API_KEY"],
            "OPENROUTER_BASE_URL",
            Yes,
            can!(with_tools with_json_schema with_images with_audio with_files with_reasoning with_prompt_cache
                with_top_k with_seed with_logprobs with_stop with_usage),
            Quirks::COMPATIBLE
                .with_reasoning(ReasoningForm::Object)
                .with_reasoning_back(ReasoningBack::Details)
                .with_prompt_cache(CacheForm::Marks),
        ),
        row(
            Preset::Groq,
            "groq",
            "https://api.groq.com/openai/v1",
            &["GROQ_API_KEY"],
            "GROQ_BASE_URL",
            Yes,
            can!(with_tools with_json_schema with_images with_reasoning with_prompt_cache with_seed with_stop
                with_usage),
            COMPATIBLE
                .with_token_limit(TokenLimit::MaxCompletionTokens)
                .with_reasoning_back(ReasoningBack::Reasoning),
        ),
        row(
            Preset::DeepSeek,
            "deepseek",
            "https://api.deepseek.com",
            &["DEEPSEEK_API_KEY"],
            "DEEPSEEK_BASE_URL",
            Yes,
            can!(with_tools with_reasoning with_prompt_cache with_logprobs with_stop with_usage),
            COMPATIBLE
                .with_reasoning(ReasoningForm::Thinking)
                .with_reasoning_back(ReasoningBack::ReasoningContent)
                .with_json_mode(JsonMode::Always),
        ),
        row(
            Preset::Xai,
            "xai",
            "https://api.x.ai/v1",
            &["XAI_API_KEY"],
            "XAI_BASE_URL",
            Yes,
            can!(with_tools with_json_schema with_images with_reasoning with_prompt_cache with_seed with_logprobs
                with_stop with_usage),
            COMPATIBLE.with_token_limit(TokenLimit::MaxCompletionTokens),
        ),
        row(
            Preset::Together,
            "together",
            "https://api.together.xyz/v1",
            &["TOGETHER_API_KEY"],
            "TOGETHER_BASE_URL",
            Yes,
            // Its log-probabilities have a form of their own.
            can!(with_tools with_json_schema with_images with_reasoning with_prompt_cache with_top_k with_seed
                with_stop with_usage),
            COMPATIBLE.with_reasoning_back(ReasoningBack::Reasoning),
        ),
        row(
            Preset::Fireworks,
            "fireworks",
            "https://api.fireworks.ai/inference/v1",
            &["FIREWORKS_API_KEY"],
            "FIREWORKS_BASE_URL",
            Yes,
            can!(with_tools with_json_schema with_images with_reasoning with_prompt_cache with_top_k with_seed
                with_logprobs with_stop with_usage),
            COMPATIBLE.with_reasoning_back(ReasoningBack::ReasoningContent),
        ),
        row(
            Preset::Perplexity,
            "perplexity",
            "https://api.perplexity.ai",
            &["PERPLEXITY_API_KEY", "PPLX_API_KEY"],
            "PERPLEXITY_BASE_URL",
            Yes,
            can!(with_json_schema with_images with_reasoning with_top_k with_usage),
            COMPATIBLE,
        ),
        row(
            Preset::HuggingFace,
            "huggingface",
            "https://router.huggingface.co/v1",
            &["HF_TOKEN", "HUGGINGFACE_API_KEY"],
            "HUGGINGFACE_BASE_URL",
            Yes,
            can!(with_tools with_json_schema with_images with_reasoning with_seed with_logprobs with_stop with_usage),
            COMPATIBLE,
        ),
        row(
            Preset::Cloudflare,
            "cloudflare",
            "https://api.cloudflare.com/client/v4/accounts/{account}/ai/v1",
            &["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY"],
            "CLOUDFLARE_BASE_URL",
            Yes,
            can!(with_tools with_json_schema with_images with_top_k with_seed with_stop with_usage),
            COMPATIBLE,
        ),
        row(
            Preset::Nvidia,
            "nvidia",
            "https://integrate.api.nvidia.com/v1",
            &["NVIDIA_API_KEY"],
            "NVIDIA_BASE_URL",
            Yes,
            can!(with_tools with_json_schema with_images with_reasoning with_seed with_stop with_usage),
            COMPATIBLE.with_reasoning(ReasoningForm::Template),
        ),
        row(
            Preset::Cerebras,
            "cerebras",
            "https://api.cerebras.ai/v1",
            &["CEREBRAS_API_KEY"],
            "CEREBRAS_BASE_URL",
            Yes,
            can!(with_tools with_json_schema with_reasoning with_prompt_cache with_seed with_logprobs with_stop
                with_usage),
            COMPATIBLE
                .with_token_limit(TokenLimit::MaxCompletionTokens)
                .with_reasoning_back(ReasoningBack::Reasoning),
        ),
        row(
            Preset::Vllm,
            "vllm",
            "http://localhost:8000/v1",
            &["VLLM_API_KEY"],
            "VLLM_BASE_URL",
            No,
            can!(with_tools with_json_schema with_images with_audio with_reasoning with_prompt_cache with_top_k
                with_seed with_logprobs with_stop with_usage),
            COMPATIBLE
                .with_reasoning(ReasoningForm::Template)
                .with_reasoning_back(ReasoningBack::ReasoningContent),
        ),
        row(
            Preset::LmStudio,
            "lmstudio",
            "http://localhost:1234/v1",
            &["LM_STUDIO_API_KEY", "LM_API_TOKEN"],
            "LM_STUDIO_BASE_URL",
            No,
            can!(with_tools with_json_schema with_images with_prompt_cache with_top_k with_seed with_stop with_usage),
            COMPATIBLE.with_named_tool(NamedTool::Alone),
        ),
        row(
            Preset::LlamaCpp,
            "llama.cpp",
            "http://localhost:8080/v1",
            &["LLAMA_API_KEY"],
            "LLAMA_SERVER_URL",
            No,
            can!(with_tools with_json_schema with_images with_audio with_reasoning with_prompt_cache with_top_k
                with_seed with_logprobs with_stop with_usage),
            COMPATIBLE
                .with_named_tool(NamedTool::Alone)
                .with_reasoning(ReasoningForm::Template)
                .with_reasoning_back(ReasoningBack::ReasoningContent),
        ),
        row(
            Preset::LocalAi,
            "localai",
            "http://localhost:8080/v1",
            &["LOCALAI_API_KEY"],
            "LOCALAI_BASE_URL",
            No,
            can!(with_tools with_json_schema with_images with_audio with_top_k with_seed with_stop with_usage),
            COMPATIBLE,
        ),
    ]
}

impl Preset {
    /// Every preset.
    pub fn all() -> impl Iterator<Item = Self> {
        rows().into_iter().map(|row| row.preset)
    }

    fn row(self) -> Result<Row> {
        let found = rows().into_iter().find(|row| row.preset == self);
        found.ok_or_else(|| Error::unexpected("the table of presets lacks a row"))
    }

    /// The preset of this name, as `info().vendor` has it.
    pub fn of_name(name: &str) -> Option<Self> {
        rows().into_iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.preset)
    }

    /// Its name, as `info().vendor` has it.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }
}

impl OpenAiChat {
    fn of_row(row: &Row, base: &str, model: impl Into<String>, key: impl Into<Secret>) -> Result<Self> {
        let key = key.into();
        if row.needs_key == NeedsKey::Yes && key.is_empty() {
            return Err(Error::new(ErrorKind::Unauthenticated, "this server needs a key")
                .with_vendor(row.name)
                .with_context("variable", row.keys.first().copied().unwrap_or_default()));
        }
        if base.contains('{') {
            return Err(Error::config("the server's address needs the account's id").with_vendor(row.name));
        }
        Ok(Self::of(Link::new(base)?, row.name, model, Dialect::Compatible)
            .with_capabilities(row.can)
            .with_quirks(row.quirks)
            .with_api_key(key))
    }

    /// A model of a known server. Servers of one's own need no key: give an empty one.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the server needs a key and it is empty; `Config` for
    /// [`Preset::Cloudflare`], which needs the account too.
    pub fn preset(preset: Preset, model: impl Into<String>, key: impl Into<Secret>) -> Result<Self> {
        let row = preset.row()?;
        Self::of_row(&row, row.base, model, key)
    }

    /// A model of a known server by the environment: the vendor's own variable for the key, such as `GROQ_API_KEY`, one
    /// for another address, such as `GROQ_BASE_URL`, and the usual proxy variables. Cloudflare's account is
    /// `CLOUDFLARE_ACCOUNT_ID`; OpenRouter's app headers are `OPENROUTER_APP_URL` and `OPENROUTER_APP_TITLE`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if a key is needed and missing, `Config` for a bad address or a missing account.
    pub fn preset_from_env(preset: Preset, model: impl Into<String>) -> Result<Self> {
        Self::preset_from_lookup(preset, model, |name| std::env::var(name).ok())
    }

    fn preset_from_lookup(
        preset: Preset,
        model: impl Into<String>,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let row = preset.row()?;
        let key = row.keys.iter().find_map(|name| variable(&lookup, name)).unwrap_or_default();
        let mut base = variable(&lookup, row.base_variable).unwrap_or_else(|| row.base.to_owned());
        if base.contains('{')
            && let Some(account) = variable(&lookup, "CLOUDFLARE_ACCOUNT_ID")
        {
            base = with_account(&base, &account)?;
        }
        let mut this = Self::of_row(&row, &base, model, key)?;
        if preset == Preset::OpenRouter {
            for (name, header) in
                [("OPENROUTER_APP_URL", "http-referer"), ("OPENROUTER_APP_TITLE", "x-title")]
            {
                if let Some(value) = variable(&lookup, name) {
                    this = this.with_header(header, value);
                }
            }
        }
        this.link = this.link.with_env_proxy();
        Ok(this)
    }

    /// A model of Cloudflare Workers AI, of this account.
    ///
    /// # Errors
    /// Kind `Config` if the account is no id; `Unauthenticated` if the key is empty.
    pub fn cloudflare(
        account: impl AsRef<str>,
        model: impl Into<String>,
        key: impl Into<Secret>,
    ) -> Result<Self> {
        let row = Preset::Cloudflare.row()?;
        Self::of_row(&row, &with_account(row.base, account.as_ref())?, model, key)
    }
}

fn with_account(base: &str, account: &str) -> Result<String> {
    let fine = !account.is_empty() && account.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !fine {
        return Err(Error::config("the account is no id").with_vendor("cloudflare"));
    }
    Ok(base.replace("{account}", account))
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
