//! Progress on stderr: bars with rates where a terminal shows them, silence where not.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Whether and how progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Bars and notes.
    Terminal,
    /// Notes only: stderr is a file or a pipe.
    Lines,
    /// Nothing (`--quiet`).
    Quiet,
}

/// One thing that goes on; it disappears when dropped.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Progress {
    /// As stderr is, unless silence is asked for.
    pub(crate) fn new(quiet: Quiet) -> Self {
        match quiet {
            Quiet::Yes => Self::Quiet,
            Quiet::No if std::io::stderr().is_terminal() => Self::Terminal,
            Quiet::No => Self::Lines,
        }
    }

    /// No progress at all.
    #[cfg(test)]
    pub(crate) fn quiet() -> Self {
        Self::Quiet
    }

    /// A line for people, above the bars.
    pub(crate) fn note(self, text: &str) {
        if self != Self::Quiet {
            eprintln!("{text}");
        }
    }

    fn bar(self, length: Option<u64>, template: &str, what: &str) -> Bar {
        let target =
            if self == Self::Terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(length, target).with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Bar(bar)
    }

    /// A bar over bytes, with rate and time left.
    pub(crate) fn bytes(self, what: &str, total: u64) -> Bar {
        self.bar(Some(total), "{msg} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} {eta}", what)
    }

    /// A bar over documents, with their rate; the words are about chunks.
    pub(crate) fn documents(self, total: u64) -> Bar {
        self.bar(Some(total), "reading [{bar:24}] {pos}/{len} documents {per_sec} {msg}", "")
    }

    /// A bar over percents.
    pub(crate) fn percent(self, what: &str) -> Bar {
        self.bar(Some(100), "{msg} [{bar:24}] {percent}% {elapsed}", what)
    }

    /// Something whose end is not known.
    pub(crate) fn spinner(self, what: &str) -> Bar {
        self.bar(None, "{spinner} {msg} {elapsed}", what)
    }
}

/// Whether silence is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    Yes,
    No,
}

impl Bar {
    /// So much more is done.
    pub(crate) fn add(&self, n: u64) {
        self.0.inc(n);
    }

    /// So much is done in all; a total that turns out too small grows.
    pub(crate) fn set(&self, n: u64) {
        if self.0.length().is_some_and(|l| n > l) {
            self.0.set_length(n);
        }
        self.0.set_position(n);
    }

    /// Changes the words.
    pub(crate) fn say(&self, text: String) {
        self.0.set_message(text);
    }

    /// Takes it off the screen.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}
