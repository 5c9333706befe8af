//! What all embedders and all rerankers have in common, written once.

/// An embedder over a [`Wire`](crate::shell::Wire).
#[allow(unused_macros, reason = "each vendor is a feature")]
macro_rules! embedder {
    ($(#[$doc:meta])* $name:ident, $wire:ty) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(pub(crate) $crate::shell::Shell<$wire>);

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(stringify!($name), f)
            }
        }

        impl $name {
            /// Moves to another server; keys and headers stay.
            ///
            /// # Errors
            /// Kind `Config` if it is no `http` or `https` address, or has a user name or password in it.
            pub fn with_base_url(self, base_url: impl AsRef<str>) -> ::katena_core::Result<Self> {
                Ok(Self(self.0.set_base(base_url.as_ref())?))
            }

            /// Sends a header with every call; its value is treated as a secret.
            pub fn with_header(
                self,
                name: impl Into<String>,
                value: impl Into<::katena_http::Secret>,
            ) -> Self {
                Self(self.0.set(|s| s.set_header(name.into(), value.into())))
            }

            /// Uses this client, so that components share connections and settings.
            pub fn with_client(self, client: ::katena_http::HttpClient) -> Self {
                Self(self.0.set(|s| s.client = client))
            }

            /// Sets the vendor's name, in errors and in the name of the vector space.
            pub fn with_vendor(self, vendor: impl AsRef<str>) -> Self {
                Self(self.0.set(|s| s.set_vendor(vendor.as_ref())))
            }

            /// Sets how much goes into one call.
            pub fn with_batch_limits(self, limits: $crate::BatchLimits) -> Self {
                Self(self.0.set(|s| s.limits = limits))
            }

            /// Sets how many calls of one request may run at once; 4 by default, at least 1.
            pub fn with_concurrency(self, calls: usize) -> Self {
                Self(self.0.set(|s| s.set_concurrency(calls)))
            }

            /// Sets the most tokens of one text, as `info` reports it.
            pub fn with_max_tokens(self, tokens: usize) -> Self {
                Self(self.0.set(|s| s.set_max_tokens(tokens)))
            }

            /// Puts these before each text by its role, as the model's card asks for (such as `"query: "`).
            pub fn with_prefixes(self, query: impl Into<String>, document: impl Into<String>) -> Self {
                Self(self.0.set(|s| s.set_prefixes(query.into(), document.into())))
            }

            /// Leaves the vectors' lengths as the vendor gives them. Without it each vector is given length 1.
            pub fn with_raw_vectors(self) -> Self {
                Self(self.0.set(|s| s.set_raw()))
            }

            /// Sends a field of the vendor's own with every call. One that repeats a field which is set otherwise makes
            /// the call fail as `InvalidInput`.
            pub fn with_extra(self, name: impl Into<String>, value: impl Into<::serde_json::Value>) -> Self {
                Self(self.0.set(|s| s.set_extra(name.into(), value.into())))
            }

            /// Names the vector space, in place of the name made of vendor, model and settings: for a deployment that
            /// serves the same model under another name, or another model under the same one.
            pub fn with_space(self, name: impl Into<String>) -> Self {
                Self(self.0.set(|s| s.set_space(name.into())))
            }

            /// Asks the server for one vector, and takes its length as the dimensions; for models that were given as
            /// [`unmeasured`](crate::EmbedModel::unmeasured). For others it shows that they are as stated.
            ///
            /// # Errors
            /// Those of the call; `InvalidOutput` if the dimensions are other than stated.
            pub async fn connect(self, context: &::katena_core::Context) -> ::katena_core::Result<Self> {
                Ok(Self(self.0.connect(context).await?))
            }
        }

        #[::async_trait::async_trait]
        impl ::katena_core::Embedder for $name {
            fn info(&self) -> &::katena_core::EmbedderInfo {
                self.0.info()
            }

            fn tokenizer(&self) -> Option<::std::sync::Arc<dyn ::katena_core::Tokenizer>> {
                None
            }

            async fn embed(
                &self,
                request: &::katena_core::EmbedRequest,
            ) -> ::katena_core::Result<::katena_core::EmbedResponse> {
                self.0.embed(request).await
            }
        }
    };
}

