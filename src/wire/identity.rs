//! What a node proves itself with: keys derived from the shared key, the job and its views.
//!
//! All nodes of a job derive the same pair of Ed25519 keys. Each end of a TLS 1.3 connection shows its public
//! key (RFC 7250, raw, no certificate) and accepts exactly that one. Another key, job or list of views gives
//! another pair, so such nodes never get past the handshake.
//!
//! Invariant: nothing but these keys leads into or out of a connection; there is no list of authorities.
//!
//! Not here: where the shared key comes from (`keys`), the variant without encryption (`sealed`).

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::hkdf;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring as provider};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use zeroize::Zeroizing;

use super::keys::SharedKey;

/// Whether the links between nodes are encrypted. They are always authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fabric {
    /// TLS 1.3.
    Encrypted,
    /// No encryption: the owner has declared that nobody listens. Each message has a MAC (`sealed`).
    Trusted,
}

/// What this node proves itself with, and what it demands of others. Cloning shares it.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    job: String,
    fabric: Fabric,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    seal: Zeroizing<[u8; 32]>,
}

/// What comes before the private key in its DER encoding (RFC 8410, section 7).
const PRIVATE_KEY_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What comes before the public key in its DER encoding (RFC 8410, section 4).
const PUBLIC_KEY_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl Identity {
    /// Derives the keys for `job` and `views`, in the order of the job's list. So nodes that would tell older answers than
    /// others promise never talk with those.
    pub fn derive<'a>(
        key: &SharedKey,
        job: &str,
        views: impl IntoIterator<Item = &'a Path>,
        freshness: Option<Duration>,
        fabric: Fabric,
    ) -> Self {
        let age_max = freshness.map_or_else(Vec::new, |age_max| age_max.as_nanos().to_be_bytes().to_vec());
        let mut about = Vec::new();
        let views = views.into_iter().map(|view| view.as_os_str().as_bytes());
        for part in [job.as_bytes(), &age_max].into_iter().chain(views) {
            // With its length, so that no two lists give the same bytes.
            about.extend_from_slice(&(part.len() as u64).to_be_bytes());
            about.extend_from_slice(part);
        }
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"spinney wire 1").extract(key.bytes());
        let (server, client) = tls(&expand(&secret, &[b"tls", &about]));
        let seal = expand(&secret, &[b"seal", &about]);
        Identity(Arc::new(Inner { job: job.to_owned(), fabric, server, client, seal }))
    }

    /// The job it is for.
    pub fn job(&self) -> &str {
        &self.0.job
    }

    /// Whether it encrypts.
    pub fn fabric(&self) -> Fabric {
        self.0.fabric
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.0.server.clone()
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        self.0.client.clone()
    }

    /// The key for connections without encryption.
    pub(super) fn seal(&self) -> &[u8; 32] {
        &self.0.seal
    }
}

/// 32 bytes that follow from `secret` and all of `about`.
fn expand(secret: &hkdf::Prk, about: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    let expanded = secret.expand(about, hkdf::HKDF_SHA256);
    expanded.and_then(|okm| okm.fill(&mut *bytes)).expect("32 bytes are one block of HKDF");
    bytes
}

fn tls(seed: &[u8; 32]) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let mut provider = provider::default_provider();
    // Half as many rounds as AES-256, and 128 bits are what the shared key promises.
    provider.cipher_suites = vec![
        provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
        provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    let provider = Arc::new(provider);
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
    let public = [&PUBLIC_KEY_HEAD[..], pair.public_key().as_ref()].concat();
    let private = Zeroizing::new([&PRIVATE_KEY_HEAD[..], seed].concat());
    let signing = provider::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&private[..]))
        .expect("the encoding of RFC 8410");
    let shown = Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.clone())], signing));
    let accepted = Arc::new(OnlyThisKey { public, algorithms: provider.signature_verification_algorithms });

    let versions = &[&rustls::version::TLS13];
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("the cipher suites are those of TLS 1.3")
        .with_client_cert_verifier(accepted.clone())
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(shown.clone())));
    // Connections are kept; a resumed one would save a millisecond and cost memory for tickets.
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("the cipher suites are those of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(accepted)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(shown)));
    client.resumption = rustls::client::Resumption::disabled();
    // A name would tell whoever listens which node is meant.
    client.enable_sni = false;
    (Arc::new(server), Arc::new(client))
}

/// Accepts one public key, from either end.
#[derive(Debug)]
struct OnlyThisKey {
    public: Vec<u8>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl OnlyThisKey {
    fn check_key(&self, shown: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        // The key shown is public: comparing it byte by byte tells nobody anything.
        if shown.as_ref() != self.public || !more.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(())
    }

    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("only TLS 1.3".to_owned()))
}

impl ServerCertVerifier for OnlyThisKey {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_key(shown, more).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for OnlyThisKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_key(shown, more).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
