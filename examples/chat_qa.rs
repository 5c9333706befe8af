//! A conversation about a folder of documents, kept in SQLite: `cargo run -p katena-examples --example chat_qa`.
//!
//! In a terminal it takes your questions, each line one, until the end of input, and the conversation is still there the next
//! time; otherwise it asks three of its own. The embedder and the model are fakes, so that it runs anywhere in a moment; the
//! example `answer_locally` shows the two lines that make them real.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use futures_util::StreamExt;
use katena::chains::ConversationalQuestion;
use katena::fake::{EchoChat, HashEmbedder, ScriptedChat};
use katena::memory::HistoryOptions;
use katena::prelude::*;
use katena_sqlite::Database;

const SESSION: &str = "handbook";

/// The fake's words: two answers with a question between them that the chain asks for itself.
const SCRIPT: [&str; 5] = [
    "Full-time employees have paid leave as the handbook says [1].",
    "How many days of paid leave do part-time employees have?",
    "It is counted by the hours that they work [1].",
    "Who approves paid leave?",
    "Your manager does [1].",
];
const QUESTIONS: [&str; 3] = [
    "How many days of paid leave do full-time employees have?",
    "And part-time employees?",
    "Who approves it?",
];

#[tokio::main]
async fn main() -> Result<()> {
    let handbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("handbook");
    let index = VectorIndex::new(MemoryStore::new(), HashEmbedder::new(512));
    index.ingest(DirectoryLoader::new(handbook), RecursiveSplitter::chars(600)).await?.complete()?;

    if std::io::stdin().is_terminal() {
        let path = std::env::temp_dir().join("katena-chat-qa.katena");
        println!("The conversation is kept in {}. An echo answers: it repeats the question.", path.display());
        let chat = conversation(EchoChat::new(), &index, Database::open(path)?)?;
        loop {
            print!("> ");
            std::io::stdout().flush()?;
            let mut question = String::new();
            if std::io::stdin().lock().read_line(&mut question)? == 0 {
                return Ok(());
            }
            if !question.trim().is_empty() {
                ask(&chat, question.trim()).await?;
            }
        }
    }

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("chat.katena");
    let model = ScriptedChat::texts(SCRIPT);
    for question in QUESTIONS {
        // Opened anew each time, as by a program that was started again: the conversation goes on.
        let chat = conversation(model.clone(), &index, Database::open(&path)?)?;
        println!("> {question}");
        ask(&chat, question).await?;
    }
    let history = SqliteHistory::new(Database::open(&path)?, HistoryOptions::new())?;
    println!("{} messages are kept", history.count(SESSION).await?);
    Ok(())
}

fn conversation(
    model: impl ChatModel + 'static,
    index: &VectorIndex,
    database: Database,
) -> Result<ConversationalRetrievalQa> {
    let history = SqliteHistory::new(database, HistoryOptions::new())?;
    let qa = RetrievalQa::new(model, index.retriever());
    Ok(ConversationalRetrievalQa::new(qa, WindowMemory::new(history, 10)))
}

/// Shows the answer while it comes, then where it is from.
async fn ask(chat: &ConversationalRetrievalQa, question: &str) -> Result<()> {
    let mut stream = chat.stream(ConversationalQuestion::new(SESSION, question));
    while let Some(item) = stream.next().await {
        match item? {
            Streamed::Event(event) => match event.event {
                Event::Text(text) => {
                    print!("{text}");
                    std::io::stdout().flush()?;
                }
                Event::Custom { name, value } if name == "generated_question" => {
                    println!("(asked as: {value})");
                }
                _ => {}
            },
            Streamed::Output(answer) => {
                println!();
                for source in answer.answer.cited() {
                    println!("    {source}");
                }
                println!();
            }
        }
    }
    Ok(())
}
