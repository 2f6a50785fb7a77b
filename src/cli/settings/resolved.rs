//! From settings to what the library takes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Flaw, Origin};
use super::value::Value;
use super::{ModelEntry, Settings, Sourced};
use crate::capability::Capabilities;
use crate::id::ByteSize;
use crate::kernels::{Dtype, KvFormat};
use crate::memory::MemoryBudget;
use crate::server::{ApiKeys, ServerConfig};
use crate::weights::gguf::Quantization;
use crate::weights::read_bounded;

/// No file of keys is longer.
const LONGEST_KEYS: ByteSize = ByteSize::kib(64);

/// A model to serve, and how.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct ModelSettings {
    pub(in crate::cli) key: String,
    /// For what; everything that it can do, where nobody says.
    pub(in crate::cli) capability: Option<Capabilities>,
    pub(in crate::cli) source: String,
    pub(in crate::cli) workers: Workers,
    pub(in crate::cli) threads: Option<NonZeroUsize>,
    pub(in crate::cli) dtype: Dtype,
    pub(in crate::cli) quantize: Option<Quantization>,
    pub(in crate::cli) kv_format: Option<KvFormat>,
    pub(in crate::cli) cache_tokens: Option<usize>,
    pub(in crate::cli) keep_alive: Duration,
    pub(in crate::cli) queue: usize,
    /// Requests a second, and at once after a pause.
    pub(in crate::cli) rate_limit: Option<(f64, u32)>,
    pub(in crate::cli) preload: bool,
    pub(in crate::cli) pin: bool,
}

/// How many workers; what is not said is the engine's to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Workers {
    pub(in crate::cli) exactly: Option<usize>,
    pub(in crate::cli) least: Option<usize>,
    pub(in crate::cli) most: Option<usize>,
}

/// What settings hold, by their names. The table of names says of which kind each is.
struct Reading<'a>(Lookup<'a>);

type Lookup<'a> = Box<dyn Fn(&str) -> Option<&'a Sourced> + 'a>;

impl<'a> Reading<'a> {
    fn origin(&self, name: &str) -> Origin {
        (self.0)(name).map_or(Origin::Default, |sourced| sourced.origin.clone())
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        match &(self.0)(name)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn texts(&self, name: &str) -> &'a [String] {
        match (self.0)(name).map(|sourced| &sourced.value) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    fn switch(&self, name: &str) -> bool {
        matches!((self.0)(name), Some(Sourced { value: Value::Switch(true), .. }))
    }

    fn number(&self, name: &str) -> Option<usize> {
        match (self.0)(name)?.value {
            Value::Number(number) => Some(usize::try_from(number).unwrap_or(usize::MAX)),
            _ => None,
        }
    }

    fn real(&self, name: &str) -> Option<f64> {
        match (self.0)(name)?.value {
            Value::Real(number) => Some(number),
            _ => None,
        }
    }

    fn size(&self, name: &str) -> Option<ByteSize> {
        match (self.0)(name)?.value {
            Value::Size(size) => Some(size),
            _ => None,
        }
    }

    fn time(&self, name: &str) -> Option<Duration> {
        match (self.0)(name)?.value {
            Value::Time(time) => Some(time),
            _ => None,
        }
    }
}

impl Settings {
    fn reading(&self) -> Reading<'_> {
        Reading(Box::new(|name| self.get(name)))
    }

    /// How the server behaves.
    pub(in crate::cli) fn server_config(&self) -> Result<ServerConfig, Flaw> {
        let read = self.reading();
        let mut config = ServerConfig {
            bind: self.address(),
            keys: self.keys()?,
            insecure: read.switch("insecure"),
            hosts: read.texts("hosts").to_vec(),
            fetch_images: read.switch("fetch_images"),
            ..ServerConfig::default()
        };
        let limits = &mut config.limits;
        set(&mut limits.body, read.size("max_body"));
        set(&mut limits.head, read.size("max_head"));
        set(&mut limits.headers, read.number("max_headers"));
        set(&mut limits.depth, read.number("max_depth"));
        set(&mut limits.pieces, read.number("max_pieces"));
        set(&mut limits.connections, read.number("max_connections"));
        set(&mut limits.head_timeout, read.time("head_timeout"));
        set(&mut limits.body_timeout, read.time("body_timeout"));
        set(&mut limits.write_timeout, read.time("write_timeout"));
        set(&mut config.request_timeout, read.time("request_timeout"));
        set(&mut config.drain_timeout, read.time("drain_timeout"));
        config.check().map_err(|source| Flaw::Exposed { at: read.origin("bind"), source })?;
        Ok(config)
    }

