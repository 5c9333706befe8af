//! The smallest worker for `ProcessParser`: it reads parsing jobs on stdin and answers on stdout. For programs that can't
//! offer a worker of their own under a hidden subcommand.

fn main() -> Result<(), katena_core::Error> {
    katena_loaders::worker::serve(std::io::stdin().lock(), std::io::BufWriter::new(std::io::stdout().lock()))
}
