//! Our engine, measured in a process of its own: load, warm up, measure, print.

use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use katena_core::{ChatEvent, ChatModel, ChatRequest, Error, Message, ResponseFormat, Result};
use katena_llama_cpp::{LlamaChat, LlamaOptions};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::ratio::Sample;

/// Tokens of context for each stream.
pub(crate) const SLOT_CONTEXT: u32 = 768;

/// How often each region is run for one sample, of which the quickest counts; theirs too.
pub(crate) const RUNS: u32 = 3;

const TOPICS: [&str; 16] = [
    "a lighthouse",
    "two rivers",
    "the old clock",
    "a lost letter",
    "winter bread",
    "the blue door",
    "a quiet robot",
    "seven kites",
    "the salt mine",
    "an island cat",
    "the last train",
    "paper boats",
    "a broken bell",
    "desert rain",
    "the tall ladder",
    "a glass garden",
];

/// CPU seconds of this process.
pub(crate) fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// The prompt of client `n`: long enough an answer to none ends early.
pub(crate) fn story(n: u32) -> String {
    let topic = TOPICS[n as usize % TOPICS.len()];
    format!("Write a very long story about {topic}, in many chapters, with every detail. Story number {n}.")
}

fn options(slots: u32) -> LlamaOptions {
    LlamaOptions::new()
        .with_threads(1)
        .with_batch_tokens(512)
        .with_slots(slots)
        .with_context_tokens(SLOT_CONTEXT)
        .with_queue(256)
}

fn load(model: &Path, slots: u32) -> Result<LlamaChat> {
    LlamaChat::load(model, options(slots))
}

fn request(prompt: &str, tokens: u32) -> ChatRequest {
    ChatRequest::new([Message::user(prompt)]).with_temperature(0.0).with_max_tokens(tokens)
}

/// Prompt tokens, those of them from a cache, answered tokens.
type Counts = (u64, u64, u64);

async fn ask(chat: &LlamaChat, request: ChatRequest) -> Result<Counts> {
    let mut stream = chat.stream(&request).await?;
    while let Some(event) = stream.next().await {
        if let ChatEvent::Finished(response) = event? {
            let usage = response.usage;
            return Ok((
                usage.input_tokens.unwrap_or(0),
                usage.cached_tokens.unwrap_or(0),
                usage.output_tokens.unwrap_or(0),
            ));
        }
    }
    Err(Error::unexpected("the answer has no end"))
}

/// Asks all at once; the sum of the counts.
async fn together(chat: &LlamaChat, clients: impl Iterator<Item = u32>, tokens: u32) -> Result<Counts> {
    let asked = try_join_all(clients.map(|n| ask(chat, request(&story(n), tokens)))).await?;
    Ok(asked.iter().fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2)))
}

/// What a child prints: CPU seconds, tokens, and the prompt's tokens each.
fn sample(taken: Sample, prompt: u64) -> Value {
    json!({ "seconds": taken.seconds, "tokens": taken.tokens, "prompt": prompt })
}

/// Runs a region [`RUNS`] times; the quickest, since all that other programs do makes it slower.
async fn quickest<F>(mut region: impl FnMut(u32) -> F) -> Result<Sample>
where
    F: Future<Output = Result<f64>>,
{
    let mut best: Option<Sample> = None;
    for run in 0..RUNS {
        let before = cpu();
        let tokens = region(run).await?;
        let now = Sample { seconds: cpu() - before, tokens };
        best = Some(best.filter(|b| b.each() <= now.each()).unwrap_or(now));
    }
    best.ok_or_else(|| Error::unexpected("nothing was run"))
}

/// `streams` answers side by side, their prompts asked once before, so that only generation is measured.
pub(crate) async fn generation(model: &Path, streams: u32, tokens: u32) -> Result<Value> {
    let chat = load(model, streams)?;
    let (prompt, _, _) = together(&chat, 0..streams, 2).await?;
    let best = quickest(async |_| Ok(together(&chat, 0..streams, tokens).await?.2 as f64)).await?;
    Ok(sample(best, prompt / u64::from(streams)))
}

/// A text of about `tokens` tokens that begins like no other.
fn filler(chat: &LlamaChat, seed: u64, tokens: usize) -> Result<String> {
    let words = ["river", "stone", "window", "green", "seven", "market", "cloud", "paper", "north", "silver"];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = format!("{seed}:");
    let mut asked = 0;
    while asked < tokens {
        for _ in 0..(tokens - asked).max(8) / 2 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push(' ');
            text.push_str(words[(state >> 33) as usize % words.len()]);
        }
        asked = chat.prompt_tokens(&request(&text, 1))?;
        if asked + 8 >= tokens {
            break;
        }
    }
    Ok(text)
}