/// Setters that only some embedders have.
#[allow(unused_macros, reason = "each vendor is a feature")]
macro_rules! embedder_setters {
    ($name:ident: $($setter:ident),*) => {
        impl $name { $( embedder_setters!(@ $setter); )* }
    };
    (@ key) => {
        /// Sets the key; an empty one is not sent.
        pub fn with_api_key(self, key: impl Into<::katena_http::Secret>) -> Self {
            Self(self.0.set(|s| s.set_key(key.into())))
        }
    };
    (@ tokens) => {
        /// Sends an access token from this source with every call, in place of a key.
        pub fn with_token_source(self, source: ::std::sync::Arc<dyn ::katena_http::TokenSource>) -> Self {
            Self(self.0.set(|s| s.set_tokens(source)))
        }
    };
    (@ dimensions) => {
        /// Asks for vectors of this length (at least 1), where the model can give others than its own.
        pub fn with_dimensions(self, dimensions: usize) -> Self {
            Self(self.0.set(|s| s.set_dimensions(dimensions)))
        }
    };
    (@ truncate) => {
        /// Sets what happens to texts longer than the model reads; they are refused by default.
        pub fn with_truncation(self, truncate: $crate::Truncate) -> Self {
            Self(self.0.set(|s| s.set_truncate(truncate)))
        }
    };
}

/// A reranker over a [`RerankWire`](crate::rerank::RerankWire).
#[allow(unused_macros, reason = "each vendor is a feature")]
macro_rules! reranker {
    ($(#[$doc:meta])* $name:ident, $wire:ty) => {
        $(#[$doc])*
        ///
        /// Scores are the vendor's own; higher is better. Documents without text are not sent: they come last, with
        /// the lowest of 0 and the other scores. More documents than one call takes are sent in several, which is right
        /// for models that judge each document by itself.
        #[derive(Clone)]
        pub struct $name(pub(crate) $crate::rerank::RerankShell<$wire>);

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(stringify!($name), f)
            }
        }

        impl $name {
            /// Moves to another server; keys and headers stay.
            ///
            /// # Errors
            /// Kind `Config` if it is no `http` or `https` address, or has a user name or password in it.
            pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> ::katena_core::Result<Self> {
                self.0.endpoint = self.0.endpoint.with_base(base_url)?;
                Ok(self)
            }

            /// Sends a header with every call; its value is treated as a secret.
            pub fn with_header(
                mut self,
                name: impl Into<String>,
                value: impl Into<::katena_http::Secret>,
            ) -> Self {
                self.0.endpoint = self.0.endpoint.with_header(name.into(), value);
                self
            }

            /// Sets the key; an empty one is not sent.
            pub fn with_api_key(mut self, key: impl Into<::katena_http::Secret>) -> Self {
                let key = key.into();
                if !key.is_empty() {
                    self.0.endpoint = self.0.endpoint.with_bearer(key);
                }
                self
            }

            /// Uses this client, so that components share connections and settings.
            pub fn with_client(mut self, client: ::katena_http::HttpClient) -> Self {
                self.0.client = client;
                self
            }

            /// Sets how much goes into one call.
            pub fn with_batch_limits(mut self, limits: $crate::BatchLimits) -> Self {
                self.0.limits = limits;
                self
            }

            /// Sets how many calls of one request may run at once; 4 by default, at least 1.
            pub fn with_concurrency(mut self, calls: usize) -> Self {
                self.0.concurrency = calls.max(1);
                self
            }

            /// Sends a field of the vendor's own with every call. One that repeats a field which is set otherwise makes
            /// the call fail as `InvalidInput`.
            pub fn with_extra(
                mut self,
                name: impl Into<String>,
                value: impl Into<::serde_json::Value>,
            ) -> Self {
                self.0.extra.insert(name.into(), value.into());
                self
            }
        }

        #[::async_trait::async_trait]
        impl ::katena_core::Reranker for $name {
            async fn rerank(
                &self,
                request: ::katena_core::RerankRequest,
            ) -> ::katena_core::Result<Vec<::katena_core::Scored<::katena_core::Document>>> {
                self.0.rerank(request).await
            }
        }
    };
}
