//! A chat in the terminal with a local model:
//! `cargo run --release -p katena-examples --example local_chat -- CHAT.gguf`.
//!
//! Answers stream. Ctrl-C stops the answer, not the program; at the prompt, Ctrl-D or `/quit` ends it. `/help` lists the
//! commands. Without a model it says so and ends.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::io::Write;

use futures_util::StreamExt;
use katena::prelude::*;
use katena::{ChatEvent, ChatRequest, Message, Role};

const HELP: &str = "\
/help          this
/clear         forget the conversation
/system TEXT   what the model is told first; clears the conversation
/temperature N how free the answers are: 0 gives the likeliest words, 1 is lively
/undo          forget the last question and its answer
/history       the conversation so far
/save FILE     write the conversation as JSON
/load FILE     go on with a conversation that was saved
/tokens        how much of the context is used
/stats         what the engine did
/quit          end";

struct Chat {
    model: LlamaChat,
    system: String,
    /// `None`: what the model's file recommends.
    temperature: Option<f32>,
    /// Questions and answers.
    history: Vec<Message>,
}

impl Chat {
    fn request(&self) -> ChatRequest {
        let system = (!self.system.is_empty()).then(|| Message::system(&self.system));
        let messages = system.into_iter().chain(self.history.iter().cloned());
        let mut request = ChatRequest::new(messages).with_max_tokens(512);
        request.temperature = self.temperature;
        request
    }

    /// The oldest turns go when the context is full.
    fn make_room(&mut self) -> Result<()> {
        while let Err(e) = self.model.prompt_tokens(&self.request()) {
            if e.kind() != ErrorKind::ContextTooLong || self.history.len() < 3 {
                return Err(e);
            }
            self.history.drain(..2);
            eprintln!("(the oldest question and answer were forgotten: the context is full)");
        }
        Ok(())
    }

    /// Asks and shows the answer as it comes. Dropping the stream stops the model.
    async fn ask(&mut self, question: &str) -> Result<()> {
        self.history.push(Message::user(question));
        if let Err(e) = self.make_room() {
            self.history.pop();
            return Err(e);
        }
        let mut answer = String::new();
        let told = tokio::select! {
            told = self.stream(&mut answer) => told,
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                print!(" …(stopped)");
                Ok(())
            }
        };
        println!();
        match told {
            Ok(()) => self.history.push(Message::assistant(answer)),
            Err(e) => {
                self.history.pop();
                return Err(e);
            }
        }
        Ok(())
    }

    async fn stream(&self, answer: &mut String) -> Result<()> {
        let mut events = self.model.stream(&self.request()).await?;
        while let Some(event) = events.next().await {
            if let ChatEvent::Delta { text, .. } = event? {
                print!("{text}");
                std::io::stdout().flush()?;
                answer.push_str(&text);
            }
        }
        Ok(())
    }

    /// True if the program shall end.
    async fn command(&mut self, line: &str) -> Result<bool> {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match name {
            "/help" => println!("{HELP}"),
            "/clear" => self.history.clear(),
            "/system" => {
                rest.clone_into(&mut self.system);
                self.history.clear();
            }
            "/temperature" => match rest.parse() {
                Ok(temperature) => self.temperature = Some(temperature),
                Err(_) => println!("a number is missing: /temperature 0.7"),
            },
            "/undo" => self.history.truncate(self.history.len().saturating_sub(2)),
            "/history" => {
                for message in &self.history {
                    let who = if message.role == Role::User { "you" } else { "model" };
                    println!("{who}: {}", message.text());
                }
            }
            "/save" if !rest.is_empty() => {
                let text = serde_json::to_string_pretty(&self.history)
                    .map_err(|e| Error::unexpected("the conversation can't be written").with_source(e))?;
                tokio::fs::write(rest, text).await?;
                println!("{} messages written", self.history.len());
            }
            "/load" if !rest.is_empty() => {
                let text = tokio::fs::read_to_string(rest).await?;
                self.history = serde_json::from_str(&text)
                    .map_err(|e| Error::invalid_input("this is no saved conversation").with_source(e))?;
                println!("{} messages read", self.history.len());
            }
            "/tokens" => {
                let used =
                    if self.history.is_empty() { 0 } else { self.model.prompt_tokens(&self.request())? };
                println!("{used} of {} tokens", self.model.info().context_tokens.unwrap_or_default());
            }
            "/stats" => println!("{:#?}", self.model.stats()),
            "/quit" => return Ok(true),
            _ => println!("unknown, or something is missing; /help lists the commands"),
        }
        Ok(false)
    }
}

/// Lines of the terminal, read on a thread of their own so that the answer goes on meanwhile.
fn lines() -> tokio::sync::mpsc::Receiver<String> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(|line| line.ok()) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

#[tokio::main]
async fn main() -> Result<()> {
    let Some(path) = std::env::args().nth(1) else {
        println!("usage: local_chat CHAT.gguf");
        return Ok(());
    };
    let model = LlamaChat::load(path, LlamaOptions::new())?;
    println!("{} is ready; /help lists the commands, Ctrl-C stops an answer", model.info().model);
    let system = "You are a helpful assistant.".into();
    let mut chat = Chat { model, system, temperature: None, history: Vec::new() };
    let mut lines = lines();
    loop {
        print!("> ");
        std::io::stdout().flush()?;
        let line = tokio::select! {
            line = lines.recv() => line,
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                println!("(/quit or Ctrl-D ends)");
                continue;
            }
        };
        let Some(line) = line else { break };
        let done = match line.trim() {
            "" => Ok(false),
            command if command.starts_with('/') => chat.command(command).await,
            question => chat.ask(question).await.map(|()| false),
        };
        match done {
            Ok(true) => break,
            Ok(false) => {}
            Err(e) => eprintln!("{e}"),
        }
    }
    Ok(())
}