    /// Where the server listens, or is to be found.
    pub(in crate::cli) fn address(&self) -> SocketAddr {
        let read = self.reading();
        let ip = read.text("bind").and_then(|text| text.parse().ok());
        let port = read.number("port").and_then(|port| u16::try_from(port).ok());
        SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port.unwrap_or(ServerConfig::PORT))
    }

    /// A key that opens the server, for those who call it.
    pub(in crate::cli) fn first_key(&self) -> Option<String> {
        self.key_texts().ok()?.into_iter().next().map(|(_, key)| key)
    }

    fn keys(&self) -> Result<ApiKeys, Flaw> {
        let texts = self.key_texts()?;
        // One by one, so that the error can say where it stands.
        for (at, key) in &texts {
            ApiKeys::new([key.as_str()]).map_err(|source| Flaw::WeakKey { at: at.clone(), source })?;
        }
        let origin = || self.reading().origin("api_key");
        ApiKeys::new(texts.iter().map(|(_, key)| key.as_str()))
            .map_err(|source| Flaw::WeakKey { at: origin(), source })
    }

    /// The keys as they were written, and where.
    fn key_texts(&self) -> Result<Vec<(Origin, String)>, Flaw> {
        let read = self.reading();
        let said = read.texts("api_key").iter().map(|key| (read.origin("api_key"), key.clone()));
        let mut keys: Vec<_> = said.collect();
        let Some(file) = read.text("api_key_file") else { return Ok(keys) };
        let unreadable = |source| Flaw::Unreadable { file: file.to_owned(), source };
        let bytes = read_bounded(Path::new(file), LONGEST_KEYS).map_err(unreadable)?;
        let bytes = bytes.ok_or_else(|| Flaw::TooLong { file: file.to_owned(), limit: LONGEST_KEYS })?;
        for (index, line) in String::from_utf8_lossy(&bytes).lines().map(str::trim).enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                keys.push((Origin::File { file: file.into(), line: index + 1 }, line.to_owned()));
            }
        }
        Ok(keys)
    }

    /// The folder that short names are looked up in, if one is named.
    pub(in crate::cli) fn catalog(&self) -> Option<PathBuf> {
        self.reading().text("catalog").map(PathBuf::from)
    }

    /// The memory that models may take.
    pub(in crate::cli) fn budget(&self) -> MemoryBudget {
        let fraction = self.reading().real("memory_fraction").unwrap_or(MemoryBudget::DEFAULT_FRACTION);
        MemoryBudget::capped(fraction, self.memory_cap())
    }

    /// And at most so much, whatever the machine has.
    pub(in crate::cli) fn memory_cap(&self) -> ByteSize {
        self.reading().size("memory").unwrap_or(ByteSize::MAX)
    }

    /// How one model is to be served.
    pub(in crate::cli) fn of_model(&self, model: &ModelEntry) -> Result<ModelSettings, Flaw> {
        let read = Reading(Box::new(|name| self.get_for(model, name)));
        let workers = workers(&read, &|name| model.own.contains_key(name))?;
        let source = match &model.source.value {
            Value::Text(source) => source.clone(),
            other => other.to_string(),
        };
        Ok(ModelSettings {
            key: model.key.clone(),
            capability: model.capability,
            source,
            ..told(&read, workers)
        })
    }

    /// How models are to be served that nothing else is said of.
    pub(in crate::cli) fn for_all(&self) -> Result<ModelSettings, Flaw> {
        let read = self.reading();
        Ok(told(&read, workers(&read, &|_| false)?))
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn told(read: &Reading<'_>, workers: Workers) -> ModelSettings {
    let burst = read.number("rate_burst").and_then(|burst| u32::try_from(burst).ok());
    ModelSettings {
        key: String::new(),
        capability: None,
        source: String::new(),
        workers,
        threads: read.number("threads").and_then(NonZeroUsize::new),
        dtype: read.text("dtype").and_then(|name| name.parse().ok()).unwrap_or_default(),
        quantize: read.text("quantize").and_then(|name| name.parse().ok()),
        kv_format: read.text("kv_cache").and_then(|name| {
            KvFormat::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, format)| format)
        }),
        cache_tokens: read.number("cache_tokens"),
        keep_alive: read.time("keep_alive").unwrap_or(Duration::MAX),
        queue: read.number("queue").unwrap_or_default(),
        rate_limit: read.real("rate_limit").map(|rate| (rate, burst.unwrap_or(1))),
        preload: read.switch("preload"),
        pin: read.switch("pin"),
    }
}

/// So many, or from so many to so many: of the two, that which is said where it counts more. `own` tells what a
/// model's own table says, which counts most.
fn workers(read: &Reading<'_>, own: &dyn Fn(&str) -> bool) -> Result<Workers, Flaw> {
    let (exactly, least, most) =
        (read.number("workers"), read.number("min_workers"), read.number("max_workers"));
    let weight = |name: &str| (own(name), read.origin(name).weight());
    let bounds = Workers { exactly: None, least, most };
    let together = |name, other, why| Err(Flaw::Together { at: read.origin(name), name, other, why });
    let bound = if weight("max_workers") > weight("min_workers") { "max_workers" } else { "min_workers" };
    match (exactly, least.or(most)) {
        (Some(_), Some(_)) if weight("workers") == weight(bound) => {
            together("workers", bound, "it is exactly so many, or from so many to so many")
        }
        (Some(_), None) => Ok(Workers { exactly, ..Workers::default() }),
        (Some(_), Some(_)) if weight("workers") > weight(bound) => {
            Ok(Workers { exactly, ..Workers::default() })
        }
        _ if least.zip(most).is_some_and(|(least, most)| least > most) => {
            together("min_workers", "max_workers", "the one is more than the other")
        }
        _ => Ok(bounds),
    }
}
