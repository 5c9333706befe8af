//! Questions to an HTTP API: an OpenAPI description, checked calls, and the chain.
//!
//! ```
//! use katena_chains::api::ApiSpec;
//! let spec = ApiSpec::parse(r#"{"openapi": "3.1.0", "paths": {"/time": {"get": {"operationId": "time"}}}}"#)?;
//! assert_eq!(spec.operations()[0].id, "time");
//! # Ok::<(), katena_core::Error>(())
//! ```

mod call;
mod chain;
mod schema;
mod spec;

pub use chain::{ApiAnswer, ApiQuestion};
pub use katena_http::guard::OutboundGuard;
pub use katena_http::{Endpoint, Method, Secret};
pub use spec::{ApiSpec, Operation, Skipped};

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
