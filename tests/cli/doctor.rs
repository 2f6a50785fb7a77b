//! `millpond doctor` and `millpond completions`.

use crate::support::{Run, command, millpond};

fn doctor(variables: &[(&str, &str)]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(["doctor", "--json"]);
    command.env("HF_HUB_CACHE", folder.path()).envs(variables.iter().copied());
    command.output().unwrap().into()
}

#[test]
fn doctor_looks_at_everything_and_computes_something() {
    let run = doctor(&[("MILLPOND_PORT", "1")]);
    let findings = run.json();
    assert_eq!(run.code, Some(0), "{run:?}");
    let looked: Vec<_> = findings.iter().map(|finding| finding["what"].as_str().unwrap()).collect();
    let all =
        ["processor", "cores", "threads", "memory", "cache", "settings", "catalog", "computing", "server"];
    assert_eq!(looked, all);
    let of = |what: &str| findings.iter().find(|finding| finding["what"] == what).unwrap();
    for (what, told) in [
        ("computing", "shapes-embed loaded in "),
        ("server", "none at http://127.0.0.1:1; `millpond serve` starts one"),
        ("settings", "no file; no model named"),
        ("catalog", " models with short names"),
    ] {
        assert_eq!(of(what)["verdict"], "ok", "{what}: {run:?}");
        assert!(of(what)["found"].as_str().unwrap().contains(told), "{what}: {run:?}");
    }
    for finding in findings {
        assert_eq!(finding["verdict"] == "ok", finding["advice"].is_null(), "what is not ok says what to do");
    }
}

#[test]
fn what_will_not_work_fails() {
    let run = doctor(&[("MILLPOND_KEEP_ALIVE", "soon")]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let findings = run.json();
    let settings = findings.iter().find(|finding| finding["what"] == "settings").unwrap();
    assert_eq!(settings["verdict"], "fail");
    assert!(settings["found"].as_str().unwrap().starts_with("MILLPOND_KEEP_ALIVE: keep_alive is soon"));
    assert!(run.stderr.starts_with("error: 1 thing will keep models from being served\nhint: "), "{run:?}");
}

#[test]
fn shells_are_told_all_verbs() {
    for (shell, sign) in
        [("bash", "complete -F"), ("zsh", "#compdef millpond"), ("fish", "complete -c millpond")]
    {
        let script = millpond(["completions", shell]).ok().stdout;
        assert!(script.contains(sign), "{shell}");
        for word in ["embed-image", "serve", "keep-alive", "completions", "print"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(millpond(["completions", "abacus"]).code, Some(2));
}
