//! The server's life: it listens, serves, and stops in order.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::app::App;
use super::config::Exposed;
use super::door::Door;
use super::signals::{Stop, Urgency, heed, urgent};

/// How long requests have to notice that they were canceled.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    /// Requests that were let go of, unfinished, at the deadline or when it was asked to stop at once; those among them
    /// that had not come in whole do not count.
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

    /// Serves until SIGINT or SIGTERM: then it refuses what comes (503), finishes what is under way, for at most
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
        Ok(Running { address, app, stop, served, runtime: Some(runtime) })
    }
}

/// A server that serves on threads of its own. Dropping it lets go of what is under way, and waits for nothing.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    app: App,
    stop: Stop,
    served: JoinHandle<io::Result<Stopped>>,
    /// There until it stops.
    runtime: Option<Runtime>,
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
    pub fn stop(mut self) -> Result<Stopped, ServeError> {
        if self.stop.urgency() == Urgency::None {
            self.stop.ask();
        }
        let runtime = self.runtime.take().expect("it is taken here and when this is dropped");
        let stopped = runtime.block_on(&mut self.served).map_err(io::Error::other)?;
        runtime.shutdown_timeout(LAST_WORDS);
        Ok(stopped?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is forbidden on an async runtime's thread, which this may be.
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().thread_name("http").enable_all().build()
}

async fn serve(app: App, listener: TcpListener, stop: watch::Receiver<Urgency>) -> io::Result<Stopped> {
    let door = Door::new(&app, listener)?;
    tokio::select! {
        never = door.admit() => match never {},
        stopped = stop_in_order(app, &door, stop) => Ok(stopped),
    }
}

/// Waits until it is to stop, lets what is under way end, and shuts the engine down. Who comes meanwhile is told that
/// the server stops.
async fn stop_in_order(app: App, door: &Door, stop: watch::Receiver<Urgency>) -> Stopped {
    urgent(stop.clone(), Urgency::Finish).await;
    app.drain();
    tracing::info!(requests = app.in_flight().len(), "stopping");
    let unfinished = {
        let mut ended = pin!(door.end_connections());
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
