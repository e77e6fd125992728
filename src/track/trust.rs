//! Who may answer a connection over TLS: those whom the machine's own list of authorities vouches for, so that a
//! site's own counts, or those in a file that somebody names.
//!
//! TLS 1.3 alone: whatever a site still maintains speaks it.
//!
//! Not here: what is said over the connection (`send::http`, `send::kafka`, `store::postgres`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Where distributions keep the authorities that they trust: Debian and SUSE, Red Hat, Alpine.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom a connection is to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Who has the name that was asked for, says one of the authorities in this file; `None`: of the machine's, or in
    /// the file that SSL_CERT_FILE names.
    Authorities(Option<PathBuf>),
    /// Whoever answers: whoever listens learns nothing, whoever stands between learns all.
    Anybody,
}

impl Trust {
    /// How such connections are made.
    ///
    /// # Errors
    /// There is no such list, or it names nobody.
    pub fn config(&self) -> io::Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?;
        Ok(match self {
            Trust::Authorities(file) => builder.with_root_certificates(authorities(file.as_deref())?),
            Trust::Anybody => {
                let verifier = Arc::new(Unverified(provider));
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
        }
        .with_no_client_auth())
    }
}

fn authorities(file: Option<&Path>) -> io::Result<RootCertStore> {
    let named = || std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = || AUTHORITIES.iter().map(PathBuf::from).find(|file| file.exists());
    let file = file.map(Path::to_owned).or_else(named).or_else(usual);
    let file = file.ok_or_else(|| io::Error::other("no list of authorities on this machine"))?;
    let unusable = |why: &dyn std::fmt::Display| io::Error::other(format!("{}: {why}", file.display()));
    let listed = std::fs::read(&file).map_err(|error| unusable(&error))?;
    let mut roots = RootCertStore::empty();
    // One that cannot be read is one that is not trusted.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&listed).flatten());
    if roots.is_empty() { Err(unusable(&"has no certificate of an authority")) } else { Ok(roots) }
}

/// Takes any certificate, if whoever shows it has its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
