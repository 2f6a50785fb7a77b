//! The settings as flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::StringValueParser;
use clap::builder::TypedValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};

use super::error::Origin;
use super::names::{self, About, Setting};
use super::value::{Kind, Value};
use super::{Sourced, Values};

/// What the command line says of settings: a flag for each, made from their table.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct SettingArgs {
    /// The file that was named.
    pub(super) config: Option<PathBuf>,
    /// `KEY=SOURCE`, or a source alone.
    pub(super) models: Vec<String>,
    pub(super) values: Values,
}

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        let config =
            Arg::new("config").long("config").value_name("FILE").value_parser(value_parser!(PathBuf)).help(
                "Read settings from this TOML file [env: MILLPOND_CONFIG; default: ./millpond.toml, else \
             ~/.config/millpond/config.toml, if there]",
            );
        let models = Arg::new("model")
            .short('m')
            .long("model")
            .value_name("[KEY=]MODEL")
            .action(ArgAction::Append)
            .help(
                "Serve this model, under the name KEY if that is given: a folder, a GGUF file, a name that `millpond \
                 list` shows, or org/name on the hub; may be given several times [env: MILLPOND_MODEL]",
            );
        let command = command.next_help_heading("What is served").arg(config).arg(models);
        names::ALL.iter().fold(command, |command, setting| {
            command.next_help_heading(heading(setting.about)).arg(flag(setting))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let config = matches.get_one::<PathBuf>("config").cloned();
        let models = matches.get_many::<String>("model").unwrap_or_default().cloned().collect();
        let mut values = BTreeMap::new();
        for setting in names::ALL {
            let said = matches.get_many::<Value>(setting.name).unwrap_or_default().cloned();
            if let Some(value) = said.reduce(both) {
                let origin = Origin::Flag(setting.flag());
                values.insert(setting.name, Sourced { value, origin });
            }
        }
        Ok(Self { config, models, values })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Lists add up; of other values the last counts.
fn both(before: Value, last: Value) -> Value {
    match (before, last) {
        (Value::Texts(mut all), Value::Texts(more)) => {
            all.extend(more);
            Value::Texts(all)
        }
        (_, last) => last,
    }
}

fn heading(about: About) -> &'static str {
    match about {
        About::Server => "The server",
        About::Memory => "Memory",
        About::Model => "Each model that its own table in the file says nothing else of",
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let default = match setting.default {
        "" => String::new(),
        default => format!("; default: {default}"),
    };
    let help = format!("{} [env: {}{default}]", setting.help, setting.variable());
    let arg = Arg::new(setting.name).long(setting.flag()).value_name(setting.kind.placeholder()).help(help);
    let arg = arg.value_parser(StringValueParser::new().try_map(|text| {
        setting.kind.of_text(&text).ok_or_else(|| format!("expected {}", setting.kind.expected()))
    }));
    match setting.kind {
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Texts => arg.action(ArgAction::Append),
        _ => arg,
    }
}
