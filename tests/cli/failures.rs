//! What goes wrong is told in one line, with what to do about it, and by the exit code.

use std::path::Path;

use crate::support::{MODEL, Run, command, fixture, millpond};

fn embed(options: &[&str]) -> Run {
    millpond(["embed", "a red circle"].iter().chain(options))
}

#[test]
fn wrong_usage_exits_with_2_and_prints_nothing() {
    let table: [&[&str]; 19] = [
        &[],
        &["swim"],
        &["embed"],
        &["embed", "text"],
        &["embed", "-m", MODEL],
        &["embed", "-m", MODEL, "text", "-"],
        &["embed", "-m", MODEL, "--dimensions", "0", "text"],
        &["embed", "-m", MODEL, "--dimensions", "-1", "text"],
        &["embed", "-m", MODEL, "--normalize", "perhaps", "text"],
        &["embed", "-m", MODEL, "--truncate", "left", "text"],
        &["embed", "-m", MODEL, "--workers", "0", "text"],
        &["embed", "-m", MODEL, "--threads", "1000000", "text"],
        &["embed", "-m", MODEL, "--dtype", "f64", "text"],
        &["embed", "-m", MODEL, "--memory", "a lot", "text"],
        &["bench", "swimming", "-m", MODEL],
        &["bench", "embed", "-m", MODEL, "--requests", "0"],
        &["list", "everything"],
        &["list", "--capability", "swimming"],
        &["pull"],
    ];
    for args in table {
        let run = millpond(args);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{args:?}: {run:?}");
        assert!(!run.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn models_that_are_not_there_are_told_apart() {
    let empty = tempfile::tempdir().unwrap();
    let readme = "README.md";
    for (model, reason) in [
        ("./nowhere", "there is no \"./nowhere\""),
        ("/no/such/model", "there is no \"/no/such/model\""),
        ("models/tiny/nowhere", "there is no \"models/tiny/nowhere\""),
        ("", "there is no \"\""),
        (empty.path().to_str().unwrap(), "has no config.json"),
        (readme, "is no model"),
        ("no-such-name", "the catalog has all-minilm-l6-v2, "),
        ("weights.bin", "pickle"),
        ("org/name", "the network is off"),
        ("org/na me", "is no model id"),
    ] {
        embed(&["-m", model]).failed(reason);
        millpond(["inspect", "-m", model]).failed(if reason.contains("config.json") {
            "has no"
        } else {
            reason
        });
    }
}

#[test]
fn requests_the_model_cannot_serve_say_what_it_can() {
    embed(&["-m", MODEL, "--dimensions", "129"]).failed("1..=128");
    embed(&["-m", MODEL, "--prompt-name", "query"]).failed("this model has no prompts");
    let mean = fixture("mean");
    embed(&["-m", mean.to_str().unwrap(), "--prompt-name", "title"]).failed("\"query\"");
}

#[test]
fn what_is_not_supported_yet_says_so() {
    for verb in ["embed", "inspect", "bench"] {
        let text: &[&str] = match verb {
            "embed" => &["text"],
            "bench" => &["embed"],
            _ => &[],
        };
        let run = |option: &[&str]| millpond([&[verb], text, &["-m", MODEL], option].concat());
        let refused = run(&["--quantize", "q8_0"]);
        refused.failed("quantization of text embedding \"q8_0\" is not supported; supported: none");
        let hint =
            "hint: leave the option out: models that embed or draw compute in f32 or bf16, see --dtype\n";
        assert!(refused.stderr.ends_with(hint), "{refused:?}");
    }
    for dtype in ["auto", "f32", "bf16"] {
        embed(&["-m", MODEL, "--dtype", dtype, "--quantize", "none", "text"]).ok();
    }
}

#[test]
fn a_model_without_memory_says_how_much_it_needs() {
    embed(&["-m", MODEL, "--memory", "1KiB"]).failed("free of a budget of 1.0 KiB");
}

/// A copy of the fixture `mean` whose `file` holds `content` instead.
fn broken(file: &str, content: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = fixture("mean");
    for name in
        ["config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json", "model.safetensors"]
    {
        let to = copy.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from.join(name), to).unwrap();
    }
    std::fs::write(copy.path().join(file), content).unwrap();
    copy
}

#[test]
fn broken_models_are_told_by_the_file_that_is_broken() {
    for (file, content, reason) in [
        ("config.json", "{", "config.json"),
        ("config.json", "{\"model_type\":\"mamba\"}", "\"mamba\" is not supported"),
        ("tokenizer.json", "not a tokenizer\nat all", "tokenizer.json is no usable tokenizer"),
        ("model.safetensors", "not tensors", "model.safetensors is refused"),
    ] {
        let copy = broken(file, content);
        embed(&["-m", copy.path().to_str().unwrap()]).failed(reason);
    }
}

#[test]
fn a_catalog_that_is_none_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    embed(&["-m", "shapes-embed", "--catalog", "./nowhere"]).failed("could not read ./nowhere");
    embed(&["-m", "shapes-embed", "--catalog", path]).failed("the catalog has none");
    std::fs::write(folder.path().join("bad.toml"), "capability = 7").unwrap();
    embed(&["-m", "bad", "--catalog", path]).failed("bad.toml");
    millpond(["list", "--catalog", path]).failed("bad.toml");
}

/// Somebody else's folder called "models" is nobody's fault.
#[test]
fn other_folders_called_models_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    std::fs::write(folder.path().join("models/Cargo.toml"), "[package]").unwrap();
    let run: Run = command(["list"]).current_dir(folder.path()).output().unwrap().into();
    assert!(run.ok().stdout.contains("shapes-embed"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure() {
    for args in [&["embed", "-m", MODEL, "text"][..], &["list"], &["inspect", "-m", MODEL]] {
        let full = std::fs::File::options().write(true).open(Path::new("/dev/full")).unwrap();
        let run: Run = command(args).stdout(full).output().unwrap().into();
        assert_eq!(run.code, Some(1), "{args:?}");
        assert!(run.stderr.starts_with("error: standard output cannot be written"), "{}", run.stderr);
    }
}
