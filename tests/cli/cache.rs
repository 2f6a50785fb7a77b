//! `millpond show` and `millpond rm`: models that are here, and no longer.

use std::path::Path;

use serde_json::Value;

use crate::support::{Run, command, millpond};

const COMMIT: &str = "0123456789012345678901234567890123456789";

/// Puts what could be a model into a cache.
fn fill(cache: &Path) {
    let model = cache.join("models--org--name");
    let snapshot = model.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(model.join("refs")).unwrap();
    std::fs::write(model.join("refs/main"), COMMIT).unwrap();
    std::fs::write(snapshot.join("config.json"), "x".repeat(1000)).unwrap();
}

fn rm(cache: &Path, args: &[&str]) -> Run {
    command([&["rm"], args].concat()).env("HF_HUB_CACHE", cache).output().unwrap().into()
}

#[test]
fn what_is_deleted_was_agreed_to() {
    let cache = tempfile::tempdir().unwrap();
    fill(cache.path());
    let asked = rm(cache.path(), &["org/name"]);
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(2), ""), "{asked:?}");
    assert!(asked.stderr.contains("say --yes"), "{asked:?}");
    assert!(cache.path().join("models--org--name").exists());
    let done = rm(cache.path(), &["org/name", "--yes", "--json"]).ok();
    let told = &done.json()[0];
    assert_eq!((&told["model"], &told["freed"]), (&Value::from("org/name"), &Value::from(1040)));
    assert!(!cache.path().join("models--org--name").exists());
    fill(cache.path());
    let twice = rm(cache.path(), &["org/name", "org/name", "--yes", "--json"]).ok();
    assert_eq!(twice.json().len(), 1, "one folder, whatever it is called");
    rm(cache.path(), &["org/name", "--yes"]).failed("org/name is not here");
}

/// A slip in one name costs no other model.
#[test]
fn nothing_is_deleted_unless_all_can_be() {
    let cache = tempfile::tempdir().unwrap();
    fill(cache.path());
    rm(cache.path(), &["org/name", "org/other", "--yes"]).failed("org/other is not here");
    assert!(cache.path().join("models--org--name").exists());
}

#[test]
fn nothing_outside_of_the_cache_is_deleted() {
    let (cache, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = outside.path().join("mine");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.to_str().unwrap();
    rm(cache.path(), &[path, "--yes"]).failed("is not in the cache");
    rm(cache.path(), &["shapes-embed", "--yes"]).failed("is not in the cache");
    for hostile in
        ["../..", "..", "/etc", "org/..", "org/../..", "org/na\\me", "org/%2e%2e", "con/nul", "a--b/c", ""]
    {
        let run = rm(cache.path(), &[hostile, "--yes"]);
        assert_eq!(run.code, Some(1), "{hostile:?}: {run:?}");
    }
    assert!(folder.exists());
}

#[cfg(unix)]
#[test]
fn a_link_in_the_cache_is_not_followed() {
    let (cache, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("precious"), "x").unwrap();
    std::os::unix::fs::symlink(outside.path(), cache.path().join("models--org--name")).unwrap();
    rm(cache.path(), &["org/name", "--yes"]).failed("is no folder of the cache's own");
    assert!(outside.path().join("precious").exists());
}

#[test]
fn show_says_what_the_catalog_and_the_files_say() {
    let text = millpond(["show", "shapes-llm"]).ok().stdout;
    for part in ["licence", "llama", "512 tokens", "by its own template", "where        here: "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let object = &millpond(["show", "shapes-llm", "--json"]).ok().json()[0];
    assert_eq!((&object["present"], &object["files"]["context_length"]), (&true.into(), &512.into()));
    assert_eq!(object["catalog"]["capability"], "text-to-text");
    let path = &millpond(["show", "models/tiny/shapes-llm", "--json"]).ok().json()[0];
    assert_eq!((&path["catalog"], &path["files"]), (&Value::Null, &object["files"]));
}

#[test]
fn of_a_model_that_is_elsewhere_the_catalog_still_knows() {
    let empty = tempfile::tempdir().unwrap();
    let show = |model: &str| -> Run {
        command(["show", model]).env("HF_HUB_CACHE", empty.path()).output().unwrap().into()
    };
    let text = show("qwen3-0.6b").ok().stdout;
    assert!(text.contains("Apache-2.0") && text.contains("`millpond pull qwen3-0.6b` fetches it"), "{text}");
    show("org/name").failed("org/name is not here");
    show("no-such-name").failed("no model is called \"no-such-name\"");
    show("./nowhere").failed("there is no \"./nowhere\"");
}
