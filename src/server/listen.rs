//! The server's life: it listens, serves connections, and stops in order.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::app::App;
use super::config::{Exposed, Limits};
use super::guard::came_from;
use super::routes;
use super::signals::{Stop, Urgency, heed, urgent};

/// How long requests have to notice that they were canceled.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long to wait when the system gives no more connections.
const BREATHER: Duration = Duration::from_millis(50);

/// A server that listens, and answers once it is run.
#[derive(Debug)]
pub struct Server {
    app: App,
    listener: TcpListener,
    address: SocketAddr,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It would answer whoever is on the net.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no threads, or no signals.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Requests that were let go of, unfinished, at the deadline or when it was asked to stop at once.
    pub unfinished: usize,
}

impl Server {
    /// Listens at the configured address.
    ///
    /// # Errors
    ///
    /// [`ServeError::Exposed`] if it would be open to the net, [`ServeError::Bind`] if it cannot listen there.
    pub fn bind(app: App) -> Result<Self, ServeError> {
        let address = app.config().bind;
        app.config().check()?;
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = bound.map_err(|source| ServeError::Bind { address, source })?;
        Ok(Self { app, listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until SIGINT or SIGTERM: then it takes nothing more, finishes what is under way, for at most
    /// [`drain_timeout`](super::ServerConfig::drain_timeout), and shuts the engine down. A second signal lets go of
    /// what is under way. `hangup` is called upon SIGHUP, on a thread that may wait, once at a time.
    pub fn run(self, hangup: impl FnMut() + Send + 'static) -> Result<Stopped, ServeError> {
        self.run_telling(|| {}, hangup)
    }

    /// As [`run`](Self::run). `listening` is called as soon as signals are heeded: who hears of the server from it may
    /// send them.
    pub fn run_telling(
        self,
        listening: impl FnOnce(),
        hangup: impl FnMut() + Send + 'static,
    ) -> Result<Stopped, ServeError> {
        let runtime = runtime()?;
        let (stop, urgency) = Stop::new();
        let stopped = runtime.block_on(async {
            heed(stop, hangup)?;
            listening();
            serve(self.app, self.listener, urgency).await
        });
        // What still blocks a thread must not keep the process.
        runtime.shutdown_timeout(LAST_WORDS);
        Ok(stopped?)
    }

    /// Serves on threads of its own, until it is told to stop.
    pub fn start(self) -> Result<Running, ServeError> {
        let runtime = runtime()?;
        let (stop, urgency) = Stop::new();
        let (address, app) = (self.address, self.app.clone());
        let served = runtime.spawn(serve(self.app, self.listener, urgency));
        Ok(Running { address, app, stop, served, runtime })
    }
}

/// A server that serves on threads of its own. Dropping it lets go of what is under way.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    app: App,
    stop: Stop,
    served: JoinHandle<io::Result<Stopped>>,
    runtime: Runtime,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it serves.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// As a signal does: the first time it begins to stop, a second time it lets go of everything.
    pub fn ask_to_stop(&self) {
        self.stop.ask();
    }

    /// Stops it in order, as after a signal, and waits for that. Not to be called on an async runtime's thread.
    pub fn stop(self) -> Result<Stopped, ServeError> {
        if self.stop.urgency() == Urgency::None {
            self.stop.ask();
        }
        let stopped = self.runtime.block_on(self.served).map_err(io::Error::other)?;
        self.runtime.shutdown_timeout(LAST_WORDS);
        Ok(stopped?)
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().thread_name("http").enable_all().build()
}

async fn serve(app: App, listener: TcpListener, stop: watch::Receiver<Urgency>) -> io::Result<Stopped> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (connections, seats) = (GracefulShutdown::new(), app.config().limits.connections);
    let (router, seats) = (routes(app.clone()), Arc::new(Semaphore::new(seats)));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = urgent(stop.clone(), Urgency::Finish) => break,
        };
        match accepted {
            // Beyond the most connections one is closed at once: who has one already is served.
            Ok((stream, peer)) => {
                if let Ok(seat) = seats.clone().try_acquire_owned() {
                    let (router, limits) = (router.clone(), app.config().limits);
                    tokio::spawn(converse(stream, peer, router, limits, connections.watcher(), seat));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                sleep(BREATHER).await;
            }
        }
    }
    drop(listener);
    Ok(finish(app, connections, stop).await)
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
    let peer = came_from(peer);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers)
        .max_buf_size(usize::try_from(limits.head.bytes()).unwrap_or(usize::MAX).max(8 << 10))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection broke");
    }
    drop(seat);
}

/// Lets what is under way end, and shuts the engine down.
async fn finish(app: App, connections: GracefulShutdown, stop: watch::Receiver<Urgency>) -> Stopped {
    app.drain();
    tracing::info!(requests = app.in_flight().len(), "stopping");
    let unfinished = {
        let ended = connections.shutdown();
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => 0,
            () = urgent(stop.clone(), Urgency::Now) => let_go(&app),
            () = sleep(app.config().drain_timeout) => {
                let unfinished = let_go(&app);
                let _ = timeout(LAST_WORDS, ended).await;
                unfinished
            }
        }
    };
    let engine = app.clone();
    let shut = tokio::task::spawn_blocking(move || engine.engine().shutdown(LAST_WORDS));
    tokio::select! {
        shut = shut => if let Ok(Err(error)) = shut {
            tracing::warn!(%error, "the engine did not stop in time");
        },
        () = urgent(stop, Urgency::Now) => {}
    }
    Stopped { unfinished }
}

fn let_go(app: &App) -> usize {
    let unfinished = app.in_flight().len();
    app.in_flight().cancel_all();
    unfinished
}
