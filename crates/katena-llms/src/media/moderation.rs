//! Moderation: `/moderations`.

use async_trait::async_trait;
use katena_core::{
    CategoryScore, Error, MediaInfo, Moderation, ModerationModel, ModerationRequest, ModerationResponse,
    Part, Result,
};
use serde_json::{Value, json};

use super::service::{Service, builders};
use crate::fields::{address, items, no, only_text, word};

/// A moderation model behind OpenAI's route.
///
/// Texts are judged in one call; as soon as one input has a picture, each input is judged by a call of its own, since the
/// route takes one mixed input at a time.
///
/// ```no_run
/// use katena_core::{ModerationModel, ModerationRequest};
/// use katena_llms::media::OpenAiModeration;
/// # async fn f() -> katena_core::Result<()> {
/// let model = OpenAiModeration::from_env("omni-moderation-latest")?;
/// let judged = model.moderate(&ModerationRequest::texts(["Hello", "World"])).await?;
/// assert_eq!(judged.results.len(), 2);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OpenAiModeration {
    service: Service,
}

builders!(OpenAiModeration, model);

#[async_trait]
impl ModerationModel for OpenAiModeration {
    fn info(&self) -> &MediaInfo {
        &self.service.info
    }

    async fn moderate(&self, request: &ModerationRequest) -> Result<ModerationResponse> {
        request.context.check()?;
        let inputs = inputs(request).map_err(|e| e.with_vendor(self.service.info.vendor.clone()))?;
        let mut all = ModerationResponse::new(Vec::with_capacity(request.inputs.len()));
        for (input, count) in inputs {
            let body = json!({"model": self.service.info.model, "input": input});
            let call = self.service.post_json("moderations", &body, &request.context)?;
            let (value, reply) = self.service.json(call).await?;
            all.results.extend(decode(&value, count).map_err(|e| reply.mark(e))?);
            all.model = word(&value, "model").or(all.model);
            all.request_id = reply.request_id().map(str::to_owned).or(all.request_id);
        }
        Ok(all)
    }
}

/// What is sent, and how many judgements each call must give.
fn inputs(request: &ModerationRequest) -> Result<Vec<(Value, usize)>> {
    if request.inputs.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Option<Vec<String>> = request.inputs.iter().map(|parts| only_text(parts)).collect();
    if let Some(texts) = texts {
        let count = texts.len();
        return Ok(vec![(json!(texts), count)]);
    }
    let mixed = |parts: &Vec<Part>| parts.iter().map(part).collect::<Result<Value>>();
    request.inputs.iter().map(|parts| mixed(parts).map(|input| (input, 1))).collect()
}

fn part(part: &Part) -> Result<Value> {
    Ok(match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image { media } => json!({"type": "image_url", "image_url": {"url": address(media)?}}),
        _ => return no("only texts and pictures can be judged"),
    })
}

/// Reads the judgements. Too few of them is an error: what was not judged must not pass as harmless.
fn decode(value: &Value, count: usize) -> Result<Vec<Moderation>> {
    let results = items(value, "results");
    if results.len() != count {
        return Err(Error::invalid_output("the server did not judge each input once")
            .with_context("judgements", results.len().to_string()));
    }
    results.iter().map(judgement).collect()
}

fn judgement(result: &Value) -> Result<Moderation> {
    let flags = result.get("categories").and_then(Value::as_object);
    let scores = result.get("category_scores").and_then(Value::as_object);
    let mut judged = Moderation::default();
    for (name, flag) in flags.into_iter().flatten() {
        let mut score = CategoryScore::default();
        score.flagged = flag.as_bool().unwrap_or(false);
        judged.categories.insert(name.clone(), score);
    }
    for (name, score) in scores.into_iter().flatten() {
        judged.categories.entry(name.clone()).or_default().score = score.as_f64().map(|s| s as f32);
    }
    let any = judged.categories.values().any(|c| c.flagged);
    match (result.get("flagged").and_then(Value::as_bool), flags) {
        (None, None) => Err(Error::invalid_output("the server's judgement says nothing")),
        (flagged, _) => {
            judged.flagged = flagged.unwrap_or(any) || any;
            Ok(judged)
        }
    }
}
