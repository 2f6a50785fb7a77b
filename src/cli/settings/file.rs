//! The file: TOML with the settings at the top and a table for each model.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Flaw, Origin};
use super::names::{self, About, MODELS, SOURCE, Setting, nearest};
use super::{LONGEST_KEY, ModelEntry, Sourced, Values, unusable};
use crate::capability::Capabilities;
use crate::id::ByteSize;
use crate::weights::read_bounded;

/// No file is longer.
const LONGEST: ByteSize = ByteSize::mib(1);

/// Under which a model does whatever it can.
const AUTO: &str = "auto";

/// What a file says, as far as it can be understood.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) values: Values,
    pub(super) models: Vec<ModelEntry>,
}

/// The file that holds where nobody names one: in this folder, else among the user's settings.
pub(super) fn find(var: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let home = || Some(std::env::home_dir()?.join(".config"));
    let of_user = var("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from).or_else(home);
    let of_user = of_user.map(|folder| folder.join("millpond").join("config.toml"));
    let here = PathBuf::from("millpond.toml");
    std::iter::once(here).chain(of_user).find(|path| path.is_file())
}

/// Reads the file at `path`; what is wrong with it is added to `flaws`.
pub(super) fn read(path: &Path, flaws: &mut Vec<Flaw>) -> Written {
    let file = path.display().to_string();
    let invalid = |error| Error::new(ErrorKind::InvalidData, error);
    let text = match read_bounded(path, LONGEST) {
        Ok(Some(bytes)) => String::from_utf8(bytes).map_err(|error| invalid(error.utf8_error())),
        Ok(None) => {
            flaws.push(Flaw::TooLong { file, limit: LONGEST });
            return Written::default();
        }
        Err(error) => Err(error),
    };
    match text {
        Ok(text) => parse(&text, &file, flaws),
        Err(source) => {
            flaws.push(Flaw::Unreadable { file, source });
            Written::default()
        }
    }
}

/// What `text` says, which is that of `file`.
pub(super) fn parse(text: &str, file: &str, flaws: &mut Vec<Flaw>) -> Written {
    let before = flaws.len();
    let mut reader = Reader { text, file: Arc::from(file), flaws, written: Written::default() };
    match DeTable::parse(text) {
        Ok(table) => reader.top(table.get_ref()),
        Err(error) => {
            let at = reader.at(error.span().map_or(0, |span| span.start));
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            reader.flaws.push(Flaw::NotToml { at, message });
        }
    }
    let mut written = reader.written;
    // The order of the file, not of the names.
    written.models.sort_by_key(|model| model.line);
    flaws[before..].sort_by_key(Flaw::line);
    written
}

struct Reader<'a> {
    text: &'a str,
    file: Arc<str>,
    flaws: &'a mut Vec<Flaw>,
    written: Written,
}

/// A key and its value.
type Entry<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

