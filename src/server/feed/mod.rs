//! What the pools are doing, once a second, as server-sent events.
//!
//! One task looks, whoever listens; each listener gets the same bytes. A listener who does not take them is let go,
//! and finds out what was missed when it comes again: the first frame of each has what happened before.

mod frame;
mod watch;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{MissedTickBehavior, interval};

use super::api_error::ApiError;
use super::app::App;
use super::status::ServerStatus;
use frame::{Frame, Happened, Look, Sample};
use watch::Watch;

/// How many may listen at once.
const MOST_LISTENERS: usize = 16;
/// How many frames may wait for a listener.
const FRAMES_WAITING: usize = 4;
/// How many events are kept for who comes later.
const EVENTS_KEPT: usize = 200;
/// How many seconds of samples are kept for who comes later.
const SAMPLES_KEPT: usize = 180;
/// How often events are taken in, and a stop is noticed.
const BEAT: Duration = Duration::from_millis(200);
/// How many beats make a frame.
const BEATS: u32 = 5;

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The route, and the task behind it, which ends when the server drains. To be called on the server's runtime.
pub(super) fn routes(app: &App) -> Router<App> {
    let feed = Feed::default();
    tokio::spawn(keep_telling(app.clone(), feed.clone()));
    Router::new().route("/feed", get(move |State(app): State<App>| async move { listen(&app, &feed) }))
}

fn listen(app: &App, feed: &Feed) -> Response {
    let Some(frames) = feed.join(&ServerStatus::of(app)) else {
        let message = format!("{MOST_LISTENERS} are listening already, and that is as many as may");
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("too_many_listeners");
        return error.after(Duration::from_secs(5)).into_response();
    };
    let body =
        stream::unfold(frames, async |mut frames| Some((Ok::<_, Infallible>(frames.recv().await?), frames)));
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), (ACCEL_BUFFERING, "no")];
    (headers, Body::from_stream(body)).into_response()
}

async fn keep_telling(app: App, feed: Feed) {
    let mut watch = Watch::new(app.engine());
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for beat in 0u32.. {
        beats.tick().await;
        if app.is_draining() {
            break;
        }
        watch.take_in();
        if beat.is_multiple_of(BEATS) {
            let status = ServerStatus::of(&app);
            let look = watch.look(&status.engine);
            feed.tell(&status, look);
        }
    }
    feed.end();
}

/// Who listens, and what those who come later are told of the past. Cheap to clone.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    listeners: Vec<Sender<Bytes>>,
    ended: bool,
    last: Look,
    events: VecDeque<Happened>,
    samples: VecDeque<Sample>,
}

impl Feed {
    /// A listener more, with the past as its first frame; `None` if there are too many, or it is over.
    fn join(&self, status: &ServerStatus) -> Option<Receiver<Bytes>> {
        let mut told = self.0.lock();
        told.listeners.retain(|listener| !listener.is_closed());
        if told.ended || told.listeners.len() >= MOST_LISTENERS {
            return None;
        }
        let (sender, frames) = channel(FRAMES_WAITING);
        let first = Frame { status, look: &told.last, events: &told.events, history: Some(&told.samples) };
        let _ = sender.try_send(first.bytes());
        told.listeners.push(sender);
        Some(frames)
    }

    /// Tells all listeners what a look has shown; who has not taken the last ones yet is let go.
    fn tell(&self, status: &ServerStatus, mut look: Look) {
        let mut told = self.0.lock();
        let events = VecDeque::from(std::mem::take(&mut look.events));
        if !told.listeners.is_empty() {
            let bytes = Frame { status, look: &look, events: &events, history: None }.bytes();
            told.listeners.retain(|listener| listener.try_send(bytes.clone()).is_ok());
        }
        told.events.extend(events);
        told.samples.push_back(look.sample.clone());
        keep_last(&mut told.events, EVENTS_KEPT);
        keep_last(&mut told.samples, SAMPLES_KEPT);
        told.last = look;
    }

    /// Lets everybody go, for good.
    fn end(&self) {
        let mut told = self.0.lock();
        told.ended = true;
        told.listeners.clear();
    }
}

fn keep_last<T>(all: &mut VecDeque<T>, most: usize) {
    all.drain(..all.len().saturating_sub(most));
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::engine::Engine;
    use crate::server::ServerConfig;

    fn status() -> ServerStatus {
        ServerStatus::of(&App::new(Engine::new().unwrap(), ServerConfig::default()))
    }

    fn read(frames: &mut Receiver<Bytes>) -> Value {
        let bytes = frames.try_recv().unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        let data = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n")).unwrap();
        assert!(!data.contains('\n'), "an event is one line");
        serde_json::from_str(data).unwrap()
    }

    #[test]
    fn who_comes_late_is_told_the_past_once() {
        let (feed, status) = (Feed::default(), status());
        for at in 0..200 {
            let events = (0..3).map(|_| Happened::rejection("text-embedding", "m")).collect();
            feed.tell(
                &status,
                Look { events, sample: Sample { at, ..Sample::default() }, ..Look::default() },
            );
        }
        let mut frames = feed.join(&status).unwrap();
        let first = read(&mut frames);
        assert_eq!(first["history"].as_array().unwrap().len(), SAMPLES_KEPT);
        assert_eq!(first["history"][0]["at"], 20, "the oldest are forgotten");
        assert_eq!(first["events"].as_array().unwrap().len(), EVENTS_KEPT);
        assert_eq!(first["pools"].as_array().unwrap().len(), 5);
        feed.tell(&status, Look::default());
        let next = read(&mut frames);
        assert_eq!((next.get("history"), next["events"].as_array().unwrap().len()), (None, 0));
    }

    #[test]
    fn a_listener_who_takes_nothing_is_let_go_and_holds_nobody_up() {
        let (feed, status) = (Feed::default(), status());
        let mut listening = feed.join(&status).unwrap();
        let mut stalled = feed.join(&status).unwrap();
        for _ in 0..FRAMES_WAITING {
            read(&mut listening);
            feed.tell(&status, Look::default());
        }
        read(&mut listening);
        for _ in 0..FRAMES_WAITING {
            read(&mut stalled);
        }
        assert!(stalled.try_recv().is_err() && stalled.is_closed());
        assert!(!listening.is_closed());
    }

    #[test]
    fn there_are_only_so_many_listeners() {
        let (feed, status) = (Feed::default(), status());
        let mut all: Vec<_> = (0..MOST_LISTENERS).map(|_| feed.join(&status).unwrap()).collect();
        assert!(feed.join(&status).is_none());
        all.pop();
        assert!(feed.join(&status).is_some(), "who has left makes room");
        feed.end();
        assert!(feed.join(&status).is_none());
        all.iter_mut().for_each(|frames| drop(read(frames)));
        assert!(all.iter().all(Receiver::is_closed), "streams end when the server does");
    }
}
