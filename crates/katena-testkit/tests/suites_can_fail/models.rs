//! Chat models, embedders and tools with faults.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use katena_core::fake::{EchoChat, HashEmbedder};
use katena_core::*;

use super::caught;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    NoFinished,
    TwoFinished,
    OtherText,
    LateStart,
    UserSpeaks,
    AnswersNobody,
    IgnoresLimit,
    IgnoresTools,
    NoUsage,
    KeepsStop,
    IgnoresSeed,
    NoLogprobs,
    NoToolCall,
    ProseForJson,
    IgnoresContext,
    LeaksSlots,
    Mixes,
    Babbles,
}
use Fault::*;

/// An echo with log-probabilities and one fault.
struct Chat {
    inner: EchoChat,
    info: ModelInfo,
    fault: Fault,
    calls: AtomicUsize,
    last: std::sync::Mutex<String>,
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chat")?;
        if self.fault == Babbles { f.write_str(&self.last.lock().unwrap()) } else { Ok(()) }
    }
}

fn chat(fault: Fault) -> Chat {
    let can =
        ChatCapabilities::none().with_usage().with_stop().with_seed().with_json_schema().with_logprobs();
    let can = if fault == IgnoresTools { can } else { can.with_tools() };
    let info = ModelInfo::new("fake", "faulty").with_capabilities(can);
    Chat {
        inner: EchoChat::new(),
        info,
        fault,
        calls: AtomicUsize::new(0),
        last: std::sync::Mutex::default(),
    }
}

#[async_trait]
impl ChatModel for Chat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        let mut asked = request.clone();
        asked.logprobs = Option::None;
        if self.fault == IgnoresTools {
            asked.tools.clear();
            asked.tool_choice = Option::None;
        } else {
            let media = |p: &Part| matches!(p, Part::Image { .. });
            if request.messages.iter().flat_map(|m| &m.parts).any(media) {
                return Err(Error::unsupported("no images"));
            }
        }
        match self.fault {
            IgnoresContext => asked.context = Context::new(),
            AnswersNobody if asked.messages.is_empty() => asked.messages.push(Message::user("Hi")),
            IgnoresLimit => asked.max_tokens = Option::None,
            KeepsStop => asked.stop.clear(),
            NoToolCall => asked.tool_choice = Option::None,
            ProseForJson => asked.response_format = Option::None,
            IgnoresSeed => asked.messages.push(Message::user(format!("call {calls}"))),
            Mixes => {
                if let Some(last) = asked.messages.last() {
                    *self.last.lock().unwrap() = last.text();
                }
                // Gives the others time to overwrite what this call wants.
                std::thread::sleep(std::time::Duration::from_millis(20));
                asked.messages.push(Message::user(self.last.lock().unwrap().clone()));
            }
            Babbles => {
                *self.last.lock().unwrap() = asked.messages.last().map(Message::text).unwrap_or_default();
            }
            _ => {}
        }
        let mut response = self.inner.generate(&asked).await?;
        if self.fault == UserSpeaks {
            response.message.role = Role::User;
        }
        if self.fault == NoUsage {
            response.usage = Usage::default();
        }
        if request.logprobs.is_some() && self.fault != NoLogprobs {
            let text = response.text();
            let tokens = text.split_inclusive(' ').map(|t| TokenLogprob::new(t, -0.5, Vec::new()));
            response.logprobs = Some(tokens.collect());
        }
        Ok(response)
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        if self.fault == LeaksSlots && self.calls.load(Ordering::SeqCst) > 5 {
            return Err(Error::new(ErrorKind::Unavailable, "no free slot"));
        }
        let mut events = ChatEvent::of_response(self.generate(request).await?);
        match self.fault {
            NoFinished => drop(events.pop()),
            TwoFinished => events.extend(events.last().cloned()),
            OtherText => events.insert(1, ChatEvent::delta(0, "more ")),
            LateStart => events.swap(0, 1),
            _ => {}
        }
        Ok(futures_util::stream::iter(events.into_iter().map(Ok)).boxed())
    }
}

katena_testkit::chat_model_contract!(right_chat, async { Arc::new(chat(None)) as Arc<dyn ChatModel> });

