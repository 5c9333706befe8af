//! Which vendor made a model, as far as requests differ by it.

use katena_core::ChatCapabilities;

/// The maker of a model. Converse is one protocol for all; some options are still the maker's own.
///
/// ```
/// use katena_llms::bedrock::ModelFamily;
/// assert_eq!(ModelFamily::of("us.anthropic.claude-sonnet-4-5-20250929-v1:0"), ModelFamily::Claude);
/// assert_eq!(ModelFamily::of("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"), ModelFamily::Other);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelFamily {
    /// Anthropic.
    Claude,
    /// Amazon Nova.
    Nova,
    /// OpenAI's open models.
    OpenAi,
    /// Mistral.
    Mistral,
    /// Cohere.
    Cohere,
    /// Any other, or one whose id says nothing.
    Other,
}

impl ModelFamily {
    /// By the model's id, which may be that of an inference profile, or an ARN.
    pub fn of(model: &str) -> Self {
        let names = [
            ("anthropic.", Self::Claude),
            ("amazon.nova", Self::Nova),
            ("openai.", Self::OpenAi),
            ("mistral.", Self::Mistral),
            ("cohere.", Self::Cohere),
        ];
        names.iter().find(|(name, _)| model.contains(name)).map_or(Self::Other, |(_, family)| *family)
    }

    /// What requests can say. Whether a model does it is for the service to answer; JSON schemas are left out, since most
    /// models have none.
    pub(super) fn capabilities(self) -> ChatCapabilities {
        let all = ChatCapabilities::none()
            .with_tools()
            .with_images()
            .with_audio()
            .with_video()
            .with_files()
            .with_prompt_cache()
            .with_stop()
            .with_usage();
        let all =
            if matches!(self, Self::Claude | Self::Nova | Self::OpenAi) { all.with_reasoning() } else { all };
        if matches!(self, Self::Claude | Self::Nova | Self::Mistral | Self::Cohere) {
            all.with_top_k()
        } else {
            all
        }
    }
}
