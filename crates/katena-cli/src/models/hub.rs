//! `katena models get` and `rm`: files of a model hub.

use katena_core::Context;
use katena_llama_cpp::hub::{Hub, HubFile};

use crate::args::HubArgs;
use crate::failure::{Exit, Result};
use crate::output;
use crate::progress::Progress;

/// The hub that most people mean.
const ENDPOINT: &str = "https://huggingface.co";

fn hub(args: &HubArgs) -> Result<Hub> {
    let given = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let endpoint = args.endpoint.clone().or_else(|| given("HF_ENDPOINT")).unwrap_or_else(|| ENDPOINT.into());
    let hub = Hub::new(endpoint, super::folder()?.join("hub"))?;
    Ok(match given("HF_TOKEN") {
        Some(token) => hub.with_token(token),
        None => hub,
    })
}

fn file(args: &HubArgs) -> HubFile {
    let file = HubFile::new(&args.repo, &args.file).with_revision(&args.revision);
    match &args.sha256 {
        Some(hash) => file.with_sha256(hash),
        None => file,
    }
}

/// Fetches a file and prints where it is.
pub(crate) async fn get(args: &HubArgs, progress: Progress, context: Context) -> Result<Exit> {
    let bar = progress.bytes(&args.file, 0);
    let file = file(args).with_context(context).with_progress(move |done, _| bar.set(done));
    let path = hub(args)?.download(&file).await?;
    output::print(&format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}

/// Removes a file that was fetched.
pub(super) fn remove(args: &HubArgs) -> Result<Exit> {
    let removed = hub(args)?.remove(&file(args))?;
    output::print(if removed { "removed\n" } else { "there is no such file\n" })?;
    Ok(if removed { Exit::Done } else { Exit::Failed })
}
