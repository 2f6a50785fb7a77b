//! Decoders from GGUF files say what transformers says with the numbers that the files hold.

use millpond::KvFormat;
use millpond::arch::{DecoderOptions, DecoderPlan, DecoderProbe, ProbeLimits};
use millpond::weights::gguf::Quantization;
use millpond::weights::{GgufFile, ModelFiles, ModelFolder};

use crate::decoder_agreement::{agree, alone, cases, fixture, in_f32};

const FILES: [&str; 6] =
    ["gemma2-bf16", "llama3-bf16", "llama3-q4_0", "mixtral-bf16", "phi3-bf16", "qwen2-q8_0"];

fn load(name: &str, options: DecoderOptions) -> DecoderProbe {
    let file = ModelFiles::Gguf(GgufFile::open(fixture(&format!("{name}.gguf"))).unwrap());
    DecoderProbe::load(&file, options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_file_says_what_transformers_says() {
    for name in FILES {
        let probe = load(name, in_f32());
        for case in cases(name) {
            agree(name, &alone(&probe, ProbeLimits::default(), &case), &case, 1e-3);
        }
    }
}

/// Weights that stay quantised are used exactly, and inputs are rounded to 16 bits: some 1e-4 of the largest
/// logit, which is 8 in these models.
#[test]
fn weights_that_stay_quantised_say_the_same() {
    for name in ["llama3-q4_0", "qwen2-q8_0"] {
        let probe = load(name, DecoderOptions::default());
        for case in cases(name) {
            agree(name, &alone(&probe, ProbeLimits::default(), &case), &case, 2e-3);
        }
    }
}

/// Eight bits put each weight off by up to 1/254 of the largest of its 32.
#[test]
fn weights_quantised_while_they_load_are_close_to_what_they_were() {
    let mut options = DecoderOptions::default();
    options.quantize = Some(Quantization::Q8_0);
    let (exact, quantised) = (load("llama3-bf16", in_f32()), load("llama3-bf16", options));
    for case in cases("llama3-bf16") {
        let [exact, quantised] =
            [&exact, &quantised].map(|probe| alone(probe, ProbeLimits::default(), &case));
        let off = exact.logits.iter().zip(&quantised.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off > 0.01 && off < 0.3, "off by {off} of logits up to 8");
        assert_eq!(exact.tokens[0], quantised.tokens[0]);
    }
}

#[test]
fn keys_and_values_of_half_the_width_change_little() {
    let folder = ModelFiles::Folder(ModelFolder::local(fixture("qwen3")).unwrap());
    let kept = |format| {
        let mut options = in_f32();
        options.kv_format = Some(format);
        let plan = DecoderPlan::of(&folder, options).unwrap();
        (DecoderProbe::load(&folder, options).unwrap(), plan.kv_bytes_per_token().bytes())
    };
    let ((exact, wide), (rounded, narrow)) = (kept(KvFormat::F32), kept(KvFormat::F16));
    assert_eq!(wide, 2 * narrow);
    for case in cases("qwen3") {
        let [exact, rounded] = [&exact, &rounded].map(|probe| alone(probe, ProbeLimits::default(), &case));
        let off = exact.logits.iter().zip(&rounded.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off > 1e-5 && off < 2e-2, "off by {off} of logits up to 8");
        assert_eq!(exact.tokens[0], rounded.tokens[0]);
    }
}

/// Rows of 64 weights do not divide into blocks of 256: they are kept in 8 bits, which is finer.
#[test]
fn rows_too_short_for_large_blocks_are_kept_in_smaller_ones() {
    let folder = ModelFiles::Folder(ModelFolder::local(fixture("qwen2")).unwrap());
    let load = |to| {
        let mut options = DecoderOptions::default();
        options.quantize = Some(to);
        DecoderProbe::load(&folder, options).unwrap()
    };
    let (wanted, kept) = (load(Quantization::Q4K), load(Quantization::Q8_0));
    let case = &cases("qwen2")[0];
    let [wanted, kept] = [&wanted, &kept].map(|probe| alone(probe, ProbeLimits::default(), case));
    assert_eq!(wanted, kept);
}
