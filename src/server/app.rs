//! What every handler holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

use super::api_error::ApiError;
use super::config::ServerConfig;
use super::directory::Directory;
use super::in_flight::InFlight;
use crate::engine::{Capabilities, Engine};
use crate::id::ByteSize;

/// An engine as it is served. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    engine: Engine,
    config: ServerConfig,
    directory: Directory,
    in_flight: InFlight,
    seats: Seats,
    draining: AtomicBool,
    began: Instant,
}

/// How much may go on at once of what the pools do not count.
#[derive(Debug)]
pub(super) struct Seats {
    /// Threads that wait for loads.
    pub(super) loads: Arc<Semaphore>,
    /// Pictures that are fetched.
    pub(super) fetches: Arc<Semaphore>,
    /// Mebibytes of bodies that have come, or are to come, and are not read yet.
    pub(super) bodies: Arc<Semaphore>,
}

impl Seats {
    fn new(config: &ServerConfig) -> Self {
        let seats = |count| Arc::new(Semaphore::new(count));
        let bodies = mebibytes(config.limits.bodies.max(config.limits.body));
        Self { loads: seats(16), fetches: seats(16), bodies: seats(bodies as usize) }
    }
}

/// In whole mebibytes, at least one.
pub(super) fn mebibytes(size: ByteSize) -> u32 {
    u32::try_from(size.bytes().div_ceil(1 << 20)).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4)
}

impl App {
    /// Serves `engine`; what is registered there can be asked for by its key.
    pub fn new(engine: Engine, config: ServerConfig) -> Self {
        Self(Arc::new(Parts {
            engine,
            seats: Seats::new(&config),
            config,
            directory: Directory::default(),
            in_flight: InFlight::default(),
            draining: AtomicBool::new(false),
            began: Instant::now(),
        }))
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// How the server behaves.
    pub fn config(&self) -> &ServerConfig {
        &self.0.config
    }

    /// Where models come from.
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// The requests under way.
    pub fn in_flight(&self) -> &InFlight {
        &self.0.in_flight
    }

    /// How much may go on at once.
    pub(super) fn seats(&self) -> &Seats {
        &self.0.seats
    }

    /// Since when it serves.
    pub fn began(&self) -> Instant {
        self.0.began
    }

    /// Whether it takes no more requests.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Takes no more requests from now on; those under way go on.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// All keys with what each can do, in the order of their names.
    pub fn keys(&self) -> Vec<(String, Vec<Capabilities>)> {
        let engine = self.engine();
        let mut keys = std::collections::BTreeMap::<String, Vec<Capabilities>>::new();
        for capability in Capabilities::ALL {
            for key in engine.pool_of(capability).keys() {
                keys.entry(key.as_str().to_owned()).or_default().push(capability);
            }
        }
        keys.into_iter().collect()
    }

    /// Whether the model `key` can do it.
    pub fn can(&self, key: &str, capability: Capabilities) -> bool {
        self.engine().pool_of(capability).has_key(key)
    }

    /// All that the model `key` can do.
    pub fn abilities(&self, key: &str) -> Vec<Capabilities> {
        self.engine().capabilities(key)
    }

    /// The key that `model` means, of a model that can do one of `wanted`: the name itself, or without the
    /// `:latest` that Ollama's clients add. Without a name, the only such model.
    ///
    /// # Errors
    ///
    /// 404 if there is no such model, 400 if it does something else, or if a name is needed.
    pub fn find(&self, model: Option<&str>, wanted: &[Capabilities]) -> Result<String, ApiError> {
        let Some(model) = model.filter(|model| !model.is_empty()) else { return self.only(wanted) };
        let names = [Some(model), model.strip_suffix(":latest")];
        let can = |key: &&str| wanted.iter().any(|capability| self.can(key, *capability));
        if let Some(key) = names.into_iter().flatten().find(can) {
            return Ok(key.to_owned());
        }
        match names.into_iter().flatten().map(|key| self.abilities(key)).find(|does| !does.is_empty()) {
            Some(does) => {
                let shown: String = model.chars().take(128).collect();
                let message = format!("{shown} does {}, not {}", listed(&does), listed(wanted));
                Err(ApiError::invalid("model", message).code("model_not_capable"))
            }
            None => Err(ApiError::no_model(model)),
        }
    }

    fn only(&self, wanted: &[Capabilities]) -> Result<String, ApiError> {
        let keys = self.keys();
        let mut able = keys.into_iter().filter(|(_, does)| wanted.iter().any(|it| does.contains(it)));
        match (able.next(), able.next()) {
            (Some((key, _)), None) => Ok(key),
            (None, _) => {
                let message = format!("no model here does {}", listed(wanted));
                Err(ApiError::invalid("model", message).code("model_not_found"))
            }
            (Some(_), Some(_)) => {
                let message = format!("several models do {}: name one", listed(wanted));
                Err(ApiError::invalid("model", message))
            }
        }
    }
}

fn listed(capabilities: &[Capabilities]) -> String {
    capabilities.iter().map(|capability| capability.name()).collect::<Vec<_>>().join(" and ")
}
