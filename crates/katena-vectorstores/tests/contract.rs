//! The contract suite on the stores that need no server.

use katena_core::Metric;
use katena_vectorstores::MemoryStore;

katena_testkit::vector_store_contract!(memory, async { MemoryStore::new() });
katena_testkit::vector_store_contract!(memory_dot, async { MemoryStore::with_metric(Metric::Dot) });
katena_testkit::vector_store_contract!(memory_euclidean, async {
    MemoryStore::with_metric(Metric::Euclidean)
});

#[cfg(feature = "embedded")]
mod in_a_file {
    use katena_core::{Metric, Result};
    use katena_vectorstores::EmbeddedStore;
    use tempfile::TempDir;

    fn fresh() -> Result<(EmbeddedStore, TempDir)> {
        let dir = tempfile::tempdir()?;
        Ok((EmbeddedStore::open(dir.path().join("store.katena"))?, dir))
    }

    katena_testkit::vector_store_contract!(embedded, async { fresh() });
    katena_testkit::vector_store_contract!(embedded_euclidean, async {
        fresh().map(|(store, dir)| (store.with_metric(Metric::Euclidean), dir))
    });
}
