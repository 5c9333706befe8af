//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0    done: answered, found, ingested
  1    something failed
  2    wrong usage, or something must be set up first (it says what)
  3    the documents don't answer the question
  4    ingested, but some documents could not be read (they are named)
  130  stopped by Ctrl-C

Environment:
  KATENA_CACHE     folder for models and indexes (default: $XDG_CACHE_HOME/katena, else ~/.cache/katena)
  OPENAI_API_KEY   key for --model openai:NAME (another variable: --api-key-env)
  QDRANT_API_KEY   key for --store qdrant://…";

/// Ask your documents. Answers come with their sources, from a local model, with no key and no account.
#[derive(Debug, Parser)]
#[command(name = "katena", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer a question from a folder of documents, and show where the answer stands
    ///
    /// Reads text, Markdown, HTML, CSV and PDF files below PATH, keeps them in an index (only what has changed is
    /// read in again), finds the passages that fit the question, and lets a model answer from these alone.
    /// The answer streams to stdout, then come the numbered sources with file, page or lines, and the quoted passage.
    /// Progress and timings go to stderr.
    #[command(after_help = ASK_EXAMPLES)]
    Ask(Ask),
    /// Read a folder of documents into the index, only what has changed
    #[command(after_help = EXIT_CODES)]
    Ingest(Ingest),
    /// Find passages without asking a model
    #[command(after_help = EXIT_CODES)]
    Search(Search),
    /// Show or fetch the model files that Katena uses by default
    #[command(after_help = EXIT_CODES)]
    Models(Models),
    /// Look for mistakes in prompt files
    #[command(after_help = PROMPT_CODES)]
    Prompt(Prompt),
    /// Reads one document in a process of its own, for the process that started it
    #[command(name = "__parse", hide = true)]
    Parse,
}

const PROMPT_CODES: &str = "\
Examples:
  katena prompt check prompts/
  katena prompt check prompts/ --json | jq .findings

Exit codes: 0 nothing wrong (warnings may be there), 1 mistakes found or the folder can't be read, 2 usage.";

const ASK_EXAMPLES: &str = "\
Examples:
  katena ask \"How many days of leave do I get?\" handbook/
  katena ask \"…\" handbook/ --model ~/models/qwen2.5-1.5b-instruct-q4_k_m.gguf
  katena ask \"…\" handbook/ --model openai:gpt-5-mini
  katena ask \"…\" handbook/ --model openai:local --base-url http://127.0.0.1:8080/v1
  katena ask \"…\" handbook/ --store postgres://me@localhost/docs
  katena ask \"…\" handbook/ --json | jq .citations

Exit codes: 0 answered, 1 failed, 2 usage or set-up, 3 not in the documents, 130 Ctrl-C.";

/// Which documents, and where their index is.
#[derive(Debug, Args)]
pub(crate) struct Documents {
    /// The folder (or file) of documents [default: the current folder; with `cargo xtask ask` the example handbook]
    pub(crate) path: Option<PathBuf>,

    /// Where the index is: FILE.katena, postgres://… or qdrant://HOST:PORT[/COLLECTION]
    ///
    /// By default a file in the cache folder, one for each folder of documents. Several folders may share a store:
    /// each keeps to itself.
    #[arg(long, value_name = "STORE", help_heading = "Index")]
    pub(crate) store: Option<String>,

    /// The embedding model: a GGUF file [default: all-MiniLM-L6-v2]
    ///
    /// `hash:N` is a double for tests: words hashed into N numbers, no model. An index that was made with another
    /// embedder is built anew, and the reason is printed.
    #[arg(long, value_name = "PATH.gguf", help_heading = "Index")]
    pub(crate) embedder: Option<String>,

    /// Build the index anew even if nothing has changed
    #[arg(long, help_heading = "Index")]
    pub(crate) rebuild: bool,

    /// Only files that fit this pattern, such as `**/*.md`; may be given several times
    #[arg(long, value_name = "GLOB", help_heading = "Index")]
    pub(crate) glob: Vec<String>,

