//! Models that see say what transformers says, from files and messages to tokens: alone, in company, in turns.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond::Dtype;
use millpond::arch::{Architecture, DecoderFamily, DecoderOptions, Describer, VisionPlan, VisionWeights};
use millpond::capability::{
    ContentPart, DescribeRequest, GenerateRequest, ImageSource, JobContext, Message, Model, ModelError,
    Outbox, Prompt, Role, Slot, TextCompletion, Vision,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::pictures::picture;
use crate::support::{copied, folder, patch};

/// Pictures and messages, or a text, with what the reference makes of them.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    images: Vec<String>,
    #[serde(default)]
    messages: Vec<Said>,
    text: Option<String>,
    pub(crate) prompt: Vec<u32>,
    logits: Vec<f32>,
    pub(crate) tokens: Vec<u32>,
}

#[derive(Debug, Deserialize)]
struct Said {
    role: String,
    content: Vec<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Part {
    Text { text: String },
    Image,
}

pub(crate) const FAMILIES: [(&str, Architecture); 9] = [
    ("llava", Architecture::Llava),
    ("llava-siglip", Architecture::Llava),
    ("idefics3", Architecture::Idefics3),
    ("smolvlm", Architecture::SmolVlm),
    ("qwen2-vl", Architecture::Qwen2Vl),
    ("qwen2.5-vl", Architecture::Qwen2_5Vl),
    ("gemma3", Architecture::Decoder(DecoderFamily::Gemma3)),
    ("paligemma", Architecture::PaliGemma),
    ("blip", Architecture::Blip),
];

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vision").join(name)
}

pub(crate) fn cases(name: &str) -> Vec<Case> {
    let cases = std::fs::read(fixture(&format!("{name}.json"))).expect("the fixture is there");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("the fixture is as make.py writes it");
    assert!(cases.len() >= 2 && cases.iter().all(|case| case.tokens.len() >= 16));
    cases
}