caught! {
    a_model_whose_deltas_differ: chat_model::stream_folds_to_finished(chat(OtherText));
    a_model_that_never_finishes: chat_model::stream_folds_to_finished(chat(NoFinished));
    a_model_that_finishes_twice: chat_model::stream_ends_once(chat(TwoFinished));
    a_model_that_starts_late: chat_model::parts_start_before_they_grow(chat(LateStart));
    a_model_that_speaks_as_the_user: chat_model::generate_answers(chat(UserSpeaks));
    a_model_that_answers_nobody: chat_model::no_messages_is_invalid(chat(AnswersNobody));
    a_model_without_limit: chat_model::max_tokens_is_kept(chat(IgnoresLimit));
    a_model_that_drops_tools: chat_model::unsupported_is_said(chat(IgnoresTools));
    a_model_without_usage: chat_model::usage_is_reported(chat(NoUsage));
    a_model_that_says_the_stop_text: chat_model::stop_ends_the_answer(chat(KeepsStop));
    a_model_without_seed: chat_model::seed_repeats(chat(IgnoresSeed));
    a_model_without_logprobs: chat_model::logprobs_are_reported(chat(NoLogprobs));
    a_model_that_calls_nothing: chat_model::tools_are_called(chat(NoToolCall));
    a_model_of_prose: chat_model::json_schema_is_kept(chat(ProseForJson));
    a_model_that_ignores_cancel: chat_model::cancelled_before_the_call(chat(IgnoresContext));
    a_model_that_ignores_deadlines: chat_model::deadline_before_the_call(chat(IgnoresContext));
    a_model_that_leaks_slots: chat_model::dropped_stream_stops(chat(LeaksSlots));
    a_model_that_mixes: chat_model::concurrent_calls_do_not_mix(chat(Mixes));
    a_model_that_babbles: chat_model::debug_hides_content(chat(Babbles));
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Slip {
    Sorts,
    DropsBlank,
    Stretches,
    AddsOne,
    Nan,
    Drifts,
    FewPerRequest,
    DropsShort,
    IgnoresCancel,
    FailsOnEmoji,
}

/// A hash embedder with one fault.
#[derive(Debug)]
struct Embed(HashEmbedder, Slip, AtomicUsize);

fn embed(slip: Slip) -> Embed {
    Embed(HashEmbedder::new(32), slip, AtomicUsize::new(0))
}

#[async_trait]
impl Embedder for Embed {
    fn info(&self) -> &EmbedderInfo {
        self.0.info()
    }
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        Option::None
    }
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        let calls = self.2.fetch_add(1, Ordering::SeqCst);
        let mut asked = request.clone();
        match self.1 {
            Slip::Sorts => asked.texts.sort_by_key(String::len),
            Slip::DropsBlank => asked.texts.retain(|t| !t.trim().is_empty()),
            Slip::IgnoresCancel => asked.context = Context::new(),
            Slip::FailsOnEmoji if asked.texts.iter().any(|t| !t.is_ascii()) => {
                return Err(Error::unexpected("a tokenizer panicked"));
            }
            Slip::FewPerRequest => asked.texts.truncate(64),
            Slip::DropsShort => asked.texts.retain(|t| t.len() > 1),
            _ => {}
        }
        let mut response = self.0.embed(&asked).await?;
        for vector in &mut response.vectors {
            match self.1 {
                Slip::Stretches => vector.iter_mut().for_each(|x| *x *= 2.0),
                Slip::AddsOne => vector.push(0.0),
                Slip::Nan => vector[0] = f32::NAN,
                Slip::Drifts => vector[0] += calls as f32 * 0.01,
                _ => {}
            }
        }
        Ok(response)
    }
}

caught! {
    an_embedder_that_drops_texts: embedder::one_vector_a_text(embed(Slip::DropsShort));
    an_embedder_of_other_dimensions: embedder::dimensions_as_stated(embed(Slip::AddsOne));
    an_embedder_of_nan: embedder::dimensions_as_stated(embed(Slip::Nan));
    an_embedder_that_drifts: embedder::same_text_same_vector(embed(Slip::Drifts));
    an_embedder_that_sorts: embedder::order_is_kept(embed(Slip::Sorts));
    an_embedder_that_drops_blanks: embedder::empty_text_has_a_vector(embed(Slip::DropsBlank));
    an_embedder_that_fails_on_emoji: embedder::unicode_is_welcome(embed(Slip::FailsOnEmoji));
    an_embedder_that_stretches: embedder::normalized_as_stated(embed(Slip::Stretches));
    an_embedder_of_small_batches: embedder::large_batches_work(embed(Slip::FewPerRequest));
    an_embedder_that_ignores_cancel: embedder::cancelled_before_the_call(embed(Slip::IgnoresCancel));
}

/// Says yes to everything.
#[derive(Debug)]
struct Yes(ToolSpec);

#[async_trait]
impl Tool for Yes {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }
    async fn call(&self, _: ToolCall, _: &Run) -> Result<ToolOutput> {
        Ok("yes".into())
    }
}

caught! {
    a_tool_of_a_list: tool::spec_is_an_object(Yes(ToolSpec::new("yes", "Says yes.", serde_json::json!({"type": "array"}))));
    a_tool_that_says_yes: tool::bad_arguments_are_invalid_output(Yes(ToolSpec::new("yes", "Says yes.", serde_json::json!({}))));
}
