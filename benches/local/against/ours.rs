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

/// How often each region is run for one sample; theirs too.
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

/// Runs a region `runs` times: what all of them took together.
async fn measure<F>(runs: u32, mut region: impl FnMut(u32) -> F) -> Result<Sample>
where
    F: Future<Output = Result<f64>>,
{
    let (before, mut tokens) = (cpu(), 0.0);
    for run in 0..runs {
        tokens += region(run).await?;
    }
    Ok(Sample { seconds: cpu() - before, tokens })
}

/// `streams` answers side by side, their prompts asked once before, so that only generation is measured.
///
/// It prints what it found and goes on until it is killed, so that the other program never has the core to itself.
pub(crate) async fn generation(model: &Path, streams: u32, tokens: u32, runs: u32) -> Result<Value> {
    let chat = load(model, streams)?;
    let (prompt, _, _) = together(&chat, 0..streams, 2).await?;
    let taken = measure(runs, async |_| Ok(together(&chat, 0..streams, tokens).await?.2 as f64)).await?;
    println!("{}", sample(taken, prompt / u64::from(streams)));
    loop {
        together(&chat, 0..streams, tokens).await?;
    }
}

/// A prompt of about `tokens` tokens, made of a text that begins like no other.
fn filler<const N: usize>(
    chat: &LlamaChat,
    seed: u64,
    tokens: usize,
    prompt: impl Fn(String) -> [Message; N],
) -> Result<ChatRequest> {
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
        asked = chat.prompt_tokens(&ChatRequest::new(prompt(text.clone())))?;
        if asked + 4 >= tokens {
            break;
        }
    }
    Ok(ChatRequest::new(prompt(text)).with_temperature(0.0).with_max_tokens(1))
}

/// A prompt of about 512 tokens after others of that length, with the usual settings. New from its first line on, or but for
/// what the chat template begins with; tokens that were there are not counted.
pub(crate) async fn prompt(model: &Path, template: bool) -> Result<Value> {
    let chat = load(model, 1)?;
    let mut asked = Vec::new();
    for run in 0..=RUNS {
        let seed = u64::from(run) + 1;
        asked.push(if template {
            filler(&chat, seed, 512, |text| [Message::user(text)])?
        } else {
            filler(&chat, seed, 512, |text| [Message::system(text), Message::user("Go on.")])?
        });
    }
    ask(&chat, asked[RUNS as usize].clone()).await?;
    let taken = measure(RUNS, async |run| {
        let (prompt, cached, _) = ask(&chat, asked[run as usize].clone()).await?;
        Ok((prompt - cached) as f64)
    });
    Ok(sample(taken.await?, 512))
}

/// Pairs of questions under the same 512 new tokens: CPU and wall seconds to the first token of the first and the second.
pub(crate) async fn prefix(model: &Path, pairs: u32) -> Result<Value> {
    let chat = load(model, 2)?;
    ask(&chat, request("Hello.", 1)).await?;
    let mut found = Vec::new();
    for pair in 0..pairs {
        let system = filler(&chat, u64::from(pair) + 10, 512, |text| [Message::user(text)])?;
        let system = system.messages[0].text();
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

/// An answer of `tokens` tokens, free or under a schema.
pub(crate) async fn constrained(model: &Path, tokens: u32, held: bool) -> Result<Value> {
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
    let asked = |tokens| {
        let free = request("Write a list of many people with name, age, city and membership.", tokens);
        if !held {
            return free;
        }
        free.with_response_format(ResponseFormat::JsonSchema {
            name: "people".to_owned(),
            schema: schema.clone(),
        })
    };
    // The schema's first use compiles it.
    ask(&chat, asked(2)).await?;
    let taken = measure(RUNS, async |_| Ok(ask(&chat, asked(tokens)).await?.2 as f64)).await?;
    Ok(sample(taken, 0))
}

/// The same 64 requests from `clients` clients, each of which asks the next when it has its answer; on 8 slots. Also the wall
/// time of the slowest answer by that of the median.
pub(crate) async fn clients(model: &Path, clients: u32, tokens: u32) -> Result<Value> {
    let chat = load(model, 8)?;
    together(&chat, 0..8, 2).await?;
    let (before, started, next) = (cpu(), Instant::now(), Cell::new(0));
    let answers = try_join_all((0..clients).map(|_| async {
        let mut answers = Vec::new();
        while next.get() < 64 {
            let asked = request(&story(next.replace(next.get() + 1)), tokens);
            let counts = ask(&chat, asked).await?;
            answers.push((counts.2, started.elapsed().as_secs_f64()));
        }
        Ok::<_, Error>(answers)
    }))
    .await?;
    let seconds = cpu() - before;
    let answers = answers.concat();
    let mut times: Vec<f64> = answers.iter().map(|a| a.1).collect();
    times.sort_by(f64::total_cmp);
    let mut found = sample(Sample { seconds, tokens: answers.iter().map(|a| a.0 as f64).sum() }, 0);
    found["slowest_by_median"] = json!(times[63] / f64::midpoint(times[31], times[32]));
    Ok(found)
}
