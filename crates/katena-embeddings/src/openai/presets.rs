//! Vendors and servers that speak OpenAI's embeddings route.

/// Where a compatible vendor is and which variable holds its key.
///
/// ```
/// use katena_embeddings::Preset;
/// assert_eq!(Preset::TOGETHER.key_variable, Some("TOGETHER_API_KEY"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preset {
    /// The vendor's name in errors and in the name of the vector space.
    pub vendor: &'static str,
    /// What `embeddings` is appended to.
    pub base_url: &'static str,
    /// The variable that the vendor documents for its key; `None` for servers that need none.
    pub key_variable: Option<&'static str>,
}

macro_rules! presets {
    ($($(#[$doc:meta])* $name:ident = $vendor:literal, $base:literal, $key:expr;)*) => {
        impl Preset {
            $($(#[$doc])* pub const $name: Self =
                Self { vendor: $vendor, base_url: $base, key_variable: $key };)*

            /// All presets.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

presets! {
    /// OpenRouter.
    OPENROUTER = "openrouter", "https://openrouter.ai/api/v1", Some("OPENROUTER_API_KEY");
    /// Together AI.
    TOGETHER = "together", "https://api.together.xyz/v1", Some("TOGETHER_API_KEY");
    /// Fireworks AI.
    FIREWORKS = "fireworks", "https://api.fireworks.ai/inference/v1", Some("FIREWORKS_API_KEY");
    /// DeepInfra.
    DEEPINFRA = "deepinfra", "https://api.deepinfra.com/v1/openai", Some("DEEPINFRA_API_KEY");
    /// Venice.
    VENICE = "venice", "https://api.venice.ai/api/v1", Some("VENICE_API_KEY");
    /// Doubleword.
    DOUBLEWORD = "doubleword", "https://api.doubleword.ai/v1", Some("DOUBLEWORD_API_KEY");
    /// Alibaba Cloud Model Studio, international.
    DASHSCOPE = "dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", Some("DASHSCOPE_API_KEY");
    /// Z.ai.
    ZAI = "zai", "https://api.z.ai/api/paas/v4", Some("ZAI_API_KEY");
    /// SiliconFlow.
    SILICONFLOW = "siliconflow", "https://api.siliconflow.com/v1", Some("SILICONFLOW_API_KEY");
    /// vLLM on this machine.
    VLLM = "vllm", "http://localhost:8000/v1", None;
    /// LM Studio on this machine.
    LM_STUDIO = "lm-studio", "http://localhost:1234/v1", None;
    /// LocalAI on this machine.
    LOCALAI = "localai", "http://localhost:8080/v1", None;
    /// Llamafile on this machine.
    LLAMAFILE = "llamafile", "http://localhost:8080/v1", None;
}
