//! The laws of every call.

use std::time::Instant;

use katena_core::{ChatModel, ChatRequest, Context, ErrorKind, FinishReason, Message, Part, Role};

use super::{ask, both, both_fail, fold, generate, repeatable};
use crate::FAKE_KEY;
use crate::harness::{Law, cancelled, parallel};

/// `generate` gives an assistant message with a finish reason.
pub async fn generate_answers(model: &dyn ChatModel) {
    let law = Law("ChatModel: generate_answers");
    law.check(
        !model.info().vendor.is_empty() && !model.info().model.is_empty(),
        "`info` leaves a name empty",
    );
    let conversation = ChatRequest::new([
        Message::system("You are brief."),
        Message::user("What is the capital of Denmark?"),
        Message::assistant("Copenhagen."),
        Message::user("And of Norway? ☕"),
    ]);
    let two_parts = Message::new(Role::User, vec![Part::text("Say "), Part::text("hello.")]);
    for request in [
        ask("Say hello."),
        conversation.with_max_tokens(16),
        ChatRequest::new([two_parts]).with_max_tokens(16),
    ] {
        let response = generate(law, model, &request).await;
        law.check(response.message.role == Role::Assistant, "the message is not the assistant's");
        law.check(!response.message.parts.is_empty(), "the message has no parts");
        law.check(
            matches!(response.finish, FinishReason::Stop | FinishReason::Length),
            format!("the finish reason is {:?}", response.finish),
        );
    }
}

/// A request without messages is `InvalidInput`.
pub async fn no_messages_is_invalid(model: &dyn ChatModel) {
    let law = Law("ChatModel: no_messages_is_invalid");
    both_fail(law, "no messages", ErrorKind::InvalidInput, model, &ChatRequest::new([])).await;
}

/// A small `max_tokens` ends with `Length` (or an earlier stop).
pub async fn max_tokens_is_kept(model: &dyn ChatModel) {
    let law = Law("ChatModel: max_tokens_is_kept");
    for max in [1, 3] {
        let request = ask("Count from one to fifty in words, please.").with_max_tokens(max);
        for (way, response) in both(law, model, &request).await {
            law.check(
                matches!(response.finish, FinishReason::Length | FinishReason::Stop),
                format!("{way}: the finish reason is {:?}", response.finish),
            );
            // Tokens of more than 64 bytes are rare; this catches a limit that was dropped.
            let bytes = response.text().len();
            law.check(bytes <= 64 * max as usize, format!("{way}: {bytes} bytes of text in {max} tokens"));
            if let Some(tokens) = response.usage.output_tokens {
                law.check(tokens <= u64::from(max), format!("{way}: {tokens} tokens, the limit is {max}"));
            }
        }
    }
}

/// A cancelled context is `Cancelled`, nothing is asked.
pub async fn cancelled_before_the_call(model: &dyn ChatModel) {
    let law = Law("ChatModel: cancelled_before_the_call");
    let request = ask("Say hello.").with_context(cancelled());
    both_fail(law, "a cancelled context", ErrorKind::Cancelled, model, &request).await;
    // The signal belongs to that context alone.
    generate(law, model, &ask("Say hello.")).await;
}

/// A passed deadline is `Timeout`.
pub async fn deadline_before_the_call(model: &dyn ChatModel) {
    let law = Law("ChatModel: deadline_before_the_call");
    let request = ask("Say hello.").with_context(Context::new().with_deadline(Instant::now()));
    both_fail(law, "a passed deadline", ErrorKind::Timeout, model, &request).await;
}

/// Parallel calls each get their own answer.
pub async fn concurrent_calls_do_not_mix(model: &dyn ChatModel) {
    let law = Law("ChatModel: concurrent_calls_do_not_mix");
    let prompts = [
        "Repeat: apple apple apple apple",
        "Name three rivers of Africa.",
        "What is 2 + 2?",
        "Write a haiku about snow.",
    ];
    let mut alone = Vec::new();
    for prompt in prompts {
        alone.push(generate(law, model, &repeatable(model, prompt)).await.text());
    }
    let together = parallel(2 * prompts.len(), |n| async move {
        let request = repeatable(model, prompts[n % prompts.len()]);
        if n < prompts.len() {
            generate(law, model, &request).await
        } else {
            fold(law, model, &request).await
        }
    });
    for (n, response) in together.iter().enumerate() {
        let (own, got) = (&alone[n % prompts.len()], response.text());
        if got == *own {
            continue;
        }
        let stolen = alone.iter().any(|other| other != own && *other == got);
        law.check(!stolen, format!("call {n} got another call's answer {got:?}"));
        // Batching may change the last digits of a model's arithmetic, and so a word, wherever two were nearly equally likely;
        // it does not mix answers: up to there it is this call's.
        if model.info().capabilities.seed {
            let common = |a: &str| a.chars().zip(got.chars()).take_while(|(a, b)| a == b).count();
            let others = alone.iter().filter(|other| *other != own).map(|other| common(other)).max();
            law.check(
                common(own) > others.unwrap_or_default(),
                format!("call {n} got {got:?}; asked alone, the answer is {own:?}"),
            );
        }
    }
}

/// `Debug` prints names and shapes, never messages or keys.
pub async fn debug_hides_content(model: &dyn ChatModel) {
    let law = Law("ChatModel: debug_hides_content");
    let marker = "katena-marker-77812";
    let request = ask(&format!("Repeat: {marker}"));
    let response = generate(law, model, &request).await;
    fold(law, model, &request).await;
    for shown in [format!("{model:?} {model:#?}"), format!("{request:?}"), format!("{response:?}")] {
        law.check(!shown.contains(marker), "`Debug` shows a message");
        law.check(!shown.contains(FAKE_KEY), "`Debug` shows the key");
    }
    for [kind, shown] in both_fail(law, "no messages", ErrorKind::InvalidInput, model, &ChatRequest::new([]))
        .await
        .map(|error| [format!("{error:?}"), error.to_string()])
    {
        law.check(!kind.contains(FAKE_KEY) && !shown.contains(FAKE_KEY), "an error shows the key");
    }
}
