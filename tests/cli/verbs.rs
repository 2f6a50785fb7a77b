//! The other verbs, and the help that teaches them.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use millpond::capability::ImageSource;
use millpond::image::decode;
use serde_json::Value;

use crate::support::{MODEL, Run, command, fixture, millpond, millpond_reading};

#[test]
fn help_teaches_by_example() {
    let verbs = "demo embed embed-image generate draw describe run inspect bench list pull show rm serve ps stop top \
                 config doctor completions";
    for verb in verbs.split_whitespace() {
        let help = millpond([verb, "--help"]).ok().stdout;
        assert!(help.contains("Examples:\n  millpond "), "{verb}: {help}");
        let examples = help.split("Examples:").nth(1).unwrap();
        assert!(examples.contains(&format!("millpond {verb}")), "{verb}: {help}");
        assert!(millpond(["--help"]).ok().stdout.contains(&format!("  {verb} ")), "{verb}");
    }
    assert!(
        millpond(["--help"]).stdout.contains("Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted")
    );
    assert_eq!(millpond(["--version"]).ok().stdout, concat!("millpond ", env!("CARGO_PKG_VERSION"), "\n"));
}

fn only(mut objects: Vec<Value>) -> Value {
    assert_eq!(objects.len(), 1);
    objects.remove(0)
}

#[test]
fn inspect_says_what_a_model_is_and_takes() {
    let inspect = |dtype: &str| {
        only(millpond(["inspect", "-m", MODEL, "--workers", "3", "--dtype", dtype, "--json"]).ok().json())
    };
    let report = inspect("f32");
    for (field, value) in [
        ("model", Value::from("shapes-embed")),
        ("capability", "text-embedding".into()),
        ("architecture", "bert".into()),
        ("dtype", "f16".into()),
        ("computes_in", "f32".into()),
        ("dimensions", 128.into()),
        ("max_tokens", 64.into()),
        ("fits", true.into()),
    ] {
        assert_eq!(report[field], value, "{field}");
    }
    let bytes = |field: &str| report["footprint"][field].as_u64().unwrap();
    assert_eq!(bytes("total"), bytes("weights") + 3 * bytes("per_worker"));
    assert!(bytes("workers") == 3 && bytes("threads") >= 1);
    let floats = 4 * report["parameters"].as_u64().unwrap();
    assert_eq!(bytes("weights"), floats);
    let halved = inspect("bf16");
    assert_eq!(halved["computes_in"], "bf16");
    let less = halved["footprint"]["weights"].as_u64().unwrap();
    assert!((floats / 2..floats).contains(&less), "{less} of {floats}");
    let text = millpond(["inspect", "-m", MODEL]).ok().stdout;
    for word in ["capability", "bert", "f16", "tensors", "footprint", "fits          yes"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn inspect_counts_on_the_workers_and_threads_that_an_engine_would_have() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let shares = |options: &[&str]| {
        let report = only(millpond([&["inspect", "-m", MODEL, "--json"], options].concat()).ok().json());
        let footprint = &report["footprint"];
        (footprint["workers"].as_u64().unwrap() as usize, footprint["threads"].as_u64().unwrap() as usize)
    };
    assert_eq!(shares(&[]), (1, cores / (cores / 4).max(1)));
    assert_eq!(shares(&["--threads", "1"]), (1, 1));
    assert_eq!(shares(&["--workers", "2"]), (2, (cores / 2).max(1)));
    assert_eq!(shares(&["--workers", "3", "--threads", "5"]), (3, 5));
}

#[test]
fn inspect_lists_tensors() {
    let mut objects = millpond(["inspect", "-m", MODEL, "--tensors", "--json"]).ok().json();
    let report = objects.remove(0);
    assert_eq!(report["tensors"], objects.len());
    let elements = |tensor: &Value| {
        tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).product::<u64>()
    };
    assert_eq!(report["parameters"], objects.iter().map(elements).sum::<u64>());
    assert!(objects.iter().any(|tensor| tensor["shape"] == serde_json::json!([712, 128])));
}

#[test]
fn inspect_says_why_a_model_does_not_fit() {
    let run = millpond(["inspect", "-m", MODEL, "--memory", "64KiB", "--json"]).ok();
    let report = only(run.json());
    assert_eq!(report["fits"], false);
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains("64.0 KiB") && reason.contains("can never fit"), "{reason}");
    let one = report["footprint"]["weights"].as_u64().unwrap()
        + report["footprint"]["per_worker"].as_u64().unwrap();
    let tight = only(
        millpond(["inspect", "-m", MODEL, "--memory", &one.to_string(), "--workers", "9", "--json"])
            .ok()
            .json(),
    );
    assert_eq!(tight["fits"], true);
    assert!(tight["reason"].as_str().unwrap().starts_with("with 1 worker"), "{tight}");
}