/// A prompt of about 512 tokens that is new but for the template's beginning. `kept`: how many tokens of other requests stay
/// in the cache, `None` for the default.
pub(crate) async fn prompt(model: &Path, kept: Option<u32>) -> Result<Value> {
    let usual = options(1);
    let options = match kept {
        Some(tokens) => usual.with_kept_tokens(tokens),
        None => usual,
    };
    let chat = LlamaChat::load(model, options)?;
    ask(&chat, request(&filler(&chat, 1, 512)?, 1)).await?;
    let mut asked = Vec::new();
    for run in 0..RUNS {
        asked.push(request(&filler(&chat, u64::from(run) + 2, 512)?, 1));
    }
    let best = quickest(async |run| {
        let (prompt, cached, _) = ask(&chat, asked[run as usize].clone()).await?;
        Ok((prompt - cached) as f64)
    });
    Ok(sample(best.await?, 512))
}

/// Pairs of questions under the same 512 new tokens: CPU and wall seconds to the first token of the first and the second.
pub(crate) async fn prefix(model: &Path, pairs: u32) -> Result<Value> {
    let chat = load(model, 2)?;
    ask(&chat, request("Hello.", 1)).await?;
    let mut found = Vec::new();
    for pair in 0..pairs {
        let system = filler(&chat, u64::from(pair) + 10, 512)?;
        let mut both = Vec::new();
        for question in ["Which word comes first?", "How many rivers are there?"] {
            let messages = [Message::system(system.as_str()), Message::user(question)];
            let asked = ChatRequest::new(messages).with_temperature(0.0).with_max_tokens(1);
            let (before, started) = (cpu(), Instant::now());
            let (_, cached, _) = ask(&chat, asked).await?;
            both.push(
                json!({ "cpu": cpu() - before, "wall": started.elapsed().as_secs_f64(), "cached": cached }),
            );
        }
        found.push(both);
    }
    Ok(json!(found))
}

/// Pairs of an answer in free text and one under a schema, each `tokens` long.
pub(crate) async fn constrained(model: &Path, pairs: u32, tokens: u32) -> Result<Value> {
    let chat = load(model, 1)?;
    let schema = json!({
        "type": "object",
        "properties": { "people": { "type": "array", "minItems": 40, "items": {
            "type": "object",
            "properties": {
                "name": { "type": "string", "maxLength": 30 },
                "age": { "type": "integer", "minimum": 0, "maximum": 120 },
                "city": { "type": "string", "maxLength": 30 },
                "member": { "type": "boolean" }
            },
            "required": ["name", "age", "city", "member"], "additionalProperties": false
        } } },
        "required": ["people"], "additionalProperties": false
    });
    let free = || request("Write a list of many people with name, age, city and membership.", tokens);
    let bound = || {
        free().with_response_format(ResponseFormat::JsonSchema {
            name: "people".to_owned(),
            schema: schema.clone(),
        })
    };
    ask(&chat, free().with_max_tokens(2)).await?;
    let before = cpu();
    ask(&chat, bound().with_max_tokens(2)).await?;
    let first = cpu() - before;
    let mut found = Vec::new();
    for _ in 0..pairs {
        let plain = quickest(async |_| Ok(ask(&chat, free()).await?.2 as f64)).await?;
        let fitted = quickest(async |_| Ok(ask(&chat, bound()).await?.2 as f64)).await?;
        found.push([sample(plain, 0), sample(fitted, 0)]);
    }
    Ok(json!({ "pairs": found, "first_seconds": first }))
}

/// Pairs: the same 64 requests from 8 clients, each of which asks when it has its answer, and from 64 clients at once; on 8
/// slots.
pub(crate) async fn clients(model: &Path, pairs: u32, tokens: u32) -> Result<Value> {
    let chat = load(model, 8)?;
    together(&chat, 0..8, 2).await?;
    let mut found = Vec::new();
    for _ in 0..pairs {
        let before = cpu();
        let next = Cell::new(0);
        let few = try_join_all((0..8).map(|_| async {
            let (mut computed, mut answered) = (0, 0);
            // Each takes the next of the same 64 requests: both sides ask them in the same order.
            while next.get() < 64 {
                let asked = request(&story(next.replace(next.get() + 1)), tokens);
                let counts = ask(&chat, asked).await?;
                computed += counts.0 - counts.1;
                answered += counts.2;
            }
            Ok::<_, Error>((computed, answered))
        }))
        .await?;
        let middle = cpu();
        let started = Instant::now();
        let many = try_join_all((0..64).map(|client| {
            let chat = &chat;
            async move {
                let counts = ask(chat, request(&story(client), tokens)).await?;
                Ok::<_, Error>((counts.0 - counts.1, counts.2, started.elapsed().as_secs_f64()))
            }
        }))
        .await?;
        let after = cpu();
        let mut times: Vec<f64> = many.iter().map(|m| m.2).collect();
        times.sort_by(f64::total_cmp);
        let answered = [few.iter().map(|f| f.1).sum::<u64>(), many.iter().map(|m| m.1).sum()];
        found.push(json!({
            "few": sample(Sample { seconds: middle - before, tokens: answered[0] as f64 }, 0),
            "many": sample(Sample { seconds: after - middle, tokens: answered[1] as f64 }, 0),
            "prompt_tokens_computed": [
                few.iter().map(|f| f.0).sum::<u64>(),
                many.iter().map(|m| m.0).sum::<u64>(),
            ],
            "slowest_by_median": times[63] / f64::midpoint(times[31], times[32]),
        }));
    }
    Ok(json!(found))
}
