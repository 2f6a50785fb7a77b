//! An answer as it comes, until it ends or the user has had enough.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crossbeam_channel::{Sender, bounded, select};
use futures_core::Stream;

use super::failure::Failure;
use super::interrupt::Interrupt;
use crate::capability::{Capability, TextCompletion, Token};
use crate::pool::Ticket;

/// Gives every token to `each` as it comes, and returns the whole answer; `None` after Ctrl-C, which cancels
/// the request, as an error of `each` does.
pub(super) fn follow<C: Capability<Event = Token, Output = TextCompletion>>(
    mut ticket: Ticket<C>,
    interrupt: &Interrupt,
    mut each: impl FnMut(Token) -> Result<(), Failure>,
) -> Result<Option<TextCompletion>, Failure> {
    let (bell, rung) = bounded(1);
    let waker = Waker::from(Arc::new(Bell(bell)));
    let mut context = Context::from_waker(&waker);
    loop {
        // Tokens may come so fast that there is never a wait.
        if interrupt.asked().try_recv().is_ok() {
            return Ok(None);
        }
        match Pin::new(&mut ticket.events()).poll_next(&mut context) {
            Poll::Ready(Some(token)) => each(token)?,
            Poll::Ready(None) => break,
            Poll::Pending => select! {
                recv(rung) -> _ => {}
                recv(interrupt.asked()) -> _ => return Ok(None),
            },
        }
    }
    Ok(Some(ticket.wait().map_err(crate::Error::from)?))
}

/// Says that there is something to look at.
struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // Rung already is as good as rung twice.
        let _ = self.0.try_send(());
    }
}
