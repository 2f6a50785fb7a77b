//! When to stop: the system's signals, or whoever started the server.

use std::io;

use tokio::sync::watch;

/// How urgent it is. Only ever rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Go on.
    #[default]
    None,
    /// Finish what is under way.
    Finish,
    /// Let go of everything.
    Now,
}

/// Raises the urgency by a step each time it is asked.
#[derive(Clone, Debug)]
pub(super) struct Stop(watch::Sender<Urgency>);

impl Stop {
    pub(super) fn new() -> (Self, watch::Receiver<Urgency>) {
        let (sender, receiver) = watch::channel(Urgency::None);
        (Self(sender), receiver)
    }

    /// The first time: finish what is under way. Again: let go of it.
    pub(super) fn ask(&self) {
        self.0.send_modify(|urgency| {
            *urgency = if *urgency == Urgency::None { Urgency::Finish } else { Urgency::Now };
        });
    }

    /// How urgent it is by now.
    pub(super) fn urgency(&self) -> Urgency {
        *self.0.borrow()
    }
}

/// Resolves when it is at least as urgent as `least`, or nobody is left who could say so.
pub(super) async fn urgent(mut stop: watch::Receiver<Urgency>, least: Urgency) {
    let _ = stop.wait_for(|urgency| *urgency >= least).await;
}

/// Heeds the system's signals until the server has stopped: to stop, and to read the configuration again.
#[cfg(unix)]
pub(super) fn heed(stop: Stop, mut hangup: impl FnMut() + Send + 'static) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let (again, mut asked) = tokio::sync::mpsc::channel::<()>(1);
    tokio::task::spawn_blocking(move || {
        while asked.blocking_recv().is_some() {
            hangup();
        }
    });
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => stop.ask(),
                Some(()) = terminate.recv() => stop.ask(),
                // One that waits already will find what this one would.
                Some(()) = hung_up.recv() => drop(again.try_send(())),
                else => break,
            }
        }
    });
    Ok(())
}

/// Heeds Ctrl-C until the server has stopped.
#[cfg(not(unix))]
pub(super) fn heed(stop: Stop, _: impl FnMut() + Send + 'static) -> io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            stop.ask();
        }
    });
    Ok(())
}
