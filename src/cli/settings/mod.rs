//! What the server is told: flags over environment over one file over defaults, by the same names everywhere. What
//! a model's own table in the file says goes before all of them, for that model.
//!
//! [`names`] has every setting there is. A value keeps where it was written ([`Origin`]), so that `millpond config
//! print` can say it and an error can name it. Everything is read and checked before anything is done, and all that
//! is wrong is told at once.

mod args;
mod error;
mod file;
mod names;
mod resolved;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) use args::SettingArgs;
pub(super) use error::{Flaw, Flaws, Origin};
pub(super) use names::{ALL, About, Setting};
pub(super) use resolved::ModelSettings;
pub(super) use value::{Value, in_words, quoted};

use crate::capability::Capabilities;

/// No name of a model is longer, in bytes.
const LONGEST_KEY: usize = 256;

/// Values by the names of their settings.
type Values = BTreeMap<&'static str, Sourced>;

/// A value, and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sourced {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A model that somebody wants served.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelEntry {
    /// For what; everything that it can do, where nobody says.
    pub(super) capability: Option<Capabilities>,
    /// The name that requests call it by.
    pub(super) key: String,
    /// Where it was written.
    pub(super) at: Origin,
    /// What it is.
    pub(super) source: Sourced,
    /// What is said of it alone.
    own: Values,
    /// By which models of a file are ordered.
    line: usize,
}

impl ModelEntry {
    /// What is said of it alone.
    pub(super) fn own(&self) -> impl Iterator<Item = (&'static str, &Sourced)> {
        self.own.iter().map(|(name, value)| (*name, value))
    }
}

/// All that is set.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
    values: Values,
    /// What to serve.
    pub(super) models: Vec<ModelEntry>,
}

impl Settings {
    /// What `flags`, the environment and the file say together.
    ///
    /// # Errors
    ///
    /// All that is wrong with any of them.
    pub(super) fn load(flags: &SettingArgs) -> Result<Self, Flaws> {
        Self::load_with(flags, &|name| std::env::var(name).ok())
    }

    /// As [`load`](Self::load), with `var` for the environment.
    fn load_with(flags: &SettingArgs, var: &dyn Fn(&str) -> Option<String>) -> Result<Self, Flaws> {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let named = flags.config.clone().or_else(|| var("MILLPOND_CONFIG").map(PathBuf::from));
        let file = named.or_else(|| file::find(&var));
        Self::merge(flags, &var, file)
    }

    /// As [`load`](Self::load), from this file and no other.
    pub(super) fn load_file(flags: &SettingArgs, file: &Path) -> Result<Self, Flaws> {
        Self::load(&SettingArgs { config: Some(file.to_owned()), ..flags.clone() })
    }

    /// As [`load`](Self::load), from a file's text alone, which is right.
    #[cfg(test)]
    pub(super) fn load_text(text: &str) -> Self {
        let mut flaws = Vec::new();
        let file::Written { values, models } = file::parse(text, "m.toml", &mut flaws);
        assert!(flaws.is_empty(), "{flaws:?}");
        Self { file: None, values: defaults().into_iter().chain(values).collect(), models }
    }

    fn merge(
        args: &SettingArgs,
        var: &dyn Fn(&str) -> Option<String>,
        file: Option<PathBuf>,
    ) -> Result<Self, Flaws> {
        let mut flaws = Vec::new();
        let written = file.as_deref().map(|path| file::read(path, &mut flaws)).unwrap_or_default();
        let mut settings = Self { file, values: defaults(), models: written.models };
        settings.values.extend(written.values);
        settings.values.extend(of_environment(var, &mut flaws));
        settings.values.extend(args.values.clone());
        let flag = Origin::Flag("model".to_owned());
        let variable = Origin::Variable("MILLPOND_MODEL".to_owned());
        let in_variable = var("MILLPOND_MODEL").unwrap_or_default();
        let in_variable = in_variable.split(',').map(str::trim).filter(|model| !model.is_empty());
        // Who names models on the command line does not mean those of the environment.
        if args.models.is_empty() {
            in_variable.for_each(|model| settings.add(model, &variable));
        } else {
            args.models.iter().for_each(|model| settings.add(model, &flag));
        }
        settings.check(&mut flaws);
        if flaws.is_empty() { Ok(settings) } else { Err(Flaws(flaws)) }
    }

