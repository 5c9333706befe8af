//! Which certificates are trusted, and by which code they are checked.

use std::sync::Arc;

use katena_core::{Error, Result};
use rustls::{ClientConfig, RootCertStore};

/// rustls with ring; the system's roots, else Mozilla's that are built in.
pub(crate) fn config() -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "a system certificate store can't be read");
    }
    let (added, _unreadable) = roots.add_parsable_certificates(system.certs);
    if added == 0 {
        tracing::debug!("the system has no root certificates; the built-in ones are used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    // The provider is named here, so that nothing depends on what the rest of the program installed process-wide.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::config("TLS can't be set up").with_source(e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
