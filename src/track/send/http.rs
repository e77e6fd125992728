//! A message as the body of a POST, over HTTP or HTTPS; in XALT's form one POST for each record, as XALT does it.
//!
//! Redirections are not followed: records go where they were told to.
//!
//! Not here: who may answer over HTTPS (`trust`).
//!
//! Invariant: only an answer 2xx means that the message was taken; each try has the same `idempotency-key`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Body, Outgoing, SendError};
use crate::track::trust::Trust;

/// Between two tries: 50 ms at first, then twice as long each time.
const PAUSE: Duration = Duration::from_millis(50);

/// Tries at most; with the pauses they last longer than a run waits.
const TRIES_MAX: u32 = 8;

/// Bytes of an answer that are read: 64 KiB. What it says is not looked at.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Sends the message to `address`, again if that fails in a way that may be over soon, until `deadline`.
///
/// # Errors
/// It was not taken, as far as is known.
pub fn post(address: &str, outgoing: &Outgoing, deadline: Instant) -> Result<(), SendError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let until = tokio::time::Instant::from_std(deadline);
        tokio::time::timeout_at(until, tries(address, outgoing)).await.unwrap_or(Err(SendError::Late))
    });
    // A name service that hangs has a thread of its own, which is left behind.
    runtime.shutdown_background();
    done
}

async fn tries(address: &str, outgoing: &Outgoing) -> Result<(), SendError> {
    let uri: Uri = address.parse().map_err(|_| refused("no address"))?;
    let bodies = outgoing.bodies();
    let (mut taken, mut pause) = (0, PAUSE);
    for number in 1.. {
        let before = taken;
        match once(&uri, &bodies, &mut taken).await {
            Ok(()) => break,
            // This will be the same in a moment.
            Err(SendError::Refused(answer)) if answer.starts_with('4') && !answer.starts_with("429") => {
                return Err(SendError::Refused(answer));
            }
            // A server that closes the connection after each record gets them one by one.
            Err(_) if taken > before => continue,
            Err(error) if number == TRIES_MAX => return Err(error),
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

/// Sends all bodies but those `taken` already, over one connection.
async fn once(uri: &Uri, bodies: &[Body], taken: &mut usize) -> Result<(), SendError> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let is_sealed = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_sealed { 443 } else { 80 });
    let stream = connect(&host, port).await?;
    let mut sender = match is_sealed {
        false => handshake(stream).await?,
        true => {
            let name = ServerName::try_from(host).map_err(|_| refused("no name"))?;
            let connector = TlsConnector::from(Arc::new(Trust::Authorities(None).config()?));
            handshake(connector.connect(name, stream).await?).await?
        }
    };
    for body in &bodies[*taken..] {
        sender.ready().await.map_err(io::Error::other)?;
        let answer = sender.send_request(request(uri, body)?).await.map_err(io::Error::other)?;
        if !answer.status().is_success() {
            return Err(refused(&answer.status().to_string()));
        }
        *taken += 1;
        // What it says besides; a connection serves the next only when this has been read.
        let said = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        said.map_err(io::Error::other)?;
    }
    Ok(())
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let name = host.to_owned();
    let found = tokio::task::spawn_blocking(move || crate::cluster::resolve::addresses_of(&name)).await;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in found.unwrap_or_else(|_| Ok(Vec::new()))? {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn request(uri: &Uri, body: &Body) -> Result<Request<Full<Bytes>>, SendError> {
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    // Without a name and password before the host.
    let host = authority.rsplit('@').next().unwrap_or_default();
    Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, host)
        .header(CONTENT_TYPE, body.media_type)
        .header(USER_AGENT, concat!("spinney/", env!("CARGO_PKG_VERSION")))
        .header("idempotency-key", &body.key)
        .body(Full::new(body.bytes.clone()))
        .map_err(|_| refused("no address"))
}

async fn handshake<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

fn refused(why: &str) -> SendError {
    SendError::Refused(why.to_owned())
}
