//! Pictures: `/images/generations`, `/images/edits`.

use async_trait::async_trait;
use bytes::Bytes;
use katena_core::{
    Error, GeneratedImage, ImageModel, ImageRequest, ImageResponse, Media, MediaFile, MediaInfo, Result,
    Usage,
};
use katena_http::multipart::Form;
use serde_json::Value;

use super::service::{Service, builders, form_text};
use crate::fields::{Fields, count, items, misplaced, no, word};

/// An image model behind OpenAI's routes.
///
/// Without pictures the request draws anew, with pictures it changes them. `quality`, `background`, `style` and so on are
/// extras; `stream` and `partial_images` are `Unsupported`, since only the finished picture is read.
///
/// ```no_run
/// use katena_core::{ImageModel, ImageRequest};
/// use katena_llms::media::OpenAiImages;
/// # async fn f() -> katena_core::Result<()> {
/// let model = OpenAiImages::from_env("gpt-image-1-mini")?;
/// let drawn = model.draw(&ImageRequest::new("A lighthouse").with_extra("quality", "low")).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OpenAiImages {
    service: Service,
}

builders!(OpenAiImages, model);

#[async_trait]
impl ImageModel for OpenAiImages {
    fn info(&self) -> &MediaInfo {
        &self.service.info
    }

    async fn draw(&self, request: &ImageRequest) -> Result<ImageResponse> {
        let name = |e: Error| e.with_vendor(self.service.info.vendor.clone());
        let call = if request.images.is_empty() {
            let body = body(request, &self.service.info.model).map_err(name)?;
            self.service.post_json("images/generations", &body, &request.context)?
        } else {
            let form = form(request, &self.service.info.model).map_err(name)?;
            self.service.post_form("images/edits", &form, &request.context)?
        };
        let (value, reply) = self.service.json(call).await?;
        let mut response = decode(&value).map_err(|e| reply.mark(e))?;
        response.request_id = reply.request_id().map(str::to_owned);
        Ok(response)
    }
}

fn body(request: &ImageRequest, model: &str) -> Result<Value> {
    if request.mask.is_some() {
        return misplaced("a mask needs a picture to change");
    }
    let mut body = Fields::default();
    body.set("model", model);
    body.set("prompt", request.prompt.as_str());
    body.some("n", request.count);
    body.some("size", request.size.as_deref());
    check(request)?;
    body.extras(&request.extra)?;
    Ok(body.into_value())
}

fn check(request: &ImageRequest) -> Result<()> {
    let asks =
        |name: &str| request.extra.get(name).is_some_and(|v| !matches!(v, Value::Bool(false) | Value::Null));
    if asks("stream") || asks("partial_images") {
        return no("only the finished picture is read, so it can't be asked for in pieces");
    }
    Ok(())
}

fn form(request: &ImageRequest, model: &str) -> Result<Form> {
    check(request)?;
    let mut form = Form::new().with_text("model", model).with_text("prompt", request.prompt.as_str());
    if let Some(count) = request.count {
        form = form.with_text("n", count.to_string());
    }
    if let Some(size) = &request.size {
        form = form.with_text("size", size.as_str());
    }
    for (name, value) in &request.extra {
        let set = match name.as_str() {
            "model" | "prompt" | "image" | "image[]" => true,
            "n" => request.count.is_some(),
            "size" => request.size.is_some(),
            "mask" => request.mask.is_some(),
            _ => false,
        };
        if set {
            return Err(Error::invalid_input("an extra repeats a field that the request sets")
                .with_context("extra", name.clone()));
        }
        form = form.with_text(name.as_str(), form_text(value));
    }
    // Older models know one picture only, under the name without brackets.
    let field = if request.images.len() == 1 { "image" } else { "image[]" };
    for image in &request.images {
        form = add(form, field, image);
    }
    Ok(match &request.mask {
        Some(mask) => add(form, "mask", mask),
        None => form,
    })
}

fn add(form: Form, field: &str, file: &MediaFile) -> Form {
    form.with_file(field, file.name.as_str(), file.mime.as_str(), Bytes::from_owner(file.bytes.clone()))
}

fn decode(value: &Value) -> Result<ImageResponse> {
    let mime = match word(value, "output_format") {
        Some(format) => format!("image/{format}"),
        None => "image/png".to_owned(),
    };
    let image = |entry: &Value| {
        let media = match (word(entry, "b64_json"), word(entry, "url")) {
            (Some(data), _) => Media::Base64 { mime: mime.clone(), data },
            (None, url) => Media::Url { mime: None, url: url? },
        };
        let image = GeneratedImage::new(media);
        Some(match word(entry, "revised_prompt") {
            Some(prompt) => image.with_revised_prompt(prompt),
            None => image,
        })
    };
    let images: Vec<GeneratedImage> = items(value, "data").iter().filter_map(image).collect();
    if images.is_empty() {
        return Err(Error::invalid_output("the server's reply has no pictures"));
    }
    let mut usage = Usage::default();
    if let Some(counts) = value.get("usage") {
        usage.input_tokens = count(counts, "input_tokens");
        usage.output_tokens = count(counts, "output_tokens");
    }
    Ok(ImageResponse::new(images).with_usage(usage))
}
