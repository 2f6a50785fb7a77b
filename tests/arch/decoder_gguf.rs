//! Decoders from GGUF files say what transformers says with the numbers that the files hold.

use millpond::arch::{DecoderOptions, DecoderProbe, ProbeLimits};
use millpond::weights::GgufFile;

use crate::decoder_agreement::{agree, alone, cases, fixture};

const FILES: [&str; 6] =
    ["gemma2-bf16", "llama3-bf16", "llama3-q4_0", "mixtral-bf16", "phi3-bf16", "qwen2-q8_0"];

#[test]
fn every_file_says_what_transformers_says() {
    for name in FILES {
        let file = GgufFile::open(fixture(&format!("{name}.gguf"))).unwrap();
        let probe = DecoderProbe::load_gguf(&file, DecoderOptions::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        for case in cases(name) {
            agree(name, &alone(&probe, ProbeLimits::default(), &case), &case);
        }
    }
}
