//! The protocol's content and Katena's parts.

use katena_core::{Error, ErrorKind, Media, Part, Result, ToolOutput};
use rmcp::model::{CallToolResult, ContentBlock, Resource, ResourceContents};

/// The most characters of a tool's words in an error.
const MAX_ERROR: usize = 8000;

fn size(part: &Part) -> usize {
    match part {
        Part::Text { text } => text.len(),
        Part::Image { media } | Part::Audio { media } | Part::Video { media } | Part::File { media, .. } => {
            match media {
                Media::Base64 { data, .. } => data.len(),
                Media::Url { url, .. } => url.len(),
                _ => 0,
            }
        }
        _ => 0,
    }
}

fn check_size(parts: &[Part], limit: usize) -> Result<()> {
    if parts.iter().map(size).sum::<usize>() > limit {
        return Err(Error::invalid_output("the MCP server's result is larger than the limit")
            .with_context("limit", format!("{limit} bytes")));
    }
    Ok(())
}

/// A resource's contents: text with its address before it, or a file.
pub(crate) fn from_resource(contents: ResourceContents) -> Result<Part> {
    match contents {
        ResourceContents::TextResourceContents { uri, text, .. } => {
            Ok(Part::text(format!("[resource {uri}]\n{text}\n")))
        }
        ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
            let mime = mime_type.unwrap_or_else(|| "application/octet-stream".to_owned());
            Ok(Part::File { media: Media::Base64 { mime, data: blob }, name: Some(uri) })
        }
        #[allow(unreachable_patterns, reason = "the protocol may get further kinds")]
        _ => Err(Error::unsupported("the MCP server sent a resource of an unknown kind")),
    }
}

pub(crate) fn from_block(block: ContentBlock) -> Result<Part> {
    let media = |mime, data| Media::Base64 { mime, data };
    match block {
        ContentBlock::Text(text) => Ok(Part::text(text.text)),
        ContentBlock::Image(image) => Ok(Part::Image { media: media(image.mime_type, image.data) }),
        ContentBlock::Audio(audio) => Ok(Part::Audio { media: media(audio.mime_type, audio.data) }),
        ContentBlock::Resource(embedded) => from_resource(embedded.resource),
        // As text: a part with an address would make the model's vendor fetch what the server names.
        ContentBlock::ResourceLink(link) => {
            Ok(Part::text(format!("[link to {}: {}]\n", link.name, link.uri)))
        }
        _ => Err(Error::unsupported("the MCP server sent content of an unknown kind")),
    }
}

/// Blocks in order, at most `limit` bytes of text and media.
pub(crate) fn from_blocks(blocks: Vec<ContentBlock>, limit: usize) -> Result<Vec<Part>> {
    let parts = blocks.into_iter().map(from_block).collect::<Result<Vec<_>>>()?;
    check_size(&parts, limit)?;
    Ok(parts)
}

/// A tool's result. Structured content that no text repeats is added as JSON.
pub(crate) fn from_result(result: CallToolResult, limit: usize) -> Result<ToolOutput> {
    let mut parts = from_blocks(result.content, limit)?;
    if let Some(value) = result.structured_content {
        // Some servers put a plain result into an object of the one field `result`.
        let bare = value.as_object().filter(|o| o.len() == 1).and_then(|o| o.get("result"));
        let same = |text: &str| {
            let said = serde_json::from_str::<serde_json::Value>(text).ok();
            said.as_ref() == Some(&value)
                || bare.is_some_and(|b| said.as_ref() == Some(b) || b.as_str() == Some(text))
        };
        let repeated = parts.iter().any(|part| matches!(part, Part::Text { text } if same(text)));
        if !repeated {
            parts.push(Part::text(value.to_string()));
            check_size(&parts, limit)?;
        }
    }
    let output = ToolOutput::new(parts);
    if result.is_error == Some(true) {
        let words: String = output.text().chars().take(MAX_ERROR).collect();
        let words = if words.trim().is_empty() { "the tool failed without a word".to_owned() } else { words };
        return Err(Error::new(ErrorKind::Tool, words));
    }
    Ok(output)
}

fn link(media_url: String) -> ContentBlock {
    ContentBlock::resource_link(Resource::new(media_url.clone(), media_url))
}

fn blob(mime: String, data: String, name: Option<String>) -> ContentBlock {
    let uri = name.map_or_else(|| "file:///output".to_owned(), |name| format!("file:///{name}"));
    ContentBlock::resource(ResourceContents::blob(data, uri).with_mime_type(mime))
}

fn to_block(part: Part) -> Result<ContentBlock> {
    Ok(match part {
        Part::Text { text } | Part::Refusal { text } => ContentBlock::text(text),
        Part::Image { media: Media::Base64 { mime, data } } => ContentBlock::image(data, mime),
        Part::Audio { media: Media::Base64 { mime, data } } => {
            ContentBlock::Audio(rmcp::model::AudioContent::new(data, mime))
        }
        Part::Video { media: Media::Base64 { mime, data } } => blob(mime, data, None),
        Part::File { media: Media::Base64 { mime, data }, name } => blob(mime, data, name),
        Part::Image { media: Media::Url { url, .. } }
        | Part::Audio { media: Media::Url { url, .. } }
        | Part::Video { media: Media::Url { url, .. } }
        | Part::File { media: Media::Url { url, .. }, .. } => link(url),
        _ => return Err(Error::unsupported("a tool's output has a part that MCP has no content for")),
    })
}

/// A tool's output for a client, at most `limit` bytes.
pub(crate) fn to_blocks(output: ToolOutput, limit: usize) -> Result<Vec<ContentBlock>> {
    if output.parts.iter().map(size).sum::<usize>() > limit {
        return Err(Error::new(ErrorKind::Tool, "the tool's output is larger than the limit"));
    }
    output.parts.into_iter().map(to_block).collect()
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