#[test]
fn inspect_shows_the_prompts() {
    let model = fixture("max-f16");
    let report = only(millpond(["inspect", "-m", model.to_str().unwrap(), "--json"]).ok().json());
    assert_eq!(report["prompts"], serde_json::json!(["passage", "query"]));
}

#[test]
fn run_answers_the_question_of_the_command_line_and_reads_nothing() {
    let model = "models/tiny/shapes-llm";
    let generated = millpond(["generate", "-m", model, "--max-tokens", "12", "a red circle"]).ok();
    let asked = ["run", "-m", model, "--max-tokens", "12", "a red circle"];
    assert_eq!(millpond(asked).ok().stdout, generated.stdout);
    assert_eq!(millpond_reading(asked, b"a blue square\n").ok().stdout, generated.stdout);
}

#[test]
fn what_a_flag_can_say_the_environment_can() {
    let mut inspect = command(["inspect", "-m", MODEL, "--json", "--threads", "3"]);
    let inspect =
        inspect.env("MILLPOND_WORKERS", "2").env("MILLPOND_THREADS", "9").env("MILLPOND_DTYPE", "bf16");
    let report = only(Run::from(inspect.output().unwrap()).ok().json());
    assert_eq!((&report["footprint"]["workers"], &report["footprint"]["threads"]), (&2.into(), &3.into()));
    assert_eq!(report["computes_in"], "bf16");
}

#[test]
fn bench_measures() {
    let run = |capability: &str| {
        let args = ["--concurrency", "3", "--requests", "40", "--workers", "2", "--tokens", "12", "--json"];
        only(millpond(["bench", capability, "-m", MODEL].into_iter().chain(args)).ok().json())
    };
    for figures in [run("embed"), run("text-embedding")] {
        let names: BTreeSet<&str> = figures.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["p50_ms", "p99_ms", "peak_rss_bytes", "requests_per_second", "tokens_per_second"];
        assert_eq!(names, BTreeSet::from(expected));
        let number = |name: &str| figures[name].as_f64().unwrap();
        assert!(number("p50_ms") > 0.0 && number("p50_ms") <= number("p99_ms"));
        let tokens = number("tokens_per_second") / number("requests_per_second");
        assert!((tokens - 12.0).abs() < 1e-6, "{tokens} tokens each");
        assert!(number("peak_rss_bytes") > 1e6);
    }
}

#[test]
fn a_key_for_servers_does_not_keep_bench_from_measuring_here() {
    let mut bench = command(["bench", "embed", "-m", MODEL, "--requests", "4", "--json"]);
    Run::from(bench.env("MILLPOND_API_KEY", "a-key-of-some-length").output().unwrap()).ok();
}

#[test]
fn bench_knows_what_goes_together_before_it_asks_a_server() {
    for (capability, flag) in [
        ("embed", "--prompt-tokens"),
        ("embed-image", "--tokens"),
        ("draw", "--tokens"),
        ("describe", "--prompt-tokens"),
    ] {
        for url in [&[][..], &["--url", "http://127.0.0.1:1"]] {
            let run = millpond([&["bench", capability, "-m", "x", flag, "8"], url].concat());
            assert_eq!(run.code, Some(2), "{capability}: {run:?}");
            assert!(run.stderr.starts_with("error: --") && run.stderr.contains(flag), "{run:?}");
        }
    }
}

#[test]
fn bench_says_when_texts_cannot_be_so_long() {
    let run = millpond(["bench", "embed", "-m", MODEL, "--requests", "4", "--tokens", "500"]);
    assert_eq!(run.code, Some(0));
    assert!(run.stderr.contains("at most 64 tokens"), "{}", run.stderr);
    assert!(run.stdout.contains("4 requests of 64 tokens"), "{}", run.stdout);
}

#[test]
fn the_demo_shows_everything_on_80_columns() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("drawn.png");
    let shown = millpond([OsStr::new("demo"), OsStr::new("--out"), out.as_os_str()]).ok().stdout;
    for line in shown.lines().filter(|line| !line.contains("saved as")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(!shown.contains('\x1b'), "plain where it is no terminal: {shown}");
    for act in [
        "1. Find a sentence",
        "2. Write a story",
        "3. Find pictures by what they show",
        "4. Ask about picture 2",
        "5. Draw a picture",
        "6. What the pools did",
    ] {
        assert!(shown.contains(act), "{act}: {shown}");
    }
    for told in [
        "answers a second from 1 worker",
        "> a big triangle in the middle, on gray  picture 4",
        "a yellow square left of a blue circle on a black background",
        "to make room",
        "20 steps in",
        "shapes-diffusion text-to-image         1        1",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    let drawn = decode(&ImageSource::path(out)).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (64, 64));
}

#[test]
fn the_demo_does_not_begin_where_it_could_not_save() {
    millpond(["demo", "--out", "no-such-folder/drawn.png"])
        .failed("no-such-folder/drawn.png cannot be written");
}
