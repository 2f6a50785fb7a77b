//! Decoders say what transformers says: alone, in company, from a known beginning, after giving way.

use std::path::{Path, PathBuf};

use millpond::Dtype;
use millpond::arch::{Continuation, DecoderOptions, DecoderProbe, ProbeLimits};
use millpond::weights::{ModelFiles, ModelFolder};
use serde::Deserialize;
use serde_json::Value;

use crate::support::{copied, patch};

/// One prompt with what the reference makes of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    prompt: Vec<u32>,
    logits: Vec<f32>,
    tokens: Vec<u32>,
}

const FAMILIES: [&str; 13] = [
    "gemma2",
    "gemma3",
    "llama2",
    "llama3",
    "mistral",
    "mixtral",
    "olmo2",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3-moe",
    "qwen3-yarn",
    "smollm3",
];

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decoder").join(name)
}

pub(crate) fn cases(name: &str) -> Vec<Case> {
    let cases = std::fs::read(fixture(&format!("{name}.json"))).expect("the fixture is there");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("the fixture is as make.py writes it");
    assert!(cases.len() == 3 && cases.iter().all(|case| case.tokens.len() >= 24));
    cases
}

/// Everything as numbers in f32, whatever the processor would rather have: what the references compute.
pub(crate) fn in_f32() -> DecoderOptions {
    let mut options = DecoderOptions::default();
    options.dtype = Dtype::F32;
    options
}

fn load(name: &str) -> (DecoderProbe, Vec<Case>) {
    (load_folder(&fixture(name)), cases(name))
}

fn load_folder(folder: &Path) -> DecoderProbe {
    let files = ModelFiles::Folder(ModelFolder::local(folder).expect("the folder is there"));
    DecoderProbe::load(&files, in_f32()).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// The logits are the reference's to within `tolerance`, and the tokens are the same.
pub(crate) fn agree(name: &str, got: &Continuation, case: &Case, tolerance: f32) {
    let off = got.logits.iter().zip(&case.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert_eq!(got.logits.len(), case.logits.len());
    assert!(off < tolerance, "{name}, {} tokens: logits are off by {off}", case.prompt.len());
    assert_eq!(got.tokens, case.tokens, "{name}, {} tokens", case.prompt.len());
}

pub(crate) fn alone(probe: &DecoderProbe, limits: ProbeLimits, case: &Case) -> Continuation {
    let mut run = probe.run(limits);
    run.admit(&case.prompt, case.tokens.len()).unwrap();
    run.finish().unwrap()[0].clone()
}

#[test]
fn every_family_says_what_transformers_says() {
    let mut failed = Vec::new();
    for name in FAMILIES {
        let check = || {
            let (probe, cases) = load(name);
            cases
                .iter()
                .for_each(|case| agree(name, &alone(&probe, ProbeLimits::default(), case), case, 1e-3));
        };
        if std::panic::catch_unwind(check).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_prompt_read_in_parts_is_the_prompt_read_at_once() {
    for name in FAMILIES {
        let (probe, cases) = load(name);
        for read_alone in [1, 7, 16, 30] {
            for case in &cases {
                let limits = ProbeLimits { read_alone, ..ProbeLimits::default() };
                agree(name, &alone(&probe, limits, case), case, 1e-3);
            }
        }
    }
}

#[test]
fn texts_of_any_length_that_come_at_any_time_are_as_if_alone() {
    for name in FAMILIES {
        let (probe, cases) = load(name);
        let limits = ProbeLimits { blocks: 100, read_beside: 11, ..ProbeLimits::default() };
        let mut run = probe.run(limits);
        // Sixteen texts, none of which begins like another that is still under way.
        for number in 0..16 {
            let case = &cases[number % 3];
            run.admit(&case.prompt, 24 + number % 5).unwrap();
            (0..number * 7 % 4).for_each(|_| assert!(run.step().is_ok()));
        }
        for (number, got) in run.finish().unwrap().iter().enumerate() {
            let case = &cases[number % 3];
            assert_eq!(got.tokens, case.tokens[..24 + number % 5], "{name}, text {number}");
        }
        assert_eq!(run.free_blocks(), (100, 100), "{name}");
    }
}

#[test]
fn a_known_beginning_changes_nothing() {
    for name in FAMILIES {
        let (probe, cases) = load(name);
        let mut run = probe.run(ProbeLimits::default());
        let case = &cases[2];
        for number in 0..2 {
            run.admit(&case.prompt, case.tokens.len()).unwrap();
            let got = run.finish().unwrap()[number].clone();
            agree(name, &got, case, 1e-3);
            assert_eq!(got.found, [0, case.prompt.len() / 16 * 16][number], "{name}");
        }
        // The first answer is known, too: a conversation that goes on.
        let longer: Vec<u32> = case.prompt.iter().chain(&case.tokens[..20]).copied().collect();
        run.admit(&longer, 4).unwrap();
        let got = &run.finish().unwrap()[2];
        assert_eq!(got.tokens, case.tokens[20..24], "{name}");
        assert_eq!(got.found, 48, "{name}");
    }
}

#[test]
fn texts_that_gave_way_say_the_same() {
    for name in FAMILIES {
        let (probe, cases) = load(name);
        // Of the four blocks that the longest needs five are there, for four texts.
        let mut run = probe.run(ProbeLimits { blocks: 5, ..ProbeLimits::default() });
        let order = [1, 0, 2, 1];
        order.iter().for_each(|case| assert!(run.admit(&cases[*case].prompt, 28).is_ok()));
        for (got, case) in run.finish().unwrap().iter().zip(order) {
            assert_eq!(got.tokens, cases[case].tokens[..28], "{name}");
        }
        assert_eq!(run.free_blocks(), (5, 5), "{name}");
    }
}

#[test]
fn a_canceled_text_gives_its_blocks_back_and_disturbs_nobody() {
    let (probe, cases) = load("qwen3");
    let mut run = probe.run(ProbeLimits::default());
    let (left, stays) = (&cases[2], &cases[1]);
    let gone = run.admit(&left.prompt, 32).unwrap();
    let kept = run.admit(&stays.prompt, 32).unwrap();
    (0..5).for_each(|_| assert!(run.step().is_ok()));
    run.cancel(gone);
    assert_eq!(run.free_blocks().0, 64 - 2, "two blocks hold the other's 24 tokens");
    assert_eq!(run.finish().unwrap()[kept].tokens, stays.tokens);
}

#[test]
fn a_decoder_without_a_type_goes_by_its_classes() {
    let copy = copied(&fixture("llama3"));
    patch(copy.path(), "config.json", "model_type", Value::Null);
    let (probe, case) = (load_folder(copy.path()), &cases("llama3")[0]);
    agree("llama3", &alone(&probe, ProbeLimits::default(), case), case, 1e-3);
}
