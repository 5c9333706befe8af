//! Models of pictures and sound: images, speech, transcription; and moderation, which judges text and pictures.

mod image;
mod moderation;
mod speech;
mod transcription;

use std::fmt;
use std::sync::Arc;

pub use image::*;
pub use moderation::*;
pub use speech::*;
pub use transcription::*;

/// Who serves a model of pictures or sound, and its name there.
///
/// ```
/// use katena_core::MediaInfo;
/// assert_eq!(MediaInfo::new("openai", "gpt-image-1").vendor, "openai");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaInfo {
    /// Who serves it.
    pub vendor: String,
    /// The model's name there.
    pub model: String,
}

impl MediaInfo {
    /// Both names.
    pub fn new(vendor: impl Into<String>, model: impl Into<String>) -> Self {
        Self { vendor: vendor.into(), model: model.into() }
    }
}

/// A file in memory. Clones share its bytes.
///
/// ```
/// use katena_core::MediaFile;
/// let file = MediaFile::new("hello.wav", "audio/wav", *b"RIFF");
/// assert_eq!(file.bytes.len(), 4);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaFile {
    /// Its name; vendors tell its form by the ending.
    pub name: String,
    /// Its MIME type.
    pub mime: String,
    /// What is in it.
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for MediaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MediaFile({}, {} bytes)", self.mime, self.bytes.len())
    }
}

impl MediaFile {
    /// A file of this name, MIME type and content.
    pub fn new(name: impl Into<String>, mime: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { name: name.into(), mime: mime.into(), bytes: bytes.into() }
    }
}

/// The trait's methods through a pointer, and its layers.
macro_rules! pointers_and_layers {
    ($model:ident, $ext:ident, { $($method:ident($request:ty) -> $response:ty;)+ }) => {
        pointers_and_layers!(@one Arc, $model, { $($method($request) -> $response;)+ });
        pointers_and_layers!(@one Box, $model, { $($method($request) -> $response;)+ });

        #[doc = concat!("Conveniences of every [`", stringify!($model), "`].")]
        pub trait $ext: $model {
            /// Wraps the model in a layer.
            fn layer<L: crate::Layer<dyn $model>>(self, layer: L) -> std::sync::Arc<dyn $model>
            where
                Self: Sized + 'static,
            {
                layer.layer(std::sync::Arc::new(self))
            }
        }

        impl<M: $model + ?Sized> $ext for M {}
    };
    (@one $ptr:ident, $model:ident, { $($method:ident($request:ty) -> $response:ty;)+ }) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait::async_trait]
        impl<M: $model + ?Sized> $model for $ptr<M> {
            fn info(&self) -> &crate::MediaInfo {
                (**self).info()
            }
            $(async fn $method(&self, request: &$request) -> crate::Result<$response> {
                (**self).$method(request).await
            })+
        }
    };
}
use pointers_and_layers;
