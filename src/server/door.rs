//! Where connections come in.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tower::ServiceExt;

use super::app::App;
use super::arrival::Peer;
use super::config::Limits;
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
        })
    }

    /// Serves whoever comes, until it is dropped. `connections` can end those that were let in.
    pub(super) async fn admit(&self, connections: &GracefulShutdown) -> Infallible {
        loop {
            match self.listener.accept().await {
                // Beyond the most connections one is closed at once: who has one already is served.
                Ok((stream, peer)) => {
                    if let Ok(seat) = self.seats.clone().try_acquire_owned() {
                        let router = self.router.clone();
                        let watcher = connections.watcher();
                        tokio::spawn(converse(stream, peer, router, self.limits, watcher, seat));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    sleep(BREATHER).await;
                }
            }
        }
    }
}

/// One connection, until either side has had enough.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    watcher: Watcher,
    seat: OwnedSemaphorePermit,
) {
    // Tokens are small, and each is wanted now.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.map(Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // It is added to the time it is: what no clock reaches is no limit.
        .header_read_timeout(Instant::now().checked_add(limits.head_timeout).map(|_| limits.head_timeout))
        .max_headers(limits.headers)
        .max_buf_size(usize::try_from(limits.head.bytes()).unwrap_or(usize::MAX).max(8 << 10))
        .serve_connection(
            TokioIo::new(Patient::new(stream, limits.write_timeout)),
            TowerToHyperService::new(service),
        );
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection broke");
    }
    drop(seat);
}
