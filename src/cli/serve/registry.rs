//! The models that are served, and how they change while they are.

use crate::capability::Capabilities;
use crate::cli::catalogs::{CatalogArgs, Found, Named};
use crate::cli::failure::Failure;
use crate::cli::progress::Downloads;
use crate::cli::settings::{ALL, About, Flaws, ModelSettings, SettingArgs, Settings};
use crate::engine::{Cores, ModelOptions};
use crate::id::{ByteSize, RegistryKey};
use crate::pool::{KeyConfig, RateLimit};
use crate::server::{App, Listing, Offer};
use crate::weights::{Hub, HubConfig, ModelFiles};

use super::changes::{Change, Served, between, is_same_model};

/// What is served where nobody names a model.
const SHIPPED: [&str; 5] = ["shapes-embed", "shapes-llm", "shapes-clip", "shapes-llava", "shapes-diffusion"];

/// What an app serves, and by which settings.
pub(super) struct Registry {
    app: App,
    settings: Settings,
    served: Vec<Served>,
}

/// A model whose files are here.
struct Fetched {
    files: ModelFiles,
    listing: Listing,
}

impl Registry {
    /// Makes known what the settings name, fetched if need be.
    pub(super) fn new(app: App, settings: Settings) -> Result<Self, Failure> {
        let mut registry = Self { app, settings: settings.clone(), served: Vec::new() };
        registry.apply(settings)?;
        Ok(registry)
    }

    /// How many models there are, each counted once.
    pub(super) fn models(&self) -> usize {
        self.app.keys().len()
    }

    /// Whether nobody has named one.
    pub(super) fn serves_the_shipped(&self) -> bool {
        self.settings.models.is_empty()
    }

    /// Loads what is to be loaded before anybody asks for it.
    pub(super) fn preload(&self) -> impl FnOnce() + Send + 'static {
        let wanted = self.served.iter().filter(|served| served.settings.preload);
        let wanted: Vec<_> = wanted.map(|served| (served.settings.key.clone(), served.capability)).collect();
        let app = self.app.clone();
        move || {
            for (key, capability) in wanted {
                match app.engine().preload(&key, capability) {
                    Ok(()) => tracing::info!(?key, %capability, "preloaded"),
                    Err(error) => tracing::error!(?key, %error, "not preloaded"),
                }
            }
        }
    }

    /// Reads the settings again. What is wrong with them is logged, and then all stays as it was.
    pub(super) fn reload(&mut self, flags: &SettingArgs) {
        match Settings::load(flags).map_err(Failure::from).and_then(|settings| self.apply(settings)) {
            Ok(()) => {
                tracing::info!(models = self.models(), "the settings were read again");
                self.preload()();
            }
            Err(Failure::Settings(Flaws(all))) => {
                for wrong in all {
                    tracing::error!(%wrong, "the settings stay as they were");
                }
            }
            Err(failure) => tracing::error!(%failure, "the settings stay as they were"),
        }
    }

    /// Serves what `settings` name, and no longer what they do not. All is found and read before the first thing
    /// changes.
    fn apply(&mut self, settings: Settings) -> Result<(), Failure> {
        let catalog = CatalogArgs::of(settings.catalog());
        let hub = Hub::new(HubConfig::from_env());
        let mut after = Vec::new();
        let mut fetched = Vec::new();
        for model in models_of(&settings)? {
            let old = |served: &&Served| {
                served.settings.key == model.key
                    && served.settings.capability == model.capability
                    && is_same_model(&served.settings, &model)
            };
            let does: Vec<_> = self.served.iter().filter(old).map(|served| served.capability).collect();
            let does = if does.is_empty() {
                let found = fetch(&model, &catalog, &hub)?;
                let does = what_it_does(&model, &found.files)?;
                fetched.push((model.clone(), found));
                does
            } else {
                does
            };
            after.extend(does.into_iter().map(|capability| Served { settings: model.clone(), capability }));
        }
        self.change(&after, fetched)?;
        self.offer(&catalog);
        self.settle(&settings);
        (self.served, self.settings) = (after, settings);
        Ok(())
    }

    /// Lets the models of the catalog be pulled by their names, and no others.
    fn offer(&self, catalog: &CatalogArgs) {
        let named = match catalog.open() {
            Ok(named) => named.into_all(),
            Err(failure) => {
                tracing::warn!(%failure, "the names that can be pulled stay as they were");
                return;
            }
        };
        let offers = named.into_iter().map(|Named { source, manifest }| {
            let (license, description) = (Some(manifest.license), Some(manifest.description));
            (manifest.name, Offer { source, license, description })
        });
        self.app.directory().offer(offers);
    }

    fn change(&self, after: &[Served], fetched: Vec<(ModelSettings, Fetched)>) -> Result<(), Failure> {
        let engine = self.app.engine();
        let changes = between(&self.served, after);
        let files =
            |of: &ModelSettings| fetched.iter().find(|(model, _)| model == of).map(|(_, found)| &found.files);
        let mut registrations = Vec::new();
        for change in &changes {
            if let Change::Put(Served { settings, capability }) = change
                && let Some(files) = files(settings)
            {
                let (key, config) =
                    (RegistryKey::from(&settings.key), self.key_config(settings, *capability));
                registrations.push(engine.prepare(&key, files, *capability, config, options(settings))?);
            }
        }
        // From here on nothing fails.
        registrations.into_iter().for_each(|register| register());
        for change in changes {
            let done = match change {
                Change::Put(_) => Ok(()),
                Change::Configure(Served { settings, capability }) => {
                    engine.configure(&settings.key, *capability, self.key_config(settings, *capability))
                }
                Change::Remove(Served { settings, capability }) => {
                    engine.unregister(&settings.key, *capability)
                }
            };
            if let Err(error) = done {
                tracing::error!(%error, "a model could not be changed");
            }
        }
        let directory = self.app.directory();
        let gone = |old: &&Served| !after.iter().any(|served| served.settings.key == old.settings.key);
        self.served.iter().filter(gone).for_each(|old| directory.remove(&old.settings.key));
        fetched.into_iter().for_each(|(model, found)| directory.put(model.key, found.listing));
        Ok(())
    }

    /// What beside models can change under way does, and what cannot is told.
    fn settle(&self, settings: &Settings) {
        if settings.memory_cap() != self.settings.memory_cap() {
            self.app.engine().budget().set_cap(settings.memory_cap());
        }
        let value = |of: &Settings, name: &str| of.get(name).map(|sourced| sourced.value.clone());
        let fixed = |setting: &&crate::cli::settings::Setting| {
            setting.about != About::Model
                && !matches!(setting.name, "memory" | "catalog" | "api_key" | "api_key_file")
        };
        let differs = |name: &str| value(settings, name) != value(&self.settings, name);
        for setting in ALL.iter().filter(fixed).filter(|setting| differs(setting.name)) {
            tracing::warn!(setting = setting.name, "will hold when the server is started again");
        }
        // Whether they stand in the settings or in a file that these name.
        if settings.server_config().is_ok_and(|config| config.keys != self.app.config().keys) {
            tracing::warn!(
                "other API keys will hold when the server is started again: until then those that were taken out \
                 still open it"
            );
        }
    }

    /// What its pool is told of a model.
    fn key_config(&self, model: &ModelSettings, capability: Capabilities) -> KeyConfig {
        let mut config = self.app.engine().key_config(capability);
        if let (Some(threads), Capabilities::TextEmbedding | Capabilities::ImageEmbedding) =
            (model.threads, capability)
        {
            config.max_workers = Cores::available().embedding_on(threads).max_workers;
        }
        let workers = model.workers;
        if let Some(exactly) = workers.exactly {
            // As many as that once it is loaded; unloaded when idle all the same.
            (config.initial_workers, config.max_workers) = (exactly, exactly);
        }
        if let Some(most) = workers.most {
            config.max_workers = most;
        }
        if let Some(least) = workers.least {
            config.min_workers = least;
            config.max_workers = config.max_workers.max(least);
        }
        config.initial_workers = config.initial_workers.clamp(1, config.max_workers).max(config.min_workers);
        config.rate_limit = model.rate_limit.map(|(rate, burst)| RateLimit::per_second(rate).burst(burst));
        (config.queue_capacity, config.keep_alive, config.pinned) =
            (model.queue, model.keep_alive, model.pin);
        config.request_timeout = self.app.config().request_timeout;
        config
    }
}

