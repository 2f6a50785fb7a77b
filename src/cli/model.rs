//! The arguments of every verb that loads a model, and what they lead to.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::catalogs::CatalogArgs;
use super::failure::Failure;
use super::loading;
use super::progress::Downloads;
use crate::arch::{DecoderPlan, VisionPlan};
use crate::engine::{Capabilities, Cores, Engine, ModelOptions};
use crate::id::ByteSize;
use crate::kernels::{Dtype, KvFormat};
use crate::memory::MemoryBudget;
use crate::pool::{KeyConfig, PoolConfig};
use crate::weights::gguf::Quantization;
use crate::weights::hub::Access;
use crate::weights::{Hub, HubConfig, ModelFiles, ModelFolder};

/// More workers or threads are a slip of the finger.
const MOST: usize = 1024;

/// Which model, and how to serve it.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// A model folder, a GGUF file, a name that `millpond list` shows, or org/name[@revision] on the hub.
    #[arg(short, long, value_name = "MODEL")]
    pub(super) model: String,
    /// What to keep weights in and multiply them in: `f32`, whatever the files hold; `bf16`, half the memory;
    /// or `auto`, which is bf16 where the processor is fastest at it.
    #[arg(long, env = "MILLPOND_DTYPE", value_name = "DTYPE", default_value_t = Dtype::Auto, value_parser = dtypes())]
    dtype: Dtype,
    /// Quantize the weights of a model that writes while they load: to `q8_0`, 8.5 bits each, or `q4_k`, 4.5
    /// bits. What a GGUF file has quantized already stays as it is.
    #[arg(long, env = "MILLPOND_QUANTIZE", value_name = "SCHEME", default_value = "none", value_parser = one_of("none", &Quantization::ALL))]
    quantize: Choice<Quantization>,
    /// What a model that writes keeps of texts under way: `f32`, as computed; `f16`, half the memory; or `auto`,
    /// which is f16 where most weights have 4 to 6 bits and so are rounded far more coarsely.
    #[arg(long, env = "MILLPOND_KV_CACHE", value_name = "FORMAT", default_value = "auto", value_parser = one_of("auto", &KvFormat::ALL))]
    kv_cache: Choice<KvFormat>,
    /// How many workers serve the model, each of which owns it. Default: 1 at first. When work piles up on a
    /// model that embeds, as many as the cores give K threads each, or 4 where K is not said; a model that
    /// writes answers many requests at once with 1.
    #[arg(long, env = "MILLPOND_WORKERS", value_name = "N", value_parser = count)]
    workers: Option<NonZeroUsize>,
    /// How many threads each worker computes on. Default: the cores divided by the most workers there may be.
    #[arg(long, env = "MILLPOND_THREADS", value_name = "K", value_parser = count)]
    threads: Option<NonZeroUsize>,
    /// Let models take at most so much memory, such as 512MiB. Default: 80 % of the machine's or the
    /// cgroup's.
    #[arg(long, env = "MILLPOND_MEMORY", value_name = "SIZE")]
    memory: Option<ByteSize>,
    #[command(flatten)]
    catalog: CatalogArgs,
    /// Whether the hub may be asked.
    #[arg(skip = Access::Online)]
    access: Access,
}

/// The names of [`Dtype::ALL`].
fn dtypes() -> impl TypedValueParser<Value = Dtype> {
    PossibleValuesParser::new(Dtype::ALL.map(|(name, _)| name)).try_map(|name| name.parse())
}

/// One of several things with names, or none of them.
#[derive(Clone, Copy, Debug)]
struct Choice<T>(Option<T>);

