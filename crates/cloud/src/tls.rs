//! Whom TLS connections trust.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

/// The certificate authorities that are trusted. Clones share what was loaded.
#[derive(Clone)]
pub struct Roots(Arc<Inner>);

struct Inner {
    native: bool,
    extra: Vec<CertificateDer<'static>>,
    loaded: OnceCell<Arc<TlsConfigs>>,
}

/// The client sides of TLS that the trusted authorities make.
pub(crate) struct TlsConfigs {
    /// Towards a destination: HTTP/2 and HTTP/1.1.
    pub(crate) destination: Arc<ClientConfig>,
    /// Towards a proxy: CONNECT is spoken in HTTP/1.1.
    pub(crate) proxy: Arc<ClientConfig>,
}

impl Roots {
    /// The authorities of the machine, loaded once for the process when first needed.
    pub fn native() -> Roots {
        static NATIVE: OnceLock<Roots> = OnceLock::new();
        NATIVE.get_or_init(|| Roots::new(true, Vec::new())).clone()
    }

    /// The authorities of the machine and those in a PEM text, as a company's own.
    pub fn native_and(pem: &str) -> Result<Roots, InvalidRoots> {
        Ok(Roots::new(true, certificates(pem)?))
    }

    /// Only the authorities in a PEM text.
    pub fn only(pem: &str) -> Result<Roots, InvalidRoots> {
        Ok(Roots::new(false, certificates(pem)?))
    }

    fn new(native: bool, extra: Vec<CertificateDer<'static>>) -> Roots {
        Roots(Arc::new(Inner { native, extra, loaded: OnceCell::new() }))
    }

    /// The TLS configurations; the error says what is wrong with the authorities.
    pub(crate) async fn configs(&self) -> Result<Arc<TlsConfigs>, String> {
        let load = || async {
            let inner = self.0.clone();
            // Reading the machine's store takes milliseconds of file access.
            tokio::task::spawn_blocking(move || inner.load())
                .await
                .map_err(|_| "loading the certificate authorities was interrupted".to_owned())?
        };
        self.0.loaded.get_or_try_init(load).await.cloned()
    }
}

impl Default for Roots {
    fn default() -> Roots {
        Roots::native()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra = self.0.extra.len();
        f.debug_struct("Roots").field("native", &self.0.native).field("extra", &extra).finish()
    }
}

impl Inner {
    fn load(&self) -> Result<Arc<TlsConfigs>, String> {
        let mut store = RootCertStore::empty();
        if self.native {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
        }
        for certificate in &self.extra {
            store
                .add(certificate.clone())
                .map_err(|error| format!("a given certificate authority is unusable: {error}"))?;
        }
        if store.is_empty() {
            return Err("this machine has no certificate authorities to trust".to_owned());
        }
        let store = Arc::new(store);
        Ok(Arc::new(TlsConfigs {
            destination: client_config(&store, &[b"h2", b"http/1.1"])?,
            proxy: client_config(&store, &[b"http/1.1"])?,
        }))
    }
}

fn client_config(store: &Arc<RootCertStore>, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(store.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, InvalidRoots> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        found.push(certificate.map_err(|_| InvalidRoots)?);
    }
    if found.is_empty() {
        return Err(InvalidRoots);
    }
    Ok(found)
}

/// A text that holds no certificate in PEM form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRoots;

impl fmt::Display for InvalidRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no certificate found: want one or more PEM blocks of type CERTIFICATE")
    }
}

impl std::error::Error for InvalidRoots {}
