//! A connection that has proven both its ends, encrypted or not, and counts its bytes.
//!
//! Not here: what proves them (`identity`, `sealed`), how long they may take (`server`, `client`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::identity::{Fabric, Identity};
use super::limits::UNACKNOWLEDGED_TIME_MAX;
use super::sealed;
use crate::profile::recorder::{Counter, Recorder};

/// A proven connection.
pub(super) type Channel = Box<dyn Stream>;

/// What a channel can do.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// When a peer was last heard, over all connections to it.
pub(super) struct Heard {
    since: Instant,
    milliseconds: AtomicU64,
}

impl Heard {
    /// Heard just now.
    pub(super) fn now() -> Arc<Self> {
        Arc::new(Heard { since: Instant::now(), milliseconds: AtomicU64::new(0) })
    }

    pub(super) fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.milliseconds.load(Ordering::Relaxed))
    }

    fn again(&self) {
        let milliseconds = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.fetch_max(milliseconds, Ordering::Relaxed);
    }
}

/// Proves itself to whoever listens at the other end of `stream`, and has it prove itself.
///
/// # Errors
/// `PermissionDenied` if it has another key, job or views; else what went wrong on the way.
pub(super) async fn connect(
    stream: TcpStream,
    identity: &Identity,
    heard: Arc<Heard>,
    recorder: Recorder,
) -> io::Result<Channel> {
    prepare(&stream)?;
    let counted = Counted { stream, recorder, heard: Some(heard) };
    match identity.fabric() {
        Fabric::Trusted => Ok(Box::new(sealed::connect(counted, identity.seal()).await?)),
        Fabric::Encrypted => {
            let connector = tokio_rustls::TlsConnector::from(identity.client());
            // Required by the interface; it is neither sent nor checked.
            let name = ServerName::try_from("spinney").expect("a valid name");
            Ok(Box::new(connector.connect(name, counted).await.map_err(not_ours)?))
        }
    }
}

/// Has whoever connected over `stream` prove itself, and proves itself.
///
/// # Errors
/// As [`connect`].
pub(super) async fn accept(
    stream: TcpStream,
    identity: &Identity,
    recorder: Recorder,
) -> io::Result<Channel> {
    prepare(&stream)?;
    let counted = Counted { stream, recorder, heard: None };
    match identity.fabric() {
        Fabric::Trusted => Ok(Box::new(sealed::accept(counted, identity.seal()).await?)),
        Fabric::Encrypted => {
            let acceptor = tokio_rustls::TlsAcceptor::from(identity.server());
            Ok(Box::new(acceptor.accept(counted).await.map_err(not_ours)?))
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    // Answers are small and somebody waits for each.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    let milliseconds = u32::try_from(UNACKNOWLEDGED_TIME_MAX.as_millis()).expect("half a minute");
    sockopt::set_tcp_user_timeout(stream, milliseconds)?;
    Ok(())
}

/// Tells an end that proved something else from a connection that broke.
fn not_ours(error: io::Error) -> io::Error {
    let proof = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match proof {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) => {
            io::Error::new(io::ErrorKind::PermissionDenied, error)
        }
        _ => error,
    }
}

/// Counts what passes and notes when something was heard.
struct Counted {
    stream: TcpStream,
    recorder: Recorder,
    heard: Option<Arc<Heard>>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let count = into.filled().len() - before;
        if count > 0 {
            self.recorder.add(Counter::WireBytesIn, count as u64);
            if let Some(heard) = &self.heard {
                heard.again();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Counted {
    fn sent(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = result {
            self.recorder.add(Counter::WireBytesOut, count as u64);
        }
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.sent(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
