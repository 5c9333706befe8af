//! One macro per trait; each expands to a module with one `#[test]` per bullet of the trait's contract.

#[doc(hidden)]
#[macro_export]
macro_rules! __contract {
    ($name:ident, $make:expr, $suite:ident, [$($law:ident ($($extra:expr),*))*]) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[test]
                fn $law() {
                    let name = ::core::concat!(::core::stringify!($name), "::", ::core::stringify!($law));
                    $crate::__private::run(name, || async {
                        #[allow(unused_imports)]
                        use $crate::__private::Plain as _;
                        let Some(made) = $crate::__private::Made(($make).await).given() else {
                            $crate::__private::skip(::core::concat!(
                                ::core::stringify!($name), "::", ::core::stringify!($law)
                            ));
                            return;
                        };
                        let (_kept, component) = $crate::__private::Made(made).split();
                        $crate::$suite::$law(&component $(, $extra)*).await;
                    });
                }
            )*
        }
    };
}

/// Runs the contract of [`VectorStore`](katena_core::VectorStore). The maker gives an empty store.
#[macro_export]
macro_rules! vector_store_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, vector_store, [
            starts_empty() upsert_then_get() get_skips_missing() upsert_is_idempotent() upsert_overwrites()
            last_of_equal_ids_wins() search_finds_the_nearest() top_k_is_kept() min_score_cuts()
            filters_mean_the_same() hostile_filter_values_are_data() delete_by_id() delete_by_filter() delete_all()
            namespaces_are_apart() wrong_dimensions_are_invalid() delete_all_frees_the_dimension()
            not_finite_is_invalid() empty_id_is_invalid() query_needs_vector_or_text() large_batches_work()
            concurrent_writers_lose_nothing() unicode_survives() lexical_finds_words() lexical_query_is_data()
            cancelled_before_the_call()
        ]);
    };
}

/// Runs the contract of [`Embedder`](katena_core::Embedder).
#[macro_export]
macro_rules! embedder_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, embedder, [
            one_vector_a_text() dimensions_as_stated() same_text_same_vector() order_is_kept() no_texts_no_vectors()
            empty_text_has_a_vector() unicode_is_welcome() normalized_as_stated() large_batches_work()
            cancelled_before_the_call() debug_hides_content()
        ]);
    };
}

/// Runs the contract of [`ChatModel`](katena_core::ChatModel). Tests of abilities that the model's `info` does not
/// name check that it says `Unsupported`. Makers that need a key use [`FAKE_KEY`](crate::FAKE_KEY).
#[macro_export]
macro_rules! chat_model_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, chat_model, [
            stream_folds_to_finished() stream_ends_once() parts_start_before_they_grow() generate_answers()
            no_messages_is_invalid() max_tokens_is_kept() unsupported_is_said() usage_is_reported()
            stop_ends_the_answer() seed_repeats() logprobs_are_reported() tools_are_called() json_schema_is_kept()
            cancelled_before_the_call() deadline_before_the_call() dropped_stream_stops()
            concurrent_calls_do_not_mix() debug_hides_content()
        ]);
    };
}

/// Runs the contract of [`TextSplitter`](katena_core::TextSplitter). The third argument states the limit that every
/// chunk keeps, a [`SplitterLimit`](crate::text_splitter::SplitterLimit); without it that law is skipped.
#[macro_export]
macro_rules! text_splitter_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::text_splitter_contract!($name, $make, $crate::text_splitter::SplitterLimit::none());
    };
    ($name:ident, $make:expr, $limit:expr $(,)?) => {
        $crate::__contract!($name, $make, text_splitter, [
            slices_with_offsets() in_order() nothing_is_lost() no_empty_chunks() limit_is_kept(&$limit)
            same_text_same_chunks() any_unicode() huge_inputs_end()
            fingerprint_tells_settings(&{
                let twin = $crate::__private::Made(($make).await).given();
                $crate::__private::Made(twin.expect("the maker gives a second component")).split().1
            })
        ]);
    };
}

/// Runs the contract of [`DocumentLoader`](katena_core::DocumentLoader). The third argument states what the loader must
/// find, a [`LoaderExpectations`](crate::document_loader::LoaderExpectations); without it: at least one document.
#[macro_export]
macro_rules! document_loader_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::document_loader_contract!($name, $make, $crate::document_loader::LoaderExpectations::new());
    };
    ($name:ident, $make:expr, $expected:expr $(,)?) => {
        $crate::__contract!($name, $make, document_loader, [
            loads_what_is_there(&$expected) loading_twice_is_the_same(&$expected)
            parts_of_a_uri_come_together(&$expected) errors_name_their_document(&$expected)
            errors_do_not_end_the_stream(&$expected) dropping_early_is_fine(&$expected)
        ]);
    };
}

/// Runs the contract of [`Retriever`](katena_core::Retriever). The maker gives a retriever over exactly the documents of
/// [`corpus()`](crate::corpus), each indexed with its metadata and its source's address; it may cut them into chunks.
#[macro_export]
macro_rules! retriever_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, retriever, [
            best_first() top_k_is_kept() filter_holds() sources_are_named() same_query_same_result()
            empty_query_is_invalid() cancelled_before_the_call()
        ]);
    };
}

/// Runs the contract of [`ChatHistory`](katena_core::ChatHistory). The maker gives an empty history.
#[macro_export]
macro_rules! chat_history_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, chat_history, [
            starts_empty() append_keeps_order() sessions_are_apart() replace_is_whole() clear_forgets()
            concurrent_appends_lose_nothing() unicode_survives() count_and_range_agree() sessions_are_listed()
        ]);
    };
}

/// Runs the contract of [`RecordStore`](katena_core::RecordStore). The maker gives an empty store.
#[macro_export]
macro_rules! record_store_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, record_store, [
            put_then_get() remove_is_final() uris_by_scope() namespaces_are_apart() facts_are_kept()
            clear_forgets_all()
        ]);
    };
}

/// Runs the contract of [`CheckpointStore`](katena_core::CheckpointStore). The maker gives an empty store.
#[macro_export]
macro_rules! checkpoint_store_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, checkpoint_store, [
            starts_empty() put_then_get() put_is_compare_and_set() only_the_owner_writes() list_is_in_order()
            effects_are_recorded_once() threads_are_apart() delete_forgets() concurrent_puts_have_one_winner()
            any_text_survives()
        ]);
    };
}

/// Runs the contract of [`Tokenizer`](katena_core::Tokenizer).
#[macro_export]
macro_rules! tokenizer_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, tokenizer, [count_is_length_of_encode() offsets_rise()]);
    };
}

/// Runs the contract of [`Reranker`](katena_core::Reranker).
#[macro_export]
macro_rules! reranker_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, reranker, [best_first() top_k_is_kept() no_documents_no_result()]);
    };
}

/// Runs the contract of [`Tool`](katena_core::Tool). The tool's arguments are an object.
#[macro_export]
macro_rules! tool_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, tool, [spec_is_an_object() bad_arguments_are_invalid_output()]);
    };
}

/// Runs the contract of [`Memory`](katena_core::Memory). The maker gives an empty memory that keeps at least the last
/// short turn as it was said.
#[macro_export]
macro_rules! memory_contract {
    ($name:ident, $make:expr $(,)?) => {
        $crate::__contract!($name, $make, memory, [
            recalls_what_was_recorded() tool_calls_are_never_orphaned() clear_forgets()
        ]);
    };
}
