//! A Kafka broker of the tests: it takes messages to one topic of one partition, over TLS or not, from somebody who
//! proves a name by a password or from anybody. It knows as much of the protocol as that takes.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The authority that vouches for it.
pub const AUTHORITY: &str = include_str!("../../../tests/it/certificates/authority.pem");

/// Numbers of requests, with the latest version of each that is understood.
const REQUESTS: [(i16, i16); 5] =
    [(PRODUCE, 3), (METADATA, 1), (HANDSHAKE, 1), (VERSIONS, 3), (AUTHENTICATE, 0)];
const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const HANDSHAKE: i16 = 17;
const VERSIONS: i16 = 18;
const AUTHENTICATE: i16 = 36;

/// The protocol's number for a wrong password.
const REFUSED: i16 = 58;

/// What it is like.
#[derive(Clone, Copy)]
pub struct Broker {
    pub is_sealed: bool,
    /// User and password.
    pub account: Option<(&'static str, &'static str)>,
}

impl Broker {
    /// Its address, and what it was given.
    pub fn start(self) -> (String, Receiver<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let port = listener.local_addr().expect("it is bound").port();
        let (told, taken) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = told.clone();
                std::thread::spawn(move || self.serve(stream, port, &told));
            }
        });
        (format!("localhost:{port}"), taken)
    }

    fn serve(self, mut stream: TcpStream, port: u16, told: &Sender<Vec<u8>>) -> io::Result<()> {
        if !self.is_sealed {
            return self.answer(&mut stream, port, told);
        }
        let certificate =
            CertificateDer::from_pem_slice(include_bytes!("../../../tests/it/certificates/collector.pem"));
        let key =
            PrivateKeyDer::from_pem_slice(include_bytes!("../../../tests/it/certificates/collector.key"));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3 is known")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.expect("it is one")], key.expect("it is one"))
            .expect("they belong together");
        let session = ServerConnection::new(Arc::new(config)).expect("the configuration is whole");
        self.answer(&mut StreamOwned::new(session, stream), port, told)
    }

    fn answer(self, stream: &mut (impl Read + Write), port: u16, told: &Sender<Vec<u8>>) -> io::Result<()> {
        let mut is_known = self.account.is_none();
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request)?;
            let kind = i16::from_be_bytes([request[0], request[1]]);
            let client = 10 + usize::from(u16::from_be_bytes([request[8], request[9]]));
            let mut answer = request[4..8].to_vec();
            match kind {
                VERSIONS => answer.extend(versions()),
                HANDSHAKE => {
                    answer.extend([0, 0, 0, 0, 0, 1]);
                    answer.extend(string("PLAIN"));
                }
                AUTHENTICATE => {
                    let (user, password) = self.account.unwrap_or_default();
                    is_known |= request[client + 4..] == *format!("\0{user}\0{password}").as_bytes();
                    answer.extend(if is_known { 0 } else { REFUSED }.to_be_bytes());
                    answer.extend([0xff, 0xff, 0, 0, 0, 0]); // no words, nothing to prove in turn
                }
                // Whoever is not known is not spoken to.
                _ if !is_known => return Ok(()),
                METADATA => answer.extend(metadata(port)),
                _ => {
                    told.send(request.split_off(client)).map_err(io::Error::other)?;
                    answer.extend([0, 0, 0, 1]);
                    answer.extend(string("records"));
                    answer.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]); // the partition, without an error
                    answer.extend([0; 20]); // its place, the time, no waiting
                }
            }
            stream.write_all(&(answer.len() as u32).to_be_bytes())?;
            stream.write_all(&answer)?;
            stream.flush()?;
        }
    }
}

/// Texts begin with their lengths.
fn string(text: &str) -> Vec<u8> {
    [(text.len() as u16).to_be_bytes().as_slice(), text.as_bytes()].concat()
}

fn versions() -> Vec<u8> {
    let mut answer = vec![0, 0, REQUESTS.len() as u8 + 1];
    for (kind, latest) in REQUESTS {
        answer.extend([kind.to_be_bytes(), [0, 0], latest.to_be_bytes()].concat());
        answer.push(0);
    }
    answer.extend([0; 5]);
    answer
}

/// This broker, and the one topic.
fn metadata(port: u16) -> Vec<u8> {
    let mut answer = [[0, 0, 0, 1], [0; 4]].concat();
    answer.extend(string("localhost"));
    answer.extend(u32::from(port).to_be_bytes());
    answer.extend([0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    answer.extend(string("records"));
    answer.extend([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for _ in 0..2 {
        answer.extend([0, 0, 0, 1, 0, 0, 0, 0]); // replicas, and those that are in step
    }
    answer
}