/// Everything as numbers in f32, whatever the processor would rather have: what the references compute.
pub(crate) fn load(path: &Path, cache_tokens: usize) -> Arc<VisionWeights> {
    let mut options = DecoderOptions::default();
    (options.dtype, options.cache_tokens) = (Dtype::F32, Some(cache_tokens));
    let plan = VisionPlan::read(&folder(path), options).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Arc::new(VisionWeights::load(plan).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

impl Case {
    /// What asks for what the reference said.
    pub(crate) fn request(&self) -> DescribeRequest {
        let mut images = self.images.iter().map(|name| ImageSource::path(picture(name)));
        let mut request = match &self.text {
            Some(text) => {
                DescribeRequest::new(images.collect(), GenerateRequest::new(Prompt::Raw(text.clone())))
            }
            None => DescribeRequest::conversation(self.messages.iter().map(|said| {
                let role = if said.role == "user" { Role::User } else { Role::Assistant };
                let parts = said.content.iter().map(|part| match part {
                    Part::Text { text } => ContentPart::text(text),
                    Part::Image => ContentPart::image(images.next().expect("there is a file for each")),
                });
                (Message::new(role, ""), parts.collect())
            })),
        };
        request.generate.max_tokens = self.tokens.len();
        request.generate.logprobs = Some(1);
        request
    }

    /// The reference's tokens, and its first token as likely as there.
    pub(crate) fn agrees(&self, name: &str, got: &TextCompletion) {
        assert_eq!(got.prompt_token_ids, self.prompt, "{name}: the prompt");
        let choice = &got.choices[0];
        assert_eq!(choice.token_ids, self.tokens, "{name}, {:?}", self.images);
        let largest = self.logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = self.logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        let off = (f64::from(choice.logprobs[0].chosen.logprob) + sum.ln()).abs();
        assert!(off < 1e-3, "{name}: the first token's probability is off by {off}");
    }
}

/// A model driven by hand.
pub(crate) struct Bench {
    pub(crate) model: Describer,
    out: Outbox<Vision>,
    pub(crate) ended: BTreeMap<Slot, Result<TextCompletion, ModelError>>,
}

impl Bench {
    pub(crate) fn new(weights: &Arc<VisionWeights>) -> Self {
        let model = Describer::new(weights.clone(), NonZeroUsize::MIN, || 1_700_000_000);
        Self { model, out: Outbox::new(), ended: BTreeMap::new() }
    }

    pub(crate) fn admit(&mut self, slot: u32, request: DescribeRequest) -> Result<(), ModelError> {
        self.model.admit(Slot(slot), request, &JobContext::detached(u64::from(slot)))
    }

    pub(crate) fn step(&mut self) {
        self.model.step(&mut self.out).unwrap();
        for (slot, ended) in self.out.take_ended() {
            assert!(self.ended.insert(slot, ended).is_none(), "{slot:?} ends once");
        }
    }

    pub(crate) fn finish(&mut self, slot: u32) -> Result<TextCompletion, ModelError> {
        while !self.ended.contains_key(&Slot(slot)) {
            self.step();
        }
        self.ended.remove(&Slot(slot)).unwrap()
    }

    pub(crate) fn answer(&mut self, request: DescribeRequest) -> Result<TextCompletion, ModelError> {
        self.admit(0, request)?;
        self.finish(0)
    }

    /// Nothing that a request held is left behind.
    pub(crate) fn is_whole(&self) -> bool {
        let (free, all) = self.model.free_blocks();
        free == all && self.model.held_rows() == 0
    }
}

#[test]
fn every_family_says_what_transformers_says() {
    let mut failed = Vec::new();
    for (name, architecture) in FAMILIES {
        let check = || {
            assert_eq!(Architecture::of(&folder(&fixture(name))).unwrap(), architecture);
            let weights = load(&fixture(name), 512);
            for case in cases(name) {
                case.agrees(name, &Bench::new(&weights).answer(case.request()).unwrap());
            }
        };
        if std::panic::catch_unwind(check).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn requests_that_come_at_any_time_are_answered_as_if_alone() {
    for (name, _) in FAMILIES {
        let (weights, cases) = (load(&fixture(name), 512), cases(name));
        let mut bench = Bench::new(&weights);
        for number in 0..9 {
            bench.admit(number, cases[number as usize % cases.len()].request()).unwrap();
            (0..number * 5 % 4).for_each(|_| bench.step());
        }
        for number in 0..9 {
            let got = bench.finish(number).unwrap();
            cases[number as usize % cases.len()].agrees(name, &got);
        }
        assert!(bench.is_whole(), "{name}");
    }
}

#[test]
fn texts_with_pictures_that_gave_way_say_the_same() {
    for (name, _) in FAMILIES {
        let cases = cases(name);
        let longest = cases.iter().map(|case| case.prompt.len() + case.tokens.len()).max().unwrap();
        // Room for one of them and a little more.
        let weights = load(&fixture(name), longest + 40);
        let mut bench = Bench::new(&weights);
        for number in 0..6 {
            bench.admit(number, cases[number as usize % cases.len()].request()).unwrap();
        }
        for number in 0..6 {
            let got = bench.finish(number).unwrap();
            cases[number as usize % cases.len()].agrees(name, &got);
        }
        assert!(bench.is_whole(), "{name}");
    }
}

/// What a model made of a changed copy says, beside what the reference does with the folder itself.
pub(crate) fn still_agrees(name: &str, change: impl FnOnce(&Path)) {
    let copy = copied(&fixture(name));
    change(copy.path());
    let weights = load(copy.path(), 512);
    for case in cases(name) {
        case.agrees(name, &Bench::new(&weights).answer(case.request()).unwrap());
    }
}

#[test]
fn tensors_in_the_newer_layout_are_the_same() {
    let newer = |name: &str| {
        let inside = |part: &str| format!("model.{part}");
        if let Some(rest) = name.strip_prefix("language_model.model.") {
            return format!("model.language_model.{rest}");
        }
        if let Some(rest) = name.strip_prefix("language_model.lm_head.") {
            return format!("lm_head.{rest}");
        }
        let sees = ["vision_tower.", "multi_modal_projector.", "visual."];
        match name.strip_prefix("model.") {
            Some(rest) => format!("model.language_model.{rest}"),
            None if sees.iter().any(|part| name.starts_with(part)) => inside(name),
            None => name.to_owned(),
        }
    };
    for name in ["llava", "qwen2-vl", "gemma3", "paligemma"] {
        still_agrees(name, |copy| {
            let file = copy.join("model.safetensors");
            let tensors = candle_core::safetensors::load(&file, &candle_core::Device::Cpu).unwrap();
            let before = tensors.len();
            let renamed: HashMap<_, _> =
                tensors.into_iter().map(|(name, tensor)| (newer(&name), tensor)).collect();
            assert!(
                renamed.len() == before
                    && renamed.keys().any(|name| name.starts_with("model.language_model."))
            );
            candle_core::safetensors::save(&renamed, &file).unwrap();
        });
    }
}

#[test]
fn configurations_in_older_words_are_the_same() {
    still_agrees("llava", |copy| {
        let template = std::fs::read_to_string(copy.join("chat_template.jinja")).unwrap();
        std::fs::remove_file(copy.join("chat_template.jinja")).unwrap();
        std::fs::write(copy.join("chat_template.json"), json!({ "chat_template": template }).to_string())
            .unwrap();
        let processor = std::fs::read(copy.join("processor_config.json")).unwrap();
        let processor: Value = serde_json::from_slice(&processor).unwrap();
        std::fs::write(copy.join("preprocessor_config.json"), processor["image_processor"].to_string())
            .unwrap();
        let config: Value =
            serde_json::from_slice(&std::fs::read(copy.join("config.json")).unwrap()).unwrap();
        let id = ["image_token_id", "image_token_index"].iter().find_map(|name| config[name].as_u64());
        patch(copy, "config.json", "image_token_id", Value::Null);
        patch(copy, "config.json", "image_token_index", json!(id.unwrap()));
        patch(copy, "config.json", "projector_hidden_act", Value::Null);
    });
    // All of the decoder's entries beside vision_config, and pixels by name, as the first files of Qwen 2 VL have it.
    still_agrees("qwen2-vl", |copy| {
        let file = "preprocessor_config.json";
        let mut pixels: Value = serde_json::from_slice(&std::fs::read(copy.join(file)).unwrap()).unwrap();
        let (least, most) = (pixels["size"]["shortest_edge"].take(), pixels["size"]["longest_edge"].take());
        patch(copy, file, "size", json!({ "min_pixels": least, "max_pixels": most }));
        let config: Value =
            serde_json::from_slice(&std::fs::read(copy.join("config.json")).unwrap()).unwrap();
        patch(copy, "config.json", "text_config", Value::Null);
        for (name, value) in config["text_config"].as_object().unwrap() {
            match name.as_str() {
                "model_type" => {}
                "rope_parameters" => {
                    let scaling = json!({ "type": "mrope", "mrope_section": value["mrope_section"] });
                    patch(copy, "config.json", "rope_scaling", scaling);
                    patch(copy, "config.json", "rope_theta", value["rope_theta"].clone());
                }
                name => patch(copy, "config.json", name, value.clone()),
            }
        }
    });
}
