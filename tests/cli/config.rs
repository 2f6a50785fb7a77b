//! `millpond config`: what is set, where, and what is wrong with it.

use std::path::Path;

use serde_json::Value;

use crate::support::{Run, command, millpond};

const FILE: &str = "\
port = 1234
keep_alive = \"forever\"
api_key = [\"very-secret-key\"]

[models.text-embedding.mine]
source = \"shapes-embed\"
threads = 1
";

fn with_file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn line<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn every_value_says_where_it_comes_from() {
    let (_folder, path) = with_file(FILE);
    let mut print = command(["config", "print", "--json", "--config", &path, "--queue", "5"]);
    let lines = Run::from(print.env("MILLPOND_PORT", "99").output().unwrap()).ok().json();
    let at = format!("{path}:2");
    for (name, value, origin, at) in [
        ("queue", Value::from(5), "flag", Some("--queue")),
        ("port", 99.into(), "environment", Some("MILLPOND_PORT")),
        ("keep_alive", "forever".into(), "file", Some(at.as_str())),
        ("drain_timeout", "30s".into(), "default", None),
        ("api_key", Value::Null, "file", Some(&format!("{path}:3"))),
        ("models.text-embedding.mine.source", "shapes-embed".into(), "file", Some(&format!("{path}:6"))),
        ("models.text-embedding.mine.threads", 1.into(), "file", Some(&format!("{path}:7"))),
    ] {
        let line = line(&lines, name);
        assert_eq!(
            (&line["value"], line["origin"].as_str(), line["at"].as_str()),
            (&value, Some(origin), at)
        );
    }
}

#[test]
fn what_is_printed_can_be_read_again_and_holds_no_key() {
    let (folder, path) = with_file(FILE);
    let printed = millpond(["config", "print", "--config", &path]).ok().stdout;
    assert!(!printed.contains("secret"), "{printed}");
    let again = folder.path().join("again.toml");
    std::fs::write(&again, &printed).unwrap();
    let again = again.to_str().unwrap();
    let values = |path: &str| {
        let lines = millpond(["config", "print", "--json", "--config", path]).ok().json();
        let known = lines.into_iter().filter(|line| line["name"] != "api_key");
        known.map(|line| (line["name"].clone(), line["value"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(values(&path), values(again));
}

#[test]
fn a_file_is_checked_as_a_whole() {
    let (_folder, path) = with_file(FILE);
    let checked = millpond(["config", "check", &path]).ok().stdout;
    assert_eq!(checked, format!("{path}: fine, with 1 model\n"));
    let (_folder, path) =
        with_file("prot = 1\nqueue = \"many\"\n[models.auto.x]\nsource = \"y\"\nport = 1\n");
    let broken = millpond(["config", "check", &path]);
    assert_eq!((broken.code, broken.stdout.as_str()), (Some(1), ""));
    let lines: Vec<&str> = broken.stderr.lines().collect();
    let expected = [
        format!("error: {path}:1: there is no setting \"prot\" at the top of the file; did you mean port?"),
        format!("error: {path}:2: queue is \"many\"; expected a whole number from 0 to 4294967296"),
        format!(
            "error: {path}:5: models.auto.x.port is not of a model; it belongs to the top of the file, before the \
             first [models...]"
        ),
    ];
    assert_eq!(lines[..3], expected);
    assert!(lines.len() == 4 && lines[3].starts_with("hint: "), "{lines:?}");
}

#[test]
fn a_model_that_is_not_there_is_found_before_it_is_served() {
    let (_folder, path) = with_file("[models.auto.x]\nsource = \"no-such-model\"\n");
    let checked = millpond(["config", "check", &path]);
    checked.failed(&format!("{path}:2: no model is called \"no-such-model\""));
}

#[test]
fn all_models_that_are_not_there_are_told_at_once() {
    let (_folder, path) = with_file(
        "[models.auto.x]\nsource = \"no-such-model\"\n[models.auto.y]\nsource = \"shapes-embed\"\n\
         [models.auto.z]\nsource = \"./nowhere\"\n",
    );
    let checked = millpond(["config", "check", &path]);
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(1), ""));
    let lines: Vec<&str> = checked.stderr.lines().collect();
    let [first, second, hint] = lines[..] else { panic!("{checked:?}") };
    assert!(first.starts_with(&format!("error: {path}:2: no model is called")), "{first}");
    assert!(second.starts_with(&format!("error: {path}:6: there is no \"./nowhere\"")), "{second}");
    assert!(hint.starts_with("hint: "), "{hint}");
}

#[test]
fn a_blank_variable_is_none() {
    let (_folder, path) = with_file(FILE);
    for args in [&["config", "check", &path][..], &["config", "print", "--config", &path]] {
        let run = command(args).env("MILLPOND_PORT", " ").env("MILLPOND_API_KEY", "").output().unwrap();
        Run::from(run).ok();
    }
    let inspect = ["inspect", "-m", "shapes-embed"];
    Run::from(command(inspect).env("MILLPOND_WORKERS", "").env("MILLPOND_DTYPE", " ").output().unwrap()).ok();
}

#[test]
fn a_broken_environment_is_wrong_usage() {
    for (variable, value) in
        [("MILLPOND_PORT", "many"), ("MILLPOND_BIND", "0.0.0.0"), ("MILLPOND_API_KEY", "short")]
    {
        for verb in [&["config", "check"][..], &["serve"]] {
            let run = Run::from(command(verb).env(variable, value).output().unwrap());
            assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
            assert!(run.stderr.starts_with(&format!("error: {variable}: ")), "{run:?}");
        }
    }
}

#[test]
fn a_file_in_the_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("millpond.toml"), "port = 4321\n").unwrap();
    let mut print = command(["config", "print", "--json"]);
    let lines = Run::from(print.current_dir(folder.path()).output().unwrap()).ok().json();
    assert_eq!(line(&lines, "port")["at"], "millpond.toml:1");
    assert!(!Path::new("millpond.toml").exists(), "the package has none of its own");
}