    /// How near (cosine, -1 to 1) the best passage must be for a question to count as answered
    ///
    /// By default fitted to all-MiniLM-L6-v2; with another embedder every question counts unless this is given.
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true, help_heading = "Index")]
    pub(crate) min_similarity: Option<f32>,

    /// No progress, no notes, no timings; errors are still printed
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// One JSON object on stdout instead of text
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Threads that compute [default: as many as there are processors, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "Model")]
    pub(crate) threads: Option<u32>,
}

/// `katena ask`.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The question
    pub(crate) question: String,

    #[command(flatten)]
    pub(crate) documents: Documents,

    /// The chat model: PATH.gguf, or openai:NAME for a server that speaks its protocol [default: SmolLM2-135M-Instruct]
    ///
    /// The default is small enough for any machine, and no great writer: trust its sources, and use a better model where
    /// you can, such as a GGUF of Qwen2.5-1.5B-Instruct.
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub(crate) model: Option<String>,

    /// The server of an openai: model
    #[arg(long, value_name = "URL", help_heading = "Model")]
    pub(crate) base_url: Option<String>,

    /// The environment variable that holds the key of an openai: model
    #[arg(long, value_name = "VARIABLE", default_value = "OPENAI_API_KEY", help_heading = "Model")]
    pub(crate) api_key_env: String,

    /// Most tokens of the answer
    #[arg(long, value_name = "N", default_value_t = 160, value_parser = clap::value_parser!(u32).range(1..=8192), help_heading = "Model")]
    pub(crate) max_tokens: u32,

    /// Layers of a local model on the GPU, if katena was built with one of its GPU features
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Model")]
    pub(crate) gpu_layers: u32,

    /// How many passages the answer may rest on, 1 to 4
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=4), help_heading = "Index")]
    pub(crate) top_k: u8,
}

/// `katena ingest`.
#[derive(Debug, Args)]
pub(crate) struct Ingest {
    #[command(flatten)]
    pub(crate) documents: Documents,
}

/// `katena search`.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// What to look for
    pub(crate) question: String,

    #[command(flatten)]
    pub(crate) documents: Documents,

    /// How many passages
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=100), help_heading = "Index")]
    pub(crate) top_k: u8,
}

/// `katena models`.
#[derive(Debug, Args)]
pub(crate) struct Models {
    #[command(subcommand)]
    pub(crate) what: Option<ModelsCommand>,

    /// No progress, no notes
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Which files, their hashes, where they belong, and whether they are there; then what each GGUF file in the folder
    /// says about itself (the default)
    List,
    /// Fetch and check those that are missing
    Fetch,
    /// Fetch a file from a model hub, go on with one that was cut off, and check its hash
    ///
    /// Prints the path, for --model or --embedder. A token for repositories that need one is read from HF_TOKEN, and goes
    /// to the hub alone.
    Get(HubArgs),
    /// Remove a file that `get` fetched, or what there is of it
    Rm(HubArgs),
}

/// A file of a model hub.
#[derive(Debug, Args)]
pub(crate) struct HubArgs {
    /// The repository: OWNER/NAME
    pub(crate) repo: String,

    /// The file in it, such as model-q4_k_m.gguf
    pub(crate) file: String,

    /// Branch, tag or commit
    #[arg(long, default_value = "main")]
    pub(crate) revision: String,

    /// The SHA-256 that the file must have [default: what the hub says]
    #[arg(long, value_name = "HASH")]
    pub(crate) sha256: Option<String>,

    /// The hub or a mirror of it [default: $HF_ENDPOINT, else https://huggingface.co]
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
}

/// `katena prompt`.
#[derive(Debug, Args)]
pub(crate) struct Prompt {
    #[command(subcommand)]
    pub(crate) what: PromptCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PromptCommand {
    /// Check all prompt files (*.prompt) below a folder: that they compile, have a name and a version, and use the
    /// variables that they declare
    Check {
        /// The folder
        folder: PathBuf,

        /// One JSON object to stdout
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_the_exit_codes_and_hides_the_worker() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("130") && help.contains("don't answer"));
        assert!(!help.contains("__parse"));
    }
}