    /// Adds `[KEY=]SOURCE`; a model of the file that has the name becomes this one. A path that is there is a source,
    /// whatever it has in it.
    fn add(&mut self, model: &str, origin: &Origin) {
        let (key, source) = match model.split_once('=') {
            Some((key, source)) if !key.is_empty() && !source.is_empty() && !Path::new(model).exists() => {
                (key.to_owned(), source)
            }
            _ => (key_of(model), model),
        };
        let source = Sourced { value: Value::Text(source.to_owned()), origin: origin.clone() };
        let mut in_file = false;
        let of_file = |entry: &&mut ModelEntry| entry.key == key && matches!(entry.at, Origin::File { .. });
        self.models.iter_mut().filter(of_file).for_each(|entry| {
            entry.source = source.clone();
            in_file = true;
        });
        if !in_file {
            let (at, own, line) = (origin.clone(), Values::new(), usize::MAX);
            self.models.push(ModelEntry { capability: None, key, at, source, own, line });
        }
    }

    fn check(&self, flaws: &mut Vec<Flaw>) {
        for (index, model) in self.models.iter().enumerate() {
            let same = |other: &&ModelEntry| {
                let overlap = match (other.capability, model.capability) {
                    (Some(other), Some(this)) => other == this,
                    _ => true,
                };
                other.key == model.key && overlap
            };
            if let Some(before) = self.models[..index].iter().find(same) {
                let (at, before, key) = (model.at.clone(), before.at.clone(), model.key.clone());
                flaws.push(Flaw::Twice { at, before, key });
            }
            flaws.extend(unusable(&model.key, &model.at));
            flaws.extend(self.of_model(model).err());
        }
        // What all models are told may be wrong without any model.
        flaws.extend(self.for_all().err().filter(|_| self.models.is_empty()));
        flaws.extend(self.server_config().err());
    }

    /// What holds of this setting.
    pub(super) fn get(&self, name: &str) -> Option<&Sourced> {
        self.values.get(name)
    }

    /// What holds of this setting for `model`.
    pub(super) fn get_for<'a>(&'a self, model: &'a ModelEntry, name: &str) -> Option<&'a Sourced> {
        model.own.get(name).or_else(|| self.get(name))
    }
}

/// What is wrong with a name that requests shall call a model by.
fn unusable(key: &str, at: &Origin) -> Option<Flaw> {
    let usable = (1..=LONGEST_KEY).contains(&key.len()) && !key.chars().any(char::is_control);
    (!usable).then(|| Flaw::Value {
        at: at.clone(),
        name: "the name of a model".to_owned(),
        found: "unusable".to_owned(),
        expected: format!("1 to {LONGEST_KEY} characters"),
    })
}

fn defaults() -> Values {
    let known = ALL.iter().filter_map(|setting| Some((setting.name, setting.default_value()?)));
    known.map(|(name, value)| (name, Sourced { value, origin: Origin::Default })).collect()
}

fn of_environment(var: &dyn Fn(&str) -> Option<String>, flaws: &mut Vec<Flaw>) -> Values {
    let mut values = Values::new();
    for setting in ALL {
        let variable = setting.variable();
        let Some(text) = var(&variable) else { continue };
        let origin = Origin::Variable(variable);
        match setting.kind.of_text(&text) {
            Some(value) => drop(values.insert(setting.name, Sourced { value, origin })),
            None => flaws.push(Flaw::value(origin, setting.name.to_owned(), setting, &text)),
        }
    }
    values
}

/// What a model is called where nobody gives it a name: a folder or a file by its own, a name of the catalog by
/// that, and one on the hub without its revision.
fn key_of(source: &str) -> String {
    let path = Path::new(source);
    let is_gguf = path.extension().is_some_and(|extension| extension == "gguf");
    let is_path = path.exists() || source.starts_with(['.', '/']) || is_gguf;
    let named = || if is_gguf { path.file_stem() } else { path.file_name() };
    let name = if is_path {
        let absolute = path.canonicalize().ok();
        let own = named().map(|name| name.to_string_lossy().into_owned());
        own.or_else(|| Some(absolute?.file_name()?.to_string_lossy().into_owned()))
    } else {
        source.split('@').next().map(str::to_owned)
    };
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| source.to_owned())
}