/// The names of `all`, and one for none of them.
fn one_of<T>(
    none: &'static str,
    all: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = Choice<T>>
where
    T: Copy + Send + Sync,
{
    let names = [none].into_iter().chain(all.iter().map(|(name, _)| *name));
    PossibleValuesParser::new(names)
        .map(|name| Choice(all.iter().find(|(known, _)| *known == name).map(|(_, found)| *found)))
}

/// A whole number that somebody can mean.
pub(super) fn count(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().and_then(NonZeroUsize::new).filter(|number| number.get() <= MOST);
    number.ok_or_else(|| format!("expected a whole number from 1 to {MOST}"))
}

impl ModelArgs {
    /// The model of this name, with nothing said of how to serve it, and from this machine alone.
    pub(super) fn cached(model: &str, catalog: CatalogArgs) -> Self {
        Self {
            model: model.to_owned(),
            dtype: Dtype::Auto,
            quantize: Choice(None),
            kv_cache: Choice(None),
            workers: None,
            threads: None,
            memory: None,
            catalog,
            access: Access::CacheOnly,
        }
    }

    /// The model's files, fetched if need be. Nothing is loaded.
    pub(super) fn files(&self) -> Result<ModelFiles, Failure> {
        let mut config = HubConfig::from_env();
        if self.access == Access::CacheOnly {
            config.access = Access::CacheOnly;
        }
        let hub = Hub::new(config);
        let files = self.catalog.find(&self.model)?.source.resolve_with(&hub, &Downloads::default());
        Ok(files.map_err(crate::Error::from)?)
    }

    /// An engine that serves the model under its name. It loads with the first request, or now and with a bar if that
    /// is worth one.
    ///
    /// # Errors
    ///
    /// [`Failure::WrongCapability`] unless it is a model that can do `wanted`.
    pub(super) fn engine(&self, files: ModelFiles, wanted: Capabilities) -> Result<Engine, Failure> {
        let (does, besides) = Capabilities::all(&files)?;
        if does != wanted && besides != Some(wanted) {
            let model = self.model.clone();
            return Err(Failure::WrongCapability {
                model,
                does: does.to_string(),
                wanted: wanted.to_string(),
            });
        }
        let config = self.config(wanted);
        let builder = Engine::builder().config(config.clone()).budget(self.budget());
        let engine = builder.threads_per_worker(self.threads(wanted)).build()?;
        engine.add_files_with(&self.model, files, KeyConfig::of(&config), self.options())?;
        loading::show(&engine, &self.model, wanted)?;
        Ok(engine)
    }

    /// What the files of a model that writes say of it.
    pub(super) fn decoder_plan(&self, files: &ModelFiles) -> Result<DecoderPlan, Failure> {
        Ok(DecoderPlan::of(files, self.options().into()).map_err(crate::Error::from)?)
    }

    /// What the folder of a model that sees says of it.
    pub(super) fn vision_plan(&self, folder: &ModelFolder) -> Result<VisionPlan, Failure> {
        Ok(VisionPlan::read(folder, self.options().into()).map_err(crate::Error::from)?)
    }

    /// How the model is to compute.
    pub(super) fn options(&self) -> ModelOptions {
        let Self { dtype, quantize: Choice(quantize), kv_cache: Choice(kv_format), .. } = *self;
        ModelOptions { dtype, quantize, kv_format, ..ModelOptions::default() }
    }

    /// The memory that models may take.
    pub(super) fn budget(&self) -> MemoryBudget {
        match self.memory {
            Some(most) => MemoryBudget::capped(MemoryBudget::DEFAULT_FRACTION, most),
            None => MemoryBudget::system(),
        }
    }

    /// How the pool behaves: as an engine's does, but with a user who waits and can press Ctrl-C.
    pub(super) fn config(&self, does: Capabilities) -> PoolConfig {
        let cores = Cores::available();
        let config = match (self.workers, self.threads, does) {
            (Some(workers), _, _) => cores.pool_of(does).workers(workers.get()),
            (None, Some(threads), Capabilities::TextEmbedding | Capabilities::ImageEmbedding) => {
                cores.embedding_on(threads)
            }
            _ => cores.pool_of(does),
        };
        config.request_timeout(Duration::MAX).queue_capacity(0)
    }

    /// How many threads each worker computes on.
    pub(super) fn threads(&self, does: Capabilities) -> NonZeroUsize {
        self.threads.unwrap_or_else(|| Cores::available().threads_each(self.config(does).max_workers))
    }
}