impl Reader<'_> {
    fn at(&self, byte: usize) -> Origin {
        Origin::File { file: self.file.clone(), line: self.line(byte) }
    }

    /// The line of this byte, from 1.
    fn line(&self, byte: usize) -> usize {
        self.text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
    }

    fn top(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match (&**key.get_ref(), value.get_ref()) {
                (MODELS, DeValue::Table(models)) => self.models(models),
                (MODELS, other) => {
                    let expected = "tables such as [models.auto.NAME]".to_owned();
                    let (at, found) = (self.at(key.span().start), self.shown(value, other));
                    self.flaws.push(Flaw::Value { at, name: MODELS.to_owned(), found, expected });
                }
                _ => {
                    let known = || names::ALL.iter();
                    if let Some((name, value)) = self.value((key, value), "", known, "at the top of the file")
                    {
                        self.written.values.insert(name, value);
                    }
                }
            }
        }
    }

    /// The tables under `models`: by what they do, then by name.
    fn models(&mut self, table: &DeTable<'_>) {
        for (does, models) in table {
            let name = &**does.get_ref();
            let at = self.at(does.span().start);
            let capability = match name.parse::<Capabilities>() {
                Ok(capability) => Some(capability),
                Err(_) if name == AUTO => None,
                Err(_) => {
                    let known = Capabilities::ALL.map(Capabilities::name).into_iter().chain([AUTO]);
                    let nearest = near_capability(name, known);
                    self.flaws.push(Flaw::Capability { at, name: name.to_owned(), nearest });
                    continue;
                }
            };
            let expected = || "a table for each model, as in [models.auto.NAME]".to_owned();
            let Some(models) = self.table(models, &format!("{MODELS}.{name}"), at, &expected) else {
                continue;
            };
            for (key, model) in models {
                self.model(capability, (key, model));
            }
        }
    }

    fn model(&mut self, capability: Option<Capabilities>, (key, model): Entry<'_, '_>) {
        let name = &**key.get_ref();
        let path = format!("{}.{name}", capability.map_or(AUTO, Capabilities::name));
        let at = self.at(key.span().start);
        if let Some(flaw) = unusable(name, &at) {
            self.flaws.push(flaw);
            return;
        }
        let expected = || "a table with the model's source".to_owned();
        let Some(table) = self.table(model, &format!("{MODELS}.{path}"), at.clone(), &expected) else {
            return;
        };
        let (mut own, mut source) = (Values::new(), None);
        for entry in table {
            let known = || names::ALL.iter().filter(|setting| setting.about == About::Model).chain([&SOURCE]);
            match self.value(entry, &format!("{MODELS}.{path}."), known, "for a model") {
                Some((found, value)) if found == SOURCE.name => source = Some(value),
                Some((found, value)) => drop(own.insert(found, value)),
                None => {}
            }
        }
        let line = self.line(key.span().start);
        match source {
            Some(source) => {
                let key = name.to_owned();
                self.written.models.push(ModelEntry { capability, key, at, source, own, line });
            }
            // What stands in its place has been complained about.
            None if table.contains_key(SOURCE.name) => {}
            None => self.flaws.push(Flaw::NoSource { at, model: path }),
        }
    }

    /// The table that `value` is, or else a flaw.
    fn table<'v, 'i>(
        &mut self,
        value: &'v Spanned<DeValue<'i>>,
        name: &str,
        at: Origin,
        expected: &dyn Fn() -> String,
    ) -> Option<&'v DeTable<'i>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        let found = self.shown(value, value.get_ref());
        self.flaws.push(Flaw::Value { at, name: name.to_owned(), found, expected: expected() });
        None
    }

    /// One setting, called after `path`, or else a flaw.
    fn value<I: Iterator<Item = &'static Setting>>(
        &mut self,
        (key, value): Entry<'_, '_>,
        path: &str,
        known: impl Fn() -> I,
        place: &'static str,
    ) -> Option<(&'static str, Sourced)> {
        let name = &**key.get_ref();
        let at = self.at(key.span().start);
        let Some(setting) = known().find(|setting| setting.name == name) else {
            let known: Vec<_> = known().map(|setting| setting.name).collect();
            if !path.is_empty() && names::ALL.iter().any(|setting| setting.name == name) {
                self.flaws.push(Flaw::Misplaced { at, name: format!("{path}{name}") });
                return None;
            }
            let nearest = nearest(name, known.iter().copied());
            let name = format!("{path}{}", name.chars().take(LONGEST_KEY).collect::<String>());
            self.flaws.push(Flaw::Unknown { at, name, place, nearest, known });
            return None;
        };
        match setting.kind.of_toml(value.get_ref()) {
            Some(value) => Some((setting.name, Sourced { value, origin: at })),
            None => {
                let found = self.shown(value, value.get_ref());
                self.flaws.push(Flaw::value(at, format!("{path}{name}"), setting, &found));
                None
            }
        }
    }

    /// What the file has there, on one line.
    fn shown(&self, value: &Spanned<DeValue<'_>>, kind: &DeValue<'_>) -> String {
        if matches!(kind, DeValue::Table(_)) {
            return "a table".to_owned();
        }
        let text = self.text.get(value.span()).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Names of capabilities have dashes, and slips are looked for among names with underscores.
fn near_capability(wrong: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let known: Vec<(String, &'static str)> = known.map(|name| (name.replace('-', "_"), name)).collect();
    let nearest = nearest(wrong, known.iter().map(|(name, _)| name.as_str()))?.to_owned();
    known.into_iter().find(|(name, _)| *name == nearest).map(|(_, name)| name)
}
