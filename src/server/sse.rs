//! Answers that come in pieces, as their handler writes them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use super::api_error::ApiError;

/// How many pieces may wait for the connection before their writer does.
const AHEAD: usize = 16;
/// What ends an event.
const EVENT_END: &[u8] = b"\n\n";
/// What tells proxies that buffer to let pieces through.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Where a handler writes its answer, piece by piece. What nobody reads any more is dropped with its writer.
#[derive(Debug)]
pub(super) struct Writer(mpsc::Sender<Bytes>);

impl Writer {
    /// The next piece, as it is.
    pub(super) async fn push(&self, piece: impl Into<Bytes>) {
        // Who reads and who writes are dropped together.
        let _ = self.0.send(piece.into()).await;
    }

    /// A line of JSON.
    pub(super) async fn line(&self, line: &impl Serialize) {
        self.push(framed(b"", line, b"\n")).await;
    }

    /// An event whose data is `data` as JSON.
    pub(super) async fn event(&self, data: &impl Serialize) {
        self.push(framed(b"data: ", data, EVENT_END)).await;
    }

    /// An event with a name.
    pub(super) async fn named(&self, name: &str, data: &impl Serialize) {
        self.push(framed(format!("event: {name}\ndata: ").as_bytes(), data, EVENT_END)).await;
    }

    /// What went wrong, as the last event.
    pub(super) async fn error(&self, error: &ApiError) {
        self.event(&error.body()).await;
    }

    /// The event that ends OpenAI's streams.
    pub(super) async fn done(&self) {
        self.push(Bytes::from_static(b"data: [DONE]\n\n")).await;
    }
}

fn framed(head: &[u8], data: &impl Serialize, end: &[u8]) -> Vec<u8> {
    let mut piece = Vec::with_capacity(256);
    piece.extend_from_slice(head);
    // Nothing that is sent has keys that are no texts, or can fail to be written otherwise.
    if serde_json::to_writer(&mut piece, data).is_err() {
        piece.extend_from_slice(b"null");
    }
    piece.extend_from_slice(end);
    piece
}

/// An answer of server-sent events that `write` writes. When it has nothing to say for so long as `keep_alive`, a
/// comment says that it is still there. The work is part of the answer: when its reader goes, it is dropped.
pub(super) fn events<W: Future<Output = ()> + Send + 'static>(
    keep_alive: Duration,
    write: impl FnOnce(Writer) -> W,
) -> Response {
    pieces("text/event-stream", Some(keep_alive), write)
}

/// An answer of any kind that `write` writes; with comments of server-sent events where it is told how often.
pub(super) fn pieces<W: Future<Output = ()> + Send + 'static>(
    content_type: &'static str,
    keep_alive: Option<Duration>,
    write: impl FnOnce(Writer) -> W,
) -> Response {
    let (sender, written) = mpsc::channel(AHEAD);
    let pulse = keep_alive.map(|every| (Box::pin(sleep(every)), every));
    let work: Work = Box::pin(write(Writer(sender)));
    let mut response = Response::new(Body::from_stream(Written { work: Some(work), pieces: written, pulse }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    response
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What has been written, and the work that writes more when more is wanted.
struct Written {
    work: Option<Work>,
    pieces: mpsc::Receiver<Bytes>,
    pulse: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl Written {
    /// A comment, if nothing was said for long enough.
    fn beat(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, std::convert::Infallible>>> {
        let Some((sleep, every)) = &mut self.pulse else {
            return Poll::Pending;
        };
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let next = Instant::now() + *every;
        sleep.as_mut().reset(next);
        // Asks to be woken for the next one too.
        let _ = sleep.as_mut().poll(context);
        Poll::Ready(Some(Ok(Bytes::from_static(b": still here\n\n"))))
    }
}

impl Stream for Written {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(work) = &mut this.work
            && work.as_mut().poll(context).is_ready()
        {
            this.work = None;
        }
        match this.pieces.poll_recv(context) {
            Poll::Ready(piece) => {
                if let Some((sleep, every)) = &mut this.pulse {
                    sleep.as_mut().reset(Instant::now() + *every);
                }
                Poll::Ready(piece.map(Ok))
            }
            Poll::Pending => this.beat(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use http_body_util::BodyExt;

    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    async fn next(body: &mut Body) -> Option<String> {
        let frame = body.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    #[test]
    fn what_is_written_is_read_in_order_and_ends_with_the_work() {
        block_on(async {
            let mut body = events(Duration::from_mins(1), |writer| async move {
                for number in 0..3 * AHEAD {
                    writer.event(&number).await;
                }
                writer.error(&ApiError::canceled()).await;
                writer.done().await;
            })
            .into_body();
            for number in 0..3 * AHEAD {
                assert_eq!(next(&mut body).await.unwrap(), format!("data: {number}\n\n"));
            }
            assert!(next(&mut body).await.unwrap().starts_with("data: {\"error\":{"));
            assert_eq!(next(&mut body).await.unwrap(), "data: [DONE]\n\n");
            assert_eq!(next(&mut body).await, None);
        });
    }

    #[test]
    fn silence_is_filled_with_comments() {
        block_on(async {
            let answer = events(Duration::from_millis(1), |writer| async move {
                pending::<()>().await;
                drop(writer);
            });
            assert_eq!(answer.headers()[CONTENT_TYPE], "text/event-stream");
            let mut body = answer.into_body();
            for _ in 0..3 {
                assert_eq!(next(&mut body).await.unwrap(), ": still here\n\n");
            }
        });
    }

    #[test]
    fn the_work_is_dropped_with_its_answer() {
        let held = Arc::new(());
        let inside = held.clone();
        block_on(async {
            let mut body = events(Duration::from_mins(1), |writer| async move {
                writer.event(&1).await;
                pending::<()>().await;
                drop((writer, inside));
            })
            .into_body();
            next(&mut body).await.unwrap();
            assert_eq!(Arc::strong_count(&held), 2);
        });
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
