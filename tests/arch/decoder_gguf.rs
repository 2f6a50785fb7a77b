//! Decoders from GGUF files say what transformers says with the numbers that the files hold.

use millpond::Dtype;
use millpond::arch::{DecoderOptions, DecoderProbe, ProbeLimits};
use millpond::weights::GgufFile;

use crate::decoder_agreement::{agree, alone, cases, fixture};

const FILES: [&str; 6] =
    ["gemma2-bf16", "llama3-bf16", "llama3-q4_0", "mixtral-bf16", "phi3-bf16", "qwen2-q8_0"];

/// Everything as numbers in f32: what the references compute.
fn in_f32() -> DecoderOptions {
    let mut options = DecoderOptions::default();
    options.dtype = Dtype::F32;
    options
}

fn load(name: &str, options: DecoderOptions) -> DecoderProbe {
    let file = GgufFile::open(fixture(&format!("{name}.gguf"))).unwrap();
    DecoderProbe::load_gguf(&file, options).unwrap_or_else(|error| panic!("{name}: {error}"))
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
