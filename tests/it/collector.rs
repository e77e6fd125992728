//! Where records are sent to in tests: a small HTTP server on loopback that does what it is told, request by request.
//!
//! Not here: the program that sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it does with a connection or a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Closes the connection without a word.
    Close,
    /// Reads and never answers, as long as the test lasts.
    Hang,
    /// Answers with this status.
    Answer(u16),
}

/// A request that was answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// First line and headers, in lower case.
    pub head: String,
    /// Its body.
    pub body: String,
    /// The status of the answer.
    pub status: u16,
}

/// The server. Its threads end with the test.
pub struct Collector {
    port: u16,
    requests: Receiver<Request>,
    plan: Arc<Mutex<Vec<Does>>>,
}

impl Collector {
    /// Does what `plan` says for one request after the other, then accepts all.
    pub fn start(plan: &[Does]) -> Self {
        Collector::with(plan, None)
    }

    /// The same over TLS, with the certificate of the tests.
    pub fn sealed() -> Self {
        let certificate =
            CertificateDer::from_pem_slice(include_bytes!("certificates/collector.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("certificates/collector.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Collector::with(&[], Some(Arc::new(config)))
    }

    fn with(plan: &[Does], tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (told, requests) = channel();
        let plan = Arc::new(Mutex::new(plan.to_vec()));
        let (of_server, mut held) = (plan.clone(), Vec::new());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (plan, told, tls) = (of_server.clone(), told.clone(), tls.clone());
                held.push(stream.try_clone()); // a connection that hangs stays open
                std::thread::spawn(move || match tls {
                    None => serve(stream, &plan, &told),
                    Some(config) => {
                        let session = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(session, stream), &plan, &told);
                    }
                });
            }
        });
        Collector { port, requests, plan }
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/records?site=x", self.port)
    }

    /// Its address over TLS.
    pub fn sealed_address(&self) -> String {
        format!("https://localhost:{}/records", self.port)
    }

    /// From now on.
    pub fn change(&self, plan: &[Does]) {
        *self.plan.lock().unwrap() = plan.to_vec();
    }

    /// The requests answered so far.
    pub fn heard(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

fn serve<S: Read + Write>(stream: S, plan: &Mutex<Vec<Does>>, told: &std::sync::mpsc::Sender<Request>) {
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = request(&mut stream) {
        let next = {
            let mut plan = plan.lock().unwrap();
            if plan.is_empty() { Does::Answer(200) } else { plan.remove(0) }
        };
        let status = match next {
            Does::Close => return,
            Does::Hang => loop {
                std::thread::park();
            },
            Does::Answer(status) => status,
        };
        // Before it is answered: whoever has the answer may look at once.
        told.send(Request { head, body, status }).unwrap();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
        if stream.get_mut().write_all(answer.as_bytes()).and_then(|()| stream.get_mut().flush()).is_err() {
            return;
        }
    }
}

fn request<S: Read>(stream: &mut BufReader<S>) -> Option<(String, String)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.to_lowercase();
        if let Some(told) = line.strip_prefix("content-length:") {
            length = told.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

/// Whether somebody listens there: for tests that need a port where nobody does.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    format!("http://127.0.0.1:{port}/")
}
