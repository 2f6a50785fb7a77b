//! Who wins, where each value was written, and what is said of mistakes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};

use super::file;
use super::*;
use crate::server::ServerConfig;

/// What a command line, an environment and a file say together.
fn load(flags: &[&str], environment: &[(&str, &str)], text: Option<&str>) -> Result<Settings, Flaws> {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("millpond.toml");
    let mut flags = parse(flags);
    if let Some(text) = text {
        std::fs::write(&config, text).unwrap();
        flags.config = Some(config);
    } else {
        let empty = folder.path().join("empty.toml");
        std::fs::write(&empty, "").unwrap();
        flags.config = Some(empty);
    }
    let environment: BTreeMap<&str, &str> = environment.iter().copied().collect();
    Settings::load_with(&flags, &|name| environment.get(name).map(|value| (*value).to_owned()))
}

fn parse(flags: &[&str]) -> SettingArgs {
    let command = SettingArgs::augment_args(Command::new("serve").no_binary_name(true));
    SettingArgs::from_arg_matches(&command.try_get_matches_from(flags).unwrap()).unwrap()
}

/// The flaws of a file, with its name cut down to its last part.
fn flaws(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let written = file::parse(text, "m.toml", &mut found);
    if found.is_empty() {
        let settings = Settings { file: None, values: defaults(), models: written.models };
        let settings =
            Settings { values: settings.values.into_iter().chain(written.values).collect(), ..settings };
        settings.check(&mut found);
    }
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_defaults() {
    let file = "port = 1\nkeep_alive = \"1m\"\nworkers = 1\n";
    let environment = [("MILLPOND_PORT", "2"), ("MILLPOND_KEEP_ALIVE", "2m")];
    let settings = load(&["--port", "3"], &environment, Some(file)).unwrap();
    let table = [
        ("port", Some((Value::Number(3), "--port")), "flag"),
        ("keep_alive", Some((Value::Time(Duration::from_mins(2)), "MILLPOND_KEEP_ALIVE")), "environment"),
        ("workers", Some((Value::Number(1), "millpond.toml:3")), "file"),
        ("queue", Some((Value::Number(1000), "default")), "default"),
        ("threads", None, ""),
    ];
    for (name, expected, kind) in table {
        let got = settings.get(name);
        assert_eq!(got.map(|sourced| &sourced.value), expected.as_ref().map(|(value, _)| value), "{name}");
        if let (Some(got), Some((_, origin))) = (got, expected) {
            assert!(got.origin.to_string().ends_with(origin), "{name}: {}", got.origin);
            assert_eq!(got.origin.kind(), kind);
        }
    }
}

#[test]
fn every_setting_can_be_said_in_every_place() {
    for setting in ALL {
        let (text, in_file) = match setting.kind {
            value::Kind::Text => ("somewhere", "\"somewhere\""),
            value::Kind::Texts => ("one-key-of-many,other", "[\"one-key-of-many\", \"other\"]"),
            value::Kind::Address => ("::1", "\"::1\""),
            value::Kind::Switch => ("true", "true"),
            value::Kind::Number(..) => ("7", "7"),
            value::Kind::Size => ("8MiB", "\"8MiB\""),
            value::Kind::Time => ("7s", "\"7s\""),
            value::Kind::Share | value::Kind::Rate => ("0.5", "0.5"),
            value::Kind::Choice(names) => (names[1], ""),
        };
        let quoted = format!("{text:?}");
        let in_file = if in_file.is_empty() { &quoted } else { in_file };
        let flag = format!("--{}={text}", setting.flag());
        let from_flag = parse(&[&flag]).values.remove(setting.name).unwrap().value;
        let mut none = Vec::new();
        let variables = |name: &str| (name == setting.variable()).then(|| text.to_owned());
        let from_variable = of_environment(&variables, &mut none).remove(setting.name).unwrap().value;
        let written = format!("\n{} = {in_file}", setting.name);
        let mut read = file::parse(&written, "m.toml", &mut none);
        let from_file = read.values.remove(setting.name).unwrap();
        assert!(none.is_empty(), "{none:?}");
        assert_eq!((&from_flag, &from_variable), (&from_variable, &from_file.value), "{}", setting.name);
        assert_eq!(from_file.origin.to_string(), "m.toml:2");
    }
}

#[test]
fn defaults_are_those_of_the_library() {
    let settings = load(&[], &[], None).unwrap();
    let (ours, theirs) = (settings.server_config().unwrap(), ServerConfig::default());
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    assert_eq!(settings.memory_cap(), crate::ByteSize::MAX);
    let all = settings.for_all().unwrap();
    assert_eq!((all.dtype, all.quantize, all.kv_format), (crate::Dtype::Auto, None, None));
    assert_eq!(
        (all.keep_alive, all.queue, all.preload, all.pin),
        (Duration::from_mins(5), 1000, false, false)
    );
}

#[test]
fn models_have_tables_and_what_is_said_of_all_holds_for_each() {
    let text = "workers = 2\nkeep_alive = \"forever\"\n\
        [models.text-to-text.\"org/name\"]\nsource = \"./x.gguf\"\nmax_workers = 3\nquantize = \"q4_k\"\n\
        [models.auto.clip]\nsource = \"clip\"\nkeep_alive = 0\nthreads = 2\nrate_limit = 5\nrate_burst = 9\n";
    let settings = load(&["--quantize", "q8_0", "-m", "models/tiny/shapes-embed"], &[], Some(text)).unwrap();
    let models: Vec<_> = settings.models.iter().map(|model| settings.of_model(model).unwrap()).collect();
    let [written, clip, named] = &models[..] else { panic!("{models:?}") };
    assert_eq!((written.key.as_str(), written.capability), ("org/name", Some(Capabilities::TextToText)));
    assert_eq!((written.workers.exactly, written.workers.most), (None, Some(3)));
    assert_eq!(written.quantize.map(|to| to.to_string()).as_deref(), Some("q4_k"));
    assert_eq!((clip.key.as_str(), clip.capability, clip.workers.exactly), ("clip", None, Some(2)));
    assert_eq!((clip.keep_alive, written.keep_alive), (Duration::ZERO, Duration::MAX));
    assert_eq!((clip.rate_limit, clip.threads.map(usize::from)), (Some((5.0, 9)), Some(2)));
    assert_eq!(clip.quantize.map(|to| to.to_string()).as_deref(), Some("q8_0"));
    assert_eq!((named.key.as_str(), named.source.as_str()), ("shapes-embed", "models/tiny/shapes-embed"));
}

#[test]
fn a_model_of_the_command_line_takes_the_place_of_the_file_s() {
    let text = "[models.text-embedding.mine]\nsource = \"a\"\nthreads = 2\n";
    let settings = load(&["-m", "mine=b"], &[("MILLPOND_MODEL", "c")], Some(text)).unwrap();
    let model = settings.of_model(&settings.models[0]).unwrap();
    assert_eq!(
        (settings.models.len(), model.source.as_str(), model.threads.map(usize::from)),
        (1, "b", Some(2))
    );
    let settings = load(&[], &[("MILLPOND_MODEL", "c, d=org/name@main")], Some(text)).unwrap();
    let keys: Vec<_> = settings.models.iter().map(|model| model.key.as_str()).collect();
    assert_eq!(keys, ["mine", "c", "d"]);
    assert_eq!(settings.models[2].source.origin.to_string(), "MILLPOND_MODEL");
}

#[test]
fn a_path_that_is_there_names_no_key() {
    let runs = tempfile::tempdir().unwrap();
    let model = runs.path().join("lr=0.1").join("model");
    std::fs::create_dir_all(&model).unwrap();
    let model = model.to_str().unwrap();
    let settings = load(&["-m", model, "-m", &format!("mine={model}")], &[], None).unwrap();
    let named: Vec<_> = settings.models.iter().map(|it| settings.of_model(it).unwrap()).collect();
    let named: Vec<_> = named.iter().map(|it| (it.key.as_str(), it.source.as_str())).collect();
    assert_eq!(named, [("model", model), ("mine", model)]);
}

#[test]
fn a_key_is_held_to_the_same_wherever_it_is_given() {
    let (long, expected) = ("x".repeat(257), "the name of a model is unusable; expected 1 to 256 characters");
    for key in ["a\nb", &long] {
        let error = load(&["-m", &format!("{key}=shapes-embed")], &[], None).unwrap_err();
        assert_eq!(error.to_string(), format!("--model: {expected}"));
        let table = format!("[models.auto.{}]\nsource = \"y\"", quoted(key));
        assert_eq!(flaws(&table), [format!("m.toml:1: {expected}")]);
    }
}

#[test]
fn so_many_workers_or_from_so_many_to_so_many_by_what_counts_more() {
    let workers = |flags: &[&str], text: &str| {
        let settings = load(flags, &[], Some(text)).unwrap();
        let told = match settings.models.first() {
            Some(model) => settings.of_model(model),
            None => settings.for_all(),
        };
        let workers = told.unwrap().workers;
        (workers.exactly, workers.least, workers.most)
    };
    assert_eq!(workers(&[], ""), (None, None, None));
    assert_eq!(workers(&[], "max_workers = 3"), (None, None, Some(3)));
    assert_eq!(workers(&["--workers=2"], "max_workers = 3"), (Some(2), None, None));
    assert_eq!(workers(&["--max-workers=2"], "workers = 3"), (None, None, Some(2)));
    let model = "workers = 3\n[models.auto.x]\nsource = \"y\"\nmin_workers = 1\n";
    assert_eq!(
        workers(&["--workers=2"], model),
        (None, Some(1), None),
        "what is said of one model counts most"
    );
    let error = load(&["--workers=2", "--max-workers=3"], &[], None).unwrap_err();
    assert!(
        error.to_string().starts_with("--workers: workers and max_workers do not go together"),
        "{error}"
    );
}

#[test]
fn names_come_from_sources() {
    for (source, key) in [
        ("all-minilm-l6-v2", "all-minilm-l6-v2"),
        ("Qwen/Qwen3-0.6B@main", "Qwen/Qwen3-0.6B"),
        ("./some/model.Q4_K.gguf", "model.Q4_K"),
        ("models/tiny/shapes-embed", "shapes-embed"),
        ("/somewhere/else/", "else"),
    ] {
        assert_eq!(key_of(source), key, "{source}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line_and_what_would_be_right() {
    for (text, expected) in [
        ("port = 1\nport = 2", "m.toml:2: duplicate key"),
        ("port = ", "m.toml:1: "),
        ("\nport = 70000", "m.toml:2: port is 70000; expected a whole number from 0 to 65535"),
        ("port = \"8080\"", "m.toml:1: port is \"8080\"; expected a whole number from 0 to 65535"),
        ("prot = 1", "m.toml:1: there is no setting \"prot\" at the top of the file; did you mean port?"),
        ("colour = 1", "; there are bind, port, api_key, "),
        ("dtype = \"f64\"", "dtype is \"f64\"; expected one of auto, f32, bf16"),
        ("keep_alive = \"soon\"", "expected a time such as 500ms, 30s, 5m, 1h or forever"),
        ("insecure = \"yes\"", "expected true or false"),
        ("memory_fraction = 2", "expected a number above 0 and at most 1"),
        ("[port]\nx = 1", "m.toml:1: port is a table; expected a whole number"),
        ("models = 3", "models is 3; expected tables such as [models.auto.NAME]"),
        ("[models.text-embeding.x]", "there is no \"text-embeding\""),
        ("[models.text-embeding.x]", "as in [models.text-embedding.NAME]"),
        ("[models.swimming.x]", "as in [models.auto.NAME]"),
        ("[models]\nauto = 3", "models.auto is 3; expected a table for each model"),
        ("[models.auto]\nx = \"y\"", "models.auto.x is \"y\"; expected a table with the model's source"),
        ("[models.auto.x]\nthreads = 1", "m.toml:1: [models.auto.x] has no source"),
        ("[models.auto.x]\nsource = 3", "m.toml:2: models.auto.x.source is 3; expected a text"),
        (
            "[models.auto.x]\nsource = \"y\"\nport = 1",
            "m.toml:3: models.auto.x.port is not of a model; it belongs to the top of the file",
        ),
        ("[models.auto.x]\nsource = \"y\"\nworker = 1", "for a model; did you mean workers?"),
        (
            "[models.auto.x]\nsource = \"y\"\n[models.vision.x]\nsource = \"z\"",
            "m.toml:3: \"x\" is the name of another model already, at m.toml:1",
        ),
        (
            "[models.auto.x]\nsource = \"y\"\nworkers = 1\nmin_workers = 2",
            "workers and min_workers do not go together",
        ),
        ("max_workers = 1\nmin_workers = 2", "m.toml:2: min_workers and max_workers do not go together"),
        ("api_key = [\"short\"]", "m.toml:1: an API key has 5 bytes; it needs at least 8"),
        ("api_key = [3]", "m.toml:1: api_key is not usable; expected texts"),
        ("api_key_file = \"/nowhere/keys\"", "/nowhere/keys cannot be read"),
        ("bind = \"0.0.0.0\"", "m.toml:1: 0.0.0.0:11435 is open to the net"),
        ("bind = \"localhost\"", "expected an IP address such as 127.0.0.1"),
    ] {
        let found = flaws(text);
        assert!(found.iter().any(|flaw| flaw.contains(expected)), "{text:?}: {found:?}, not {expected:?}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_no_secret_with_it() {
    let found = flaws("prot = 1\nqueue = -1\napi_key = \"has a space\\nand a line\"\n[models.auto.x]\n");
    let lines: Vec<_> = found.iter().map(|flaw| flaw.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["m.toml:1", "m.toml:2", "m.toml:3", "m.toml:4"], "{found:?}");
    assert!(!found.iter().any(|flaw| flaw.contains("space")), "{found:?}");
    let error = load(&[], &[("MILLPOND_PORT", "many"), ("MILLPOND_PIN", "maybe")], None).unwrap_err();
    assert!(error.to_string().contains("MILLPOND_PORT: port is many; expected a whole number"), "{error}");
    assert!(error.to_string().contains("MILLPOND_PIN: pin is maybe; expected true or false"), "{error}");
}

#[test]
fn two_of_one_name_may_do_different_things() {
    let text = "[models.text-embedding.x]\nsource = \"y\"\n[models.image-embedding.x]\nsource = \"y\"\n";
    assert_eq!(flaws(text), [""; 0]);
}

#[test]
fn keys_come_from_files_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "# ours\n\n key-number-one \nkey-number-two\n").unwrap();
    let flags = [format!("--api-key-file={}", file.display()), "--api-key=key-number-nil".to_owned()];
    let settings = load(&[&flags[0], &flags[1]], &[], None).unwrap();
    let keys = settings.server_config().unwrap().keys;
    for key in ["key-number-one", "key-number-two", "key-number-nil"] {
        assert!(keys.accept(key), "{key}");
    }
    assert!(!keys.accept("# ours"));
    assert_eq!(settings.first_key().as_deref(), Some("key-number-nil"));
}

#[test]
fn a_file_that_is_not_there_is_an_error_where_it_was_named() {
    let flags = SettingArgs { config: Some(PathBuf::from("/nowhere/m.toml")), ..SettingArgs::default() };
    let error = Settings::load_with(&flags, &|_| None).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/m.toml cannot be read"), "{error}");
}

#[test]
fn a_user_s_own_file_is_found() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("millpond")).unwrap();
    std::fs::write(home.path().join("millpond/config.toml"), "port = 1234").unwrap();
    let xdg = home.path().display().to_string();
    let settings = Settings::load_with(&SettingArgs::default(), &|name| {
        (name == "XDG_CONFIG_HOME").then(|| xdg.clone())
    });
    assert_eq!(settings.unwrap().address().port(), 1234);
}
