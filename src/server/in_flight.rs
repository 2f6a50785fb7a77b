//! The requests under way: who can see them can cancel them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use super::api_error::ApiError;

/// The longest piece of a model's name that is kept of a request.
const NAME_BYTES: usize = 128;

/// All requests under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<Mutex<BTreeMap<u64, Arc<Entry>>>>);

#[derive(Debug)]
struct Entry {
    id: Arc<str>,
    endpoint: String,
    model: String,
    began: Instant,
    /// Since 1970.
    began_at: Duration,
    tokens: AtomicU64,
    canceled: AtomicBool,
    told: Notify,
}

/// One request under way, listed as long as this is there.
#[derive(Debug)]
#[must_use = "a request is listed as long as this is there"]
pub(super) struct Tracked {
    all: InFlight,
    number: u64,
    entry: Arc<Entry>,
}

/// A request under way, as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestStatus {
    /// Its `x-request-id`.
    pub id: Arc<str>,
    /// The path it came by, with names of parameters for what varies.
    pub endpoint: String,
    /// The model it names.
    pub model: String,
    /// When it came, in milliseconds since 1970.
    pub began: u64,
    /// How long it has taken.
    pub running_for: Duration,
    /// Tokens or steps so far.
    pub tokens: u64,
    /// Whether somebody has canceled it.
    pub canceled: bool,
}

impl InFlight {
    /// Lists a request.
    pub(super) fn begin(&self, id: Arc<str>, endpoint: &str, model: &str) -> Tracked {
        let began_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let entry = Arc::new(Entry {
            id,
            endpoint: endpoint.to_owned(),
            model: model[..model.floor_char_boundary(NAME_BYTES)].to_owned(),
            began: Instant::now(),
            began_at,
            tokens: AtomicU64::new(0),
            canceled: AtomicBool::new(false),
            told: Notify::new(),
        });
        let mut all = self.0.lock();
        let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
        all.insert(number, entry.clone());
        Tracked { all: self.clone(), number, entry }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<RequestStatus> {
        self.0.lock().values().map(|entry| entry.status()).collect()
    }

    /// Cancels the requests with this id, and returns how many there were.
    pub fn cancel(&self, id: &str) -> usize {
        let all = self.0.lock();
        all.values().filter(|entry| &*entry.id == id).map(|entry| entry.cancel()).count()
    }

    /// Cancels all of them.
    pub fn cancel_all(&self) {
        self.0.lock().values().for_each(|entry| entry.cancel());
    }
}

impl Entry {
    fn cancel(&self) {
        self.canceled.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    fn status(&self) -> RequestStatus {
        RequestStatus {
            id: self.id.clone(),
            endpoint: self.endpoint.clone(),
            model: self.model.clone(),
            began: u64::try_from(self.began_at.as_millis()).unwrap_or(u64::MAX),
            running_for: self.began.elapsed(),
            tokens: self.tokens.load(Ordering::Relaxed),
            canceled: self.canceled.load(Ordering::Acquire),
        }
    }
}

impl Tracked {
    /// Since when it is under way.
    pub(super) fn began(&self) -> Instant {
        self.entry.began
    }

    /// Counts tokens, or steps, that it has had.
    pub(super) fn advance(&self, tokens: u64) {
        self.entry.tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Resolves when somebody cancels the request.
    pub(super) async fn canceled(&self) {
        let told = self.entry.told.notified();
        tokio::pin!(told);
        // Listens before it looks: what comes in between is heard.
        told.as_mut().enable();
        if !self.entry.canceled.load(Ordering::Acquire) {
            told.await;
        }
    }

    /// What `work` comes to, unless somebody cancels the request first: then `work` is dropped.
    pub(super) async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        tokio::select! {
            biased;
            () = self.canceled() => Err(ApiError::canceled()),
            done = work => done,
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    #[test]
    fn a_request_is_listed_until_it_ends() {
        let all = InFlight::default();
        let first = all.begin("a".into(), "/v1/embeddings", "m");
        let second = all.begin("b".into(), "/v1/embeddings", &"é".repeat(200));
        second.advance(3);
        let listed: Vec<_> = all
            .list()
            .iter()
            .map(|request| (request.id.clone(), request.tokens, request.model.len()))
            .collect();
        assert_eq!(listed, [("a".into(), 0, 1), ("b".into(), 3, 128)]);
        drop(first);
        assert_eq!((all.len(), all.list()[0].id.as_ref()), (1, "b"));
        drop(second);
        assert!(all.is_empty());
    }

    #[test]
    fn a_canceled_request_ends_and_its_work_is_dropped() {
        let all = InFlight::default();
        let tracked = all.begin("a".into(), "/v1/embeddings", "m");
        assert_eq!(block_on(tracked.run(async { Ok(1) })).ok(), Some(1));
        assert_eq!((all.cancel("b"), all.cancel("a")), (0, 1));
        let error = block_on(tracked.run(pending::<Result<(), ApiError>>())).unwrap_err();
        assert_eq!(error.status.as_u16(), 499);
    }

    #[test]
    fn cancellation_is_heard_by_who_waits_already() {
        let all = InFlight::default();
        let tracked = all.begin("a".into(), "/v1/embeddings", "m");
        let error = block_on(async {
            let cancel = async {
                tokio::task::yield_now().await;
                all.cancel_all();
            };
            tokio::join!(tracked.run(pending::<Result<(), ApiError>>()), cancel).0.unwrap_err()
        });
        assert_eq!(error.status.as_u16(), 499);
    }
}