/// What is to be served: what is named, else what ships.
fn models_of(settings: &Settings) -> Result<Vec<ModelSettings>, Flaws> {
    if settings.models.is_empty() {
        let all = settings.for_all()?;
        let named =
            |name: &str| ModelSettings { key: name.to_owned(), source: name.to_owned(), ..all.clone() };
        return Ok(SHIPPED.map(named).into());
    }
    Ok(settings.models.iter().map(|model| settings.of_model(model)).collect::<Result<_, _>>()?)
}

fn options(model: &ModelSettings) -> ModelOptions {
    let ModelSettings { dtype, quantize, kv_format, cache_tokens, threads, .. } = *model;
    ModelOptions { dtype, quantize, cache_tokens, kv_format, threads }
}

/// The model's files, brought from the hub if need be, with a bar for each.
fn fetch(model: &ModelSettings, catalog: &CatalogArgs, hub: &Hub) -> Result<Fetched, Failure> {
    let failed = |source: Failure| Failure::Model { at: model.key.clone(), source: Box::new(source) };
    let Found { source, manifest } = catalog.find(&model.source).map_err(failed)?;
    let files = source.resolve_with(hub, &Downloads::default());
    let files = files.map_err(|error| failed(crate::Error::from(error).into()))?;
    let size: ByteSize = match &files {
        ModelFiles::Folder(folder) => folder.size_on_disk(),
        ModelFiles::Gguf(file) => file.size_on_disk(),
    };
    // A path is nobody's business but the one's who wrote it.
    let name = match (&manifest, &source) {
        (Some(manifest), _) => manifest.name.clone(),
        (None, crate::weights::ModelSource::Hub(id)) => id.to_string(),
        (None, _) => model.key.clone(),
    };
    let mut listing = Listing::new(name, size);
    if let Some(manifest) = manifest {
        (listing.license, listing.description) = (Some(manifest.license), Some(manifest.description));
    }
    Ok(Fetched { files, listing })
}

/// For what the model is served: what is asked for, else everything it can do.
fn what_it_does(model: &ModelSettings, files: &ModelFiles) -> Result<Vec<Capabilities>, Failure> {
    let (does, besides) = Capabilities::all(files)?;
    let able: Vec<_> = std::iter::once(does).chain(besides).collect();
    match model.capability {
        None => Ok(able),
        Some(wanted) if able.contains(&wanted) => Ok(vec![wanted]),
        Some(wanted) => Err(Failure::WrongCapability {
            model: model.key.clone(),
            does: does.to_string(),
            wanted: wanted.to_string(),
        }),
    }
}
