//! Tells the figures of this node to whoever connects to the loopback port of `--metrics-port`: HTTP/1.1, `GET /metrics`.
//!
//! Every user of the machine may connect, so nothing is told but counters and the names of job and host, and what a
//! stranger can make it do is bounded. A thread of its own does it: a scraper takes nothing from those who answer tasks.
//!
//! Not here: opening the port (`enter::found`), how the text looks (`profile::exposition`).

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::status::Figures;
use crate::profile::exposition;

/// Connections at once: 8, more than scrapers that one node has. Further ones wait in the queue of the socket.
const CONNECTIONS_MAX: usize = 8;

/// How long one connection may last: 3 s, of which a scrape on one machine takes some milliseconds. One answer each.
const CONNECTION_MAX: Duration = Duration::from_secs(3);

/// Bytes of a head, which is all that is read: 8 KiB, the least that hyper takes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Wait after a connection could not be taken, such as for want of descriptors: 100 ms.
const PAUSE: Duration = Duration::from_millis(100);

/// Begins to answer whoever connects to `listener`, for the life of the process.
///
/// # Errors
/// The socket cannot be watched, or there is no thread.
pub(super) fn tell(listener: OwnedFd, figures: Figures) -> io::Result<()> {
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let accepting = async move {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => accept(listener, Arc::new(figures)).await,
            Err(error) => tracing::error!(%error, "cannot watch the port of the metrics"),
        }
    };
    Builder::new().name("metrics".into()).spawn(move || runtime.block_on(accepting))?;
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, figures: Arc<Figures>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = room.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let figures = figures.clone();
                tokio::spawn(async move {
                    // Whoever says nonsense, nothing, or goes away gets no answer and keeps its place for a while.
                    let _ = timeout(CONNECTION_MAX, serve(stream, &figures)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for the metrics could not be taken");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, figures: &Figures) -> Result<(), hyper::Error> {
    let answer = service_fn(async |request| Ok::<_, Infallible>(answer(&request, figures)));
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

fn answer(request: &Request<Incoming>, figures: &Figures) -> Response<Full<Bytes>> {
    let plain = |status, text: &'static str| {
        let mut answer = Response::new(Full::from(text));
        *answer.status_mut() = status;
        answer
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "the figures are at /metrics\n");
    }
    if request.method() != Method::GET {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return refused;
    }
    match exposition::text(&[figures.row()]) {
        Ok(text) => {
            let mut answer = Response::new(Full::from(text));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
            answer
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be told");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the figures cannot be told\n")
        }
    }
}
