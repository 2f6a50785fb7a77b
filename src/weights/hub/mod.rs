//! Models from a hub that speaks Hugging Face's protocol.
//!
//! [`Hub::fetch`] brings a model into the cache and returns its folder. The cache has the layout that Python's
//! `huggingface_hub` uses (`hf-hub` supplies it), so either finds what the other fetched. The transfer is our
//! own: `hf-hub` has no timeouts, sends the token to the hosts that files are redirected to, keeps truncated
//! bodies, and joins etags and commits to paths as the server sent them.
//!
//! - A file is downloaded once, however many threads of this process or processes of this machine want it.
//! - An interrupted download continues where it stopped; a file appears under its name only when complete.
//! - A revision is remembered only when all its files are there: an interrupted update leaves the old one.
//! - Failures that may pass are tried again, a bounded number of times; the others are errors at once.
//! - Where the hub cannot be reached but the model is in the cache, the cache answers.

mod cache;
mod config;
mod download;
mod error;
mod http;
mod listing;
mod removal;

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use hf_hub::api::RepoInfo;
use parking_lot::Mutex;

pub use config::{Access, HubConfig, HubToken, Retry};
pub use error::HubError;
pub use removal::CachedModel;

use self::cache::RepoCache;
use self::download::Download;
use self::http::Http;
use self::listing::{Listing, join, network_folders, part_folders};
use super::error::WeightsError;
use super::folder::ModelFolder;
use super::json::MAX_JSON;
use super::model_id::ModelId;
use super::safetensors::{ShardError, shard_names};

/// Hears how downloads go. Files of one model come one after another; models may be fetched at once.
pub trait DownloadProgress: Send + Sync {
    /// `file` of `total` bytes begins.
    fn started(&self, file: &str, total: crate::ByteSize) {
        let _ = (file, total);
    }
    /// `done` bytes of `file` are here, those of earlier attempts included: first as many as they left.
    fn advanced(&self, file: &str, done: crate::ByteSize) {
        let _ = (file, done);
    }
    /// `file` is complete.
    fn finished(&self, file: &str) {
        let _ = file;
    }
}

/// Hears nothing.
impl DownloadProgress for () {}

/// A hub and the cache in front of it. Share one per process; it holds no thread.
pub struct Hub {
    config: HubConfig,
    http: Http,
    /// Downloads in progress. Whoever comes first runs; the others wait on the cell and take its result.
    flights: Mutex<HashMap<PathBuf, Flight>>,
}

