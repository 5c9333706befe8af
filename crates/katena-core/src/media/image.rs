//! Models that draw.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{MediaFile, MediaInfo, pointers_and_layers};
use crate::context::Context;
use crate::error::Result;
use crate::message::Media;
use crate::response::Usage;

/// One call of an image model: what to draw, or how to change the pictures that come with it.
///
/// ```
/// use katena_core::{ImageRequest, MediaFile};
/// let draw = ImageRequest::new("A lighthouse at dawn").with_count(2).with_size("1024x1024");
/// let change = ImageRequest::new("Make it night").with_image(MediaFile::new("a.png", "image/png", *b"..."));
/// assert!(draw.images.is_empty() && change.images.len() == 1);
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ImageRequest {
    /// What to draw, or what to change.
    pub prompt: String,
    /// Pictures to change or to draw from; none draws anew.
    pub images: Vec<MediaFile>,
    /// Where to change the first picture: where this one, of the same size, is transparent.
    pub mask: Option<MediaFile>,
    /// How many pictures, 1 and up.
    pub count: Option<u32>,
    /// Their size in the vendor's words, such as `1024x1024`.
    pub size: Option<String>,
    /// Vendor extras by name, sent as they are.
    pub extra: BTreeMap<String, Value>,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

impl fmt::Debug for ImageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageRequest")
            .field("images", &self.images)
            .field("count", &self.count)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl ImageRequest {
    /// Draws this.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), ..Self::default() }
    }

    /// Adds a picture to change or to draw from.
    pub fn with_image(mut self, image: MediaFile) -> Self {
        self.images.push(image);
        self
    }

    /// Changes the first picture only where this one is transparent.
    pub fn with_mask(mut self, mask: MediaFile) -> Self {
        self.mask = Some(mask);
        self
    }

    /// Sets how many pictures.
    pub fn with_count(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }

    /// Sets their size.
    pub fn with_size(mut self, size: impl Into<String>) -> Self {
        self.size = Some(size.into());
        self
    }

    /// Adds a vendor extra.
    pub fn with_extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }

    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// A picture that a model drew.
///
/// ```
/// use katena_core::{GeneratedImage, Media};
/// let image = GeneratedImage::new(Media::Base64 { mime: "image/png".into(), data: "aGVsbG8=".into() });
/// assert_eq!(image.revised_prompt, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GeneratedImage {
    /// The picture, or an address where it lies for a while.
    pub media: Media,
    /// The prompt as the vendor rewrote it.
    pub revised_prompt: Option<String>,
}

impl GeneratedImage {
    /// A picture.
    pub fn new(media: Media) -> Self {
        Self { media, revised_prompt: None }
    }

    /// Sets the prompt as the vendor rewrote it.
    pub fn with_revised_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.revised_prompt = Some(prompt.into());
        self
    }
}

/// What an image model drew.
///
/// ```
/// use katena_core::ImageResponse;
/// assert!(ImageResponse::new(vec![]).images.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageResponse {
    /// The pictures.
    pub images: Vec<GeneratedImage>,
    /// Token counts, where the vendor counts so.
    pub usage: Usage,
    /// The vendor's id of the request.
    pub request_id: Option<String>,
}

impl ImageResponse {
    /// Pictures without counts.
    pub fn new(images: Vec<GeneratedImage>) -> Self {
        Self { images, usage: Usage::default(), request_id: None }
    }

    /// Sets the token counts.
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Sets the vendor's id of the request.
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }
}

/// A model that draws pictures, and changes them if it can.
///
/// At least one picture comes back, or an error. What the model can't do, such as changing pictures, is `Unsupported`; a
/// cancelled context is `Cancelled`.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ImageModel, ImageRequest, fake::FakeImages};
/// let response = FakeImages::new().draw(&ImageRequest::new("A dot").with_count(2)).await.unwrap();
/// assert_eq!(response.images.len(), 2);
/// # }).unwrap();
/// ```
#[async_trait]
pub trait ImageModel: fmt::Debug + Send + Sync {
    /// Its names.
    fn info(&self) -> &MediaInfo;

    /// Draws, or changes the pictures of the request.
    async fn draw(&self, request: &ImageRequest) -> Result<ImageResponse>;
}

pointers_and_layers!(ImageModel, ImageModelExt, {
    draw(ImageRequest) -> ImageResponse;
});
