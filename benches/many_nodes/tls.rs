//! One TLS stream between two processes, the measure of what daemons pass on: plain TLS 1.3 with the cipher that nodes use,
//! and nothing else on top.
//!
//! It proves nothing to anybody: the end that reads accepts every key.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring as provider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};

use crate::ground::Ground;

/// Bytes at a time: 1 MiB.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes per second of one stream from another process to this one.
pub fn speed(ground: &Ground, bytes: u64) -> anyhow::Result<f64> {
    let words = ground.inside(&["tls", &bytes.to_string()], &[]);
    let mut sender =
        std::process::Command::new(&words[0]).args(&words[1..]).stdout(Stdio::piped()).spawn()?;
    let mut read = || -> anyhow::Result<f64> {
        let mut line = [0; 6];
        sender.stdout.take().context("it was asked for")?.read_exact(&mut line)?;
        let port: u16 = std::str::from_utf8(&line)?.trim().parse()?;
        let connection = ClientConnection::new(client()?, ServerName::try_from("localhost")?)?;
        let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port))?);
        let mut buffer = vec![0; PIECE_BYTES];
        // The handshake is not the stream's.
        stream.read_exact(&mut buffer)?;
        let (started, mut rest) = (Instant::now(), bytes);
        while rest > 0 {
            let read = stream.read(&mut buffer)? as u64;
            anyhow::ensure!(read > 0, "the stream ended");
            rest = rest.saturating_sub(read);
        }
        Ok(bytes as f64 / started.elapsed().as_secs_f64())
    };
    let speed = read();
    let _ = sender.kill();
    let _ = sender.wait();
    speed
}

/// The other end: listens, prints its port, sends one piece and then `bytes`.
pub fn send(bytes: u64) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{:5}", listener.local_addr()?.port());
    let (socket, _) = listener.accept()?;
    let mut stream = StreamOwned::new(ServerConnection::new(server()?)?, socket);
    let piece: Vec<u8> =
        (0..PIECE_BYTES as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for _ in 0..=bytes.div_ceil(PIECE_BYTES as u64) {
        stream.write_all(&piece)?;
    }
    Ok(stream.flush()?)
}

fn ciphers() -> Arc<rustls::crypto::CryptoProvider> {
    let cipher_suites = vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256];
    Arc::new(rustls::crypto::CryptoProvider { cipher_suites, ..provider::default_provider() })
}

fn server() -> anyhow::Result<Arc<ServerConfig>> {
    let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| anyhow!("no key"))?;
    let key = provider::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pair.as_ref()))?;
    let shown = key.public_key().context("the key has no public half")?.to_vec();
    let shown = Arc::new(CertifiedKey::new(vec![CertificateDer::from(shown)], key));
    let config = ServerConfig::builder_with_provider(ciphers())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(shown)));
    Ok(Arc::new(config))
}

fn client() -> anyhow::Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(ciphers())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyKey))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct AnyKey;

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
