//! Where connections come in.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::app::App;
use super::arrival::Peer;
use super::config::Limits;
use super::heard::Heard;
use super::routes;
use super::socket::Patient;

/// How long to wait when the system gives no more connections.
const BREATHER: Duration = Duration::from_millis(50);

/// Lets callers in, as many at once as there may be.
pub(super) struct Door {
    listener: tokio::net::TcpListener,
    router: Router,
    limits: Limits,
    seats: Arc<Semaphore>,
    /// Whether connections are to end with the request that they are at. Each of those that count holds a receiver.
    ending: Arc<watch::Sender<bool>>,
}

impl Door {
    /// A door at `listener`. To be called on an async runtime.
    pub(super) fn new(app: &App, listener: TcpListener) -> io::Result<Self> {
        let limits = app.config().limits;
        Ok(Self {
            listener: tokio::net::TcpListener::from_std(listener)?,
            router: routes(app.clone()),
            limits,
            seats: Arc::new(Semaphore::new(limits.connections)),
            ending: Arc::new(watch::Sender::new(false)),
        })
    }

    /// Serves whoever comes, until it is dropped.
    pub(super) async fn admit(&self) -> Infallible {
        loop {
            match self.listener.accept().await {
                // Beyond the most connections one is closed at once: who has one already is served.
                Ok((stream, peer)) => {
                    if let Ok(seat) = self.seats.clone().try_acquire_owned() {
                        let (router, ending) = (self.router.clone(), self.ending.clone());
                        tokio::spawn(converse(stream, peer, router, self.limits, ending, seat));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    sleep(BREATHER).await;
                }
            }
        }
    }

    /// Ends each connection with the request that it is at, and waits for those on which something had been noticed by
    /// now. What is noticed only later is heard, and not waited for.
    pub(super) async fn end_connections(&self) {
        self.ending.send_replace(true);
        self.ending.closed().await;
    }
}

/// One connection, until either side has had enough.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    ending: Arc<watch::Sender<bool>>,
    seat: OwnedSemaphorePermit,
) {
    // It is added to the time it is: what no clock reaches is no limit.
    let head_timeout = Instant::now().checked_add(limits.head_timeout).map(|_| limits.head_timeout);
    if timeout(head_timeout.unwrap_or(Duration::MAX), stream.readable()).await.is_err() {
        return;
    }
    // Tokens are small, and each is wanted now.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.map(|body| Body::new(Heard::new(body)))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_headers(limits.headers)
        .max_buf_size(usize::try_from(limits.head.bytes()).unwrap_or(usize::MAX).max(8 << 10))
        .serve_connection(
            TokioIo::new(Patient::new(stream, limits.write_timeout)),
            TowerToHyperService::new(service),
        );
    let mut connection = pin!(connection);
    let mut ended = ending.subscribe();
    let late = *ended.borrow();
    let result = if late {
        // The answer to its request ends it.
        drop(ended);
        connection.await
    } else {
        tokio::select! {
            // It reads what has come before it is told to end: that is its last request.
            biased;
            result = connection.as_mut() => result,
            () = async { let _ = ended.wait_for(|ending| *ending).await; } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke");
    }
    drop(seat);
}
