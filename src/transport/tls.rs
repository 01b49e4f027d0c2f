//! TLS towards providers: one configuration for all workers and channels.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};

/// Whom to trust.
#[derive(Debug, Default)]
pub struct TlsRoots {
    /// Trusted beside the public authorities; the operator's own, or a test's.
    pub extra: Vec<CertificateDer<'static>>,
}

impl TlsRoots {
    /// Builds the configuration: TLS 1.2 and 1.3 with ring, HTTP/1.1 only.
    ///
    /// # Errors
    /// Where an extra certificate cannot be read.
    pub(super) fn client_config(self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in self.extra {
            roots.add(certificate)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