type Flight = Arc<OnceLock<Result<PathBuf, HubError>>>;

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub reached as `config` says. Nothing is contacted yet.
    pub fn new(config: HubConfig) -> Self {
        Self { http: Http::new(&config), config, flights: Mutex::new(HashMap::new()) }
    }

    /// The folder of `id` in the cache, every file that serving needs downloaded into it.
    ///
    /// Blocks for as long as the download makes progress.
    pub fn fetch(&self, id: &ModelId, progress: &dyn DownloadProgress) -> Result<ModelFolder, WeightsError> {
        let cache = RepoCache::new(&self.config.cache_dir, id);
        if self.config.access == Access::CacheOnly {
            return cached_folder(id, &cache);
        }
        // With the cache to fall back on, one question is enough: being offline must not cost a wait.
        let cached = cached_folder(id, &cache).ok();
        let attempts = if cached.is_some() { 1 } else { self.config.retry.attempts };
        match (self.listing(id, &cache, &Retry { attempts, ..self.config.retry }), cached) {
            (Ok(listing), _) => self.download(id, &cache, &listing, progress),
            (Err(error), Some(folder)) if error.is_transient() => {
                tracing::warn!(model = %id, %error, "hub not reached, serving the cached revision");
                Ok(folder)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// The folder of `id` in the cache, if it can be served from there. Asks no network and reads no more than
    /// headers.
    pub fn cached(&self, id: &ModelId) -> Option<ModelFolder> {
        cached_folder(id, &RepoCache::new(&self.config.cache_dir, id)).ok()
    }

    fn listing(&self, id: &ModelId, cache: &RepoCache, retry: &Retry) -> Result<Listing, HubError> {
        let what = id.to_string();
        let info = with_retries(retry, || {
            let mut body = Vec::new();
            let answer = self.http.get(&cache.listing_url(), 0, &what)?;
            let read = answer.into_reader().take(MAX_JSON.bytes()).read_to_end(&mut body);
            let network = |detail: String| HubError::Network { what: what.clone(), attempts: 1, detail };
            read.map_err(|error| network(error.kind().to_string()))?;
            let bad_reply =
                |_| HubError::BadReply { what: what.clone(), detail: "its list of files cannot be read" };
            serde_json::from_slice::<RepoInfo>(&body).map_err(bad_reply)
        })?;
        Listing::new(id, info)
    }

    /// Descriptions first: they say which further folders there are, and are small if something is wrong.
    fn download(
        &self,
        id: &ModelId,
        cache: &RepoCache,
        listing: &Listing,
        progress: &dyn DownloadProgress,
    ) -> Result<ModelFolder, WeightsError> {
        listing.check_servable(id)?;
        let label = id.to_string();
        let get = |file: &str| self.get(cache, listing, &label, file, progress);
        let folder = ModelFolder::labeled(cache.snapshot(&listing.commit), &label);
        listing.descriptions("").iter().try_for_each(|file| get(file).map(drop))?;
        let mut dirs = part_folders(&folder)?;
        for dir in &dirs {
            listing.descriptions(dir).iter().try_for_each(|file| get(file).map(drop))?;
        }
        // A pipeline's weights are in its parts; beside them there may be the same once more in one file.
        if !listing.has("model_index.json") {
            dirs.push(String::new());
        }
        for dir in &dirs {
            let Some(weights) = listing.weights(dir) else { continue };
            let path = get(&weights)?;
            if weights.ends_with(".index.json") {
                for shard in shard_names(&path, &format!("{label}/{weights}"))? {
                    let file = join(dir, &shard);
                    if !listing.has(&file) {
                        return Err(ShardError::Missing { index: format!("{label}/{weights}"), shard }.into());
                    }
                    get(&file)?;
                }
            }
        }
        cache.remember(&listing.commit).map_err(HubError::disk(&label))?;
        Ok(folder)
    }

    /// Single flight: the result of a download in progress goes to everyone who asked during it.
    fn get(
        &self,
        cache: &RepoCache,
        listing: &Listing,
        model: &str,
        file: &str,
        progress: &dyn DownloadProgress,
    ) -> Result<PathBuf, HubError> {
        let place = cache.snapshot(&listing.commit).join(file);
        let flight = self.flights.lock().entry(place.clone()).or_default().clone();
        let download = Download {
            http: &self.http,
            config: &self.config,
            cache,
            commit: &listing.commit,
            model,
            file,
            progress,
        };
        let result = flight.get_or_init(|| download.run()).clone();
        // Late callers start a flight of their own, and find the file in its place or try again.
        let mut flights = self.flights.lock();
        if flights.get(&place).is_some_and(|current| Arc::ptr_eq(current, &flight)) {
            flights.remove(&place);
        }
        result
    }
}

/// What the cache has of `id`, if that can be served.
fn cached_folder(id: &ModelId, cache: &RepoCache) -> Result<ModelFolder, WeightsError> {
    let label = id.to_string();
    let offline = |missing: String| HubError::Offline { model: label.clone(), missing };
    let snapshot = cache.cached_snapshot().ok_or_else(|| offline(format!("revision {}", id.revision())))?;
    let folder = ModelFolder::labeled(snapshot, &label);
    let missing = if folder.file("model_index.json").is_some() {
        let of_part = |part: String| Some(join(&part, &missing_weights(folder.subfolder(&part).as_ref())?));
        network_folders(&folder)?.into_iter().find_map(of_part)
    } else if folder.file("config.json").is_some() {
        missing_weights(Some(&folder))
    } else {
        Some("config.json".to_owned())
    };
    missing.map_or(Ok(folder), |missing| Err(offline(missing).into()))
}

/// Which weights are not in `folder`, if it is there. Other flaws are for whoever loads them to name.
fn missing_weights(folder: Option<&ModelFolder>) -> Option<String> {
    match folder.map(ModelFolder::weight_files) {
        None | Some(Err(WeightsError::Source(_))) => Some("*.safetensors".to_owned()),
        Some(Err(WeightsError::Shard(ShardError::Missing { shard, .. }))) => Some(shard),
        Some(_) => None,
    }
}

/// Runs `attempt` until it succeeds, fails for good, or has failed as often as `retry` allows.
fn with_retries<T>(retry: &Retry, mut attempt: impl FnMut() -> Result<T, HubError>) -> Result<T, HubError> {
    let mut failed = 0;
    loop {
        match attempt() {
            Err(error) if error.is_transient() && failed + 1 < retry.attempts => {
                failed += 1;
                std::thread::sleep(retry.wait(failed));
            }
            Err(error) => return Err(error.after(failed + 1)),
            done => return done,
        }
    }
}
