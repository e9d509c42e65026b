//! Certificates of the listeners, read anew on demand.

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{fmt, path::PathBuf, sync::Arc};

/// Why TLS cannot be served; names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds no PEM of the kind.
    #[error("{what} {}: {source}", file.display())]
    File {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not work together, or a setting is not possible.
    #[error("{0}")]
    Unusable(String),
}

/// The files and settings of a TLS listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities whose client certificates are accepted, PEM.
    pub client_authorities: Option<PathBuf>,
    /// Whether clients must have a certificate.
    pub require_client_certificate: bool,
    /// TLS 1.3 only.
    pub only_tls13: bool,
}

/// A listener's certificate, exchanged without closing connections.
pub struct Certificate {
    files: TlsFiles,
    current: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// Reads the files; an error names the one that does not fit.
    pub fn load(files: TlsFiles) -> Result<Arc<Certificate>, TlsError> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Arc::new(Certificate { files, current }))
    }

    /// Reads the files again. On an error the old certificate stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    pub(crate) fn server_config(self: &Arc<Certificate>) -> Result<ServerConfig, TlsError> {
        let unusable = |error: &dyn fmt::Display| TlsError::Unusable(error.to_string());
        let both: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
        let versions = if self.files.only_tls13 { &[&TLS13] } else { both };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| unusable(&error))?;
        let builder = match &self.files.client_authorities {
            None if self.files.require_client_certificate => {
                return Err(TlsError::Unusable(
                    "tls_require_and_verify_client_cert needs tls_client_ca_file".to_owned(),
                ));
            }
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(authorities(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if self.files.require_client_certificate {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|e| unusable(&e))?)
            }
        };
        let mut config = builder.with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.files.certificate.display())
    }
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let failed = |what: &'static str, file: &PathBuf| {
        let file = file.clone();
        move |source| TlsError::File { what, file, source }
    };
    let chain = certificates(&files.certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(failed("private key", &files.key))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        TlsError::Unusable(format!("certificate {certificate} with key {key}: {error}"))
    })
}

fn certificates(file: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what: "certificate", file: file.clone(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if found.is_empty() {
        return Err(TlsError::Unusable(format!("certificate {}: holds none", file.display())));
    }
    Ok(found)
}

fn authorities(file: &PathBuf) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Unusable(format!("{}: {error}", file.display())))?;
    }
    Ok(roots)
}
