//! The settings as a file with remarks, and as lines of JSON.

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::settings::{ALL, About, ModelEntry, Origin, Settings, Sourced, Value, in_words, quoted};

/// Where the remarks begin.
const REMARKS: usize = 40;

/// One setting, as `--json` prints it.
#[derive(Serialize)]
pub(super) struct Line {
    /// `models.CAPABILITY.KEY.NAME` for what is said of one model.
    name: String,
    /// Nothing where nothing is set, or where it is secret.
    value: Json,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
    origin: &'static str,
    /// The line of the file, the variable, or the flag.
    at: Option<String>,
}

/// All settings, then what is said of each model.
pub(super) fn lines(settings: &Settings) -> impl Iterator<Item = Line> {
    let general = ALL.iter().map(|setting| {
        let sourced = settings.get(setting.name);
        line(setting.name.to_owned(), sourced, setting.is_secret())
    });
    let of_models = settings.models.iter().flat_map(move |model| {
        let path = path_of(model);
        let own = model.own().map(|(name, sourced)| (name, Some(sourced)));
        std::iter::once(("source", Some(&model.source)))
            .chain(own)
            .map(move |(name, sourced)| line(format!("{path}.{name}"), sourced, false))
    });
    general.chain(of_models)
}

fn line(name: String, sourced: Option<&Sourced>, secret: bool) -> Line {
    let origin = sourced.map_or(Origin::Default, |sourced| sourced.origin.clone());
    let value = sourced.filter(|_| !secret).map_or(Json::Null, |sourced| as_json(&sourced.value));
    let at = Some(&origin).filter(|origin| **origin != Origin::Default).map(ToString::to_string);
    Line { name, value, secret: secret && sourced.is_some(), origin: origin.kind(), at }
}

fn as_json(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::Texts(texts) => json!(texts),
        Value::Switch(on) => json!(on),
        Value::Number(number) => json!(number),
        Value::Real(number) => json!(number),
        Value::Size(size) => json!(size),
        Value::Time(time) => json!(in_words(*time)),
    }
}

/// A file that could be read again; where each value comes from is a remark.
pub(super) fn print(output: &mut Output, settings: &Settings) -> Result<(), Failure> {
    let mut about = None;
    for setting in ALL {
        if about.replace(setting.about) != Some(setting.about) {
            output.line(match setting.about {
                About::Server => "# The server",
                About::Memory => "\n# Memory",
                About::Model => "\n# Each model that says nothing else itself",
            })?;
        }
        let written = match settings.get(setting.name) {
            Some(sourced) if setting.is_secret() => {
                remark(&format!("# {} is set and not shown", setting.name), &sourced.origin.to_string())
            }
            Some(sourced) => assignment(setting.name, sourced),
            None => remark(&format!("# {} =", setting.name), "not set"),
        };
        output.line(written)?;
    }
    for model in &settings.models {
        output.line(format_args!("\n[{}]", path_of(model)))?;
        output.line(assignment("source", &model.source))?;
        model.own().try_for_each(|(name, sourced)| output.line(assignment(name, sourced)))?;
    }
    Ok(())
}

fn assignment(name: &str, sourced: &Sourced) -> String {
    remark(&format!("{name} = {}", sourced.value), &sourced.origin.to_string())
}

fn remark(left: &str, right: &str) -> String {
    format!("{left:<REMARKS$}  # {right}")
}

/// The model's table.
fn path_of(model: &ModelEntry) -> String {
    let does = model.capability.map_or("auto", crate::capability::Capabilities::name);
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let key = if model.key.chars().all(bare) { model.key.clone() } else { quoted(&model.key) };
    format!("models.{does}.{key}")
}
