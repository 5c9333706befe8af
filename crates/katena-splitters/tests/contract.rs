//! The splitters' and tokenizers' contracts.

#![allow(missing_docs)]

use katena_splitters::RecursiveSplitter;
use katena_testkit::text_splitter::SplitterLimit;

katena_testkit::text_splitter_contract!(
    chars_1000,
    async { RecursiveSplitter::chars(1000) },
    SplitterLimit::chars(1000)
);
katena_testkit::text_splitter_contract!(
    chars_7,
    async { RecursiveSplitter::chars(7) },
    SplitterLimit::chars(7)
);
katena_testkit::text_splitter_contract!(
    chars_overlap,
    async { RecursiveSplitter::chars(100).with_overlap(30) },
    SplitterLimit::chars(100)
);
katena_testkit::text_splitter_contract!(
    own_separators,
    async { RecursiveSplitter::chars(50).with_separators(["\n\n", "; ", " "]) },
    SplitterLimit::chars(50)
);

#[cfg(feature = "tiktoken")]
mod tokens {
    use std::sync::Arc;

    use katena_splitters::{RecursiveSplitter, TiktokenTokenizer};
    use katena_testkit::text_splitter::SplitterLimit;

    katena_testkit::tokenizer_contract!(cl100k, async { TiktokenTokenizer::cl100k() });
    katena_testkit::tokenizer_contract!(o200k, async { TiktokenTokenizer::o200k() });
    katena_testkit::text_splitter_contract!(
        cl100k_256,
        async { RecursiveSplitter::tokens(256, Arc::new(TiktokenTokenizer::cl100k())) },
        SplitterLimit::tokens(256, TiktokenTokenizer::cl100k())
    );
    katena_testkit::text_splitter_contract!(
        o200k_overlap,
        async { RecursiveSplitter::tokens(20, Arc::new(TiktokenTokenizer::o200k())).with_overlap(6) },
        SplitterLimit::tokens(20, TiktokenTokenizer::o200k())
    );
}
