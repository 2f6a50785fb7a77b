//! BLIP: one picture, a caption with a beginning or without, and what it has no use for.

use std::num::NonZeroUsize;
use std::path::Path;

use millpond::arch::{ArchError, DecoderOptions, VisionPlan, VisionWeights};
use millpond::capability::{
    Chat, DescribeRequest, FinishReason, GenerateRequest, ImagePlace, ImagePlaces, ImageSource, Message,
    Model, ModelError, Prompt, ResponseFormat, SamplingOptions, Slot,
};
use millpond::pool::PoolError;
use millpond::weights::ModelFiles;
use millpond::{Capabilities, Dtype, Engine, Error, KvFormat, ModelOptions};
use serde_json::{Value, json};

use crate::pictures::picture;
use crate::support::{copied, folder, patch};
use crate::vision_agreement::{Bench, cases, fixture, load, still_agrees};

fn captioned(name: &str, beginning: &str) -> DescribeRequest {
    let generate = GenerateRequest::new(Prompt::Raw(beginning.to_owned())).max_tokens(8);
    DescribeRequest::new(vec![ImageSource::path(picture(name))], generate)
}

#[test]
fn what_a_model_that_captions_has_no_use_for_is_told() {
    let weights = load(&fixture("blip"), 512);
    let mut bench = Bench::new(&weights);
    let plain = || captioned("rgb.png", "a photo of");
    let told = |request: &DescribeRequest| weights.plan().validate(request).map_err(|error| error.field);
    assert_eq!(told(&plain()), Ok(()));
    assert_eq!(told(&plain().places(ImagePlaces::At(vec![ImagePlace { message: 0, at: 0 }]))), Ok(()));
    let change = |change: &dyn Fn(&mut DescribeRequest)| {
        let mut request = plain();
        change(&mut request);
        request
    };
    let chat = Prompt::Chat(Chat::new(vec![Message::user("What is it?")]));
    for (field, request) in [
        ("messages", change(&|request| request.generate.prompt = chat.clone())),
        ("images", change(&|request| request.images.clear())),
        ("images", change(&|request| request.images.push(ImageSource::path(picture("odd.png"))))),
        ("images", change(&|request| request.images[0] = ImageSource::pixels(2, 2, vec![0; 5]))),
        ("places", plain().places(ImagePlaces::Marked)),
        ("places", plain().places(ImagePlaces::At(vec![ImagePlace { message: 0, at: 1 }]))),
        (
            "response_format",
            change(&|request| {
                request.generate.response_format = ResponseFormat::Regex("a+".to_owned());
            }),
        ),
        ("max_tokens", change(&|request| request.generate.max_tokens = 64)),
        ("n", change(&|request| request.generate.n = 9)),
        ("stop_token_ids", change(&|request| request.generate.stop_token_ids = vec![5000])),
        ("logit_bias", change(&|request| request.generate.sampling.logit_bias.extend([(5000, 1.0)]))),
    ] {
        assert_eq!(told(&request), Err(field));
        assert!(matches!(bench.admit(0, request), Err(ModelError::Invalid(error)) if error.field == field));
    }
    // As letters, these are as many tokens as there is room for beside the answer, and one more.
    let long = |letters: usize| captioned("rgb.png", &"x ".repeat(letters));
    assert_eq!(bench.answer(long(55)).unwrap().prompt_tokens(), 56);
    let error = bench.admit(0, long(56)).unwrap_err();
    assert!(matches!(&error, ModelError::Invalid(error) if error.field == "max_tokens"), "{error}");
    assert!(bench.is_whole() && bench.ended.is_empty());
}

#[test]
fn a_picture_that_cannot_be_read_fails_its_own_request() {
    let weights = load(&fixture("blip"), 512);
    let mut bench = Bench::new(&weights);
    let mut broken = captioned("rgb.png", "");
    broken.images[0] = ImageSource::encoded(b"no picture at all".to_vec());
    let refused = bench.admit(2, broken.clone()).unwrap_err();
    assert!(matches!(&refused, ModelError::Invalid(error) if error.field == "images"), "{refused}");
    let whole = std::fs::read(picture("rgb.png")).unwrap();
    broken.images[0] = ImageSource::encoded(whole[..whole.len() / 2].to_vec());
    bench.admit(0, broken).unwrap();
    bench.admit(1, cases("blip")[0].request()).unwrap();
    let error = bench.finish(0).unwrap_err();
    assert!(matches!(&error, ModelError::Invalid(error) if error.field == "images"), "{error}");
    cases("blip")[0].agrees("blip", &bench.finish(1).unwrap());
}

/// Writes weights that tell tokens into a copy, each `factor` times those that they are read as, with their biases.
fn told_by(copy: &Path, factor: f64) {
    let file = copy.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &candle_core::Device::Cpu).unwrap();
    let words = &tensors["text_decoder.bert.embeddings.word_embeddings.weight"];
    let words = (words * factor).unwrap();
    let bias = (tensors.remove("text_decoder.cls.predictions.bias").unwrap() * factor).unwrap();
    tensors.insert("text_decoder.cls.predictions.decoder.weight".to_owned(), words);
    tensors.insert("text_decoder.cls.predictions.decoder.bias".to_owned(), bias);
    candle_core::safetensors::save(&tensors, &file).unwrap();
}

#[test]
fn tokens_are_told_by_weights_of_their_own_only_where_the_file_says_so() {
    still_agrees("blip", |copy| told_by(copy, 1.0));
    let apart = |copy: &Path| patch(copy, "config.json", "tie_word_embeddings", json!(false));
    still_agrees("blip", |copy| {
        told_by(copy, 1.0);
        apart(copy);
    });
    let (copy, case) = (copied(&fixture("blip")), &cases("blip")[1]);
    let first = |copy: &Path| {
        let got = Bench::new(&load(copy, 512)).answer(case.request()).unwrap();
        assert_eq!(got.choices[0].token_ids, case.tokens);
        got.choices[0].logprobs[0].chosen.logprob
    };
    let before = first(copy.path());
    told_by(copy.path(), 4.0);
    apart(copy.path());
    assert!(
        first(copy.path()) > before / 2.0,
        "logits four times as far apart leave the likeliest less doubt"
    );
    let bare = copied(&fixture("blip"));
    apart(bare.path());
    let plan = VisionPlan::read(&folder(bare.path()), DecoderOptions::default()).unwrap();
    assert!(VisionWeights::load(plan).is_err(), "there are none of their own");
}

#[test]
fn drawn_captions_are_the_same_alone_and_in_company() {
    let weights = load(&fixture("blip"), 512);
    let drawn = |seed: u64| {
        let mut request =
            captioned(["rgb.png", "odd.png"][seed as usize % 2], ["", "a photo of"][seed as usize % 2]);
        request.generate.sampling = SamplingOptions::with_temperature(1.5);
        (request.generate.sampling.seed, request.generate.n) = (Some(seed), 1 + seed as usize % 3);
        request.generate.sampling.repetition_penalty = 1.2;
        request.generate.logprobs = Some(2);
        request
    };
    let alone: Vec<_> = (0..8).map(|seed| Bench::new(&weights).answer(drawn(seed)).unwrap()).collect();
    assert!(alone[2].choices[0].token_ids != alone[2].choices[1].token_ids, "answers are drawn apart");
    let mut bench = Bench::new(&weights);
    for seed in 0..8 {
        bench.admit(seed, drawn(u64::from(seed))).unwrap();
        (0..seed % 3).for_each(|_| bench.step());
    }
    for seed in 0..8 {
        assert_eq!(bench.finish(seed).unwrap(), alone[seed as usize], "{seed}");
    }
    assert!(bench.is_whole());
}

#[test]
fn captions_end_where_they_are_told_to() {
    let weights = load(&fixture("blip"), 512);
    let mut bench = Bench::new(&weights);
    let case = &cases("blip")[0];
    let mut request = case.request();
    request.generate.stop_token_ids = vec![case.tokens[3]];
    let got = bench.answer(request).unwrap().choices.remove(0);
    let first = case.tokens.iter().position(|token| *token == case.tokens[3]).unwrap();
    assert_eq!((got.token_ids.as_slice(), got.finish_reason), (&case.tokens[..=first], FinishReason::Stop));
    // The model's own end, made likelier than all else.
    let mut request = case.request();
    request.generate.sampling.logit_bias.insert(weights.plan().ending_tokens()[0], 100.0);
    let got = bench.answer(request).unwrap().choices.remove(0);
    assert_eq!((got.text.as_str(), got.token_ids.len(), got.finish_reason), ("", 1, FinishReason::Stop));
}

#[test]
fn a_canceled_caption_is_forgotten_with_its_picture() {
    let weights = load(&fixture("blip"), 512);
    let mut bench = Bench::new(&weights);
    for slot in 0..3 {
        bench.admit(slot, captioned("odd.png", "a photo of")).unwrap();
    }
    bench.step();
    bench.step();
    assert!(!bench.is_whole() && bench.model.pictures_read() == 2);
    (0..3).for_each(|slot| bench.model.cancel(Slot(slot)));
    bench.step();
    assert!(bench.is_whole() && bench.ended.is_empty() && bench.model.pictures_read() == 2);
}

#[test]
fn an_engine_captions_and_tells_tokens_as_they_come() {
    let engine = Engine::builder().threads_per_worker(NonZeroUsize::MIN).build().unwrap();
    let files = ModelFiles::Folder(folder(&fixture("blip")));
    assert_eq!(Capabilities::all(&files).unwrap(), (Capabilities::Vision, None));
    let config = engine.key_config(Capabilities::Vision);
    let options = ModelOptions::default().dtype(Dtype::F32);
    engine.add_files_with("blip", files, config, options).unwrap();
    let tickets: Vec<_> = (0..12)
        .map(|number| engine.vision().submit("blip", cases("blip")[number % 3].request()).unwrap())
        .collect();
    for (number, mut ticket) in tickets.into_iter().enumerate() {
        let told: Vec<u32> = ticket.events().map(|token| token.id).collect();
        assert_eq!(told, cases("blip")[number % 3].tokens);
    }
    let two = DescribeRequest::new(
        vec![ImageSource::path(picture("rgb.png")); 2],
        captioned("rgb.png", "").generate,
    );
    let Err(Error::Pool(PoolError::InvalidRequest { source, .. })) = engine.describe("blip", two) else {
        panic!("it captions one picture");
    };
    assert_eq!(source.field, "images");
}

fn refused(change: impl FnOnce(&Path)) -> ArchError {
    let copy = copied(&fixture("blip"));
    change(copy.path());
    let plan = VisionPlan::read(&folder(copy.path()), DecoderOptions::default());
    plan.and_then(VisionWeights::load).expect_err("that is no model that captions")
}

fn inside(outer: &str, field: &str, value: Value) -> ArchError {
    refused(|path| {
        let text = std::fs::read(path.join("config.json")).unwrap();
        let mut whole: Value = serde_json::from_slice(&text).unwrap();
        whole[outer][field] = value;
        patch(path, "config.json", outer, whole[outer].take());
    })
}

#[test]
fn what_is_no_model_that_captions_is_refused() {
    let huge = json!(1_u64 << 40);
    for (outer, field, value) in [
        ("text_config", "vocab_size", json!(0)),
        ("text_config", "vocab_size", huge.clone()),
        ("text_config", "vocab_size", json!(50)),
        ("text_config", "hidden_size", huge.clone()),
        ("text_config", "hidden_size", json!(0)),
        ("text_config", "num_attention_heads", json!(5)),
        ("text_config", "num_hidden_layers", json!(3)),
        ("text_config", "num_hidden_layers", huge.clone()),
        ("text_config", "intermediate_size", json!(65)),
        ("text_config", "max_position_embeddings", json!(1)),
        ("text_config", "max_position_embeddings", huge.clone()),
        ("text_config", "max_position_embeddings", json!(8192)),
        ("text_config", "layer_norm_eps", json!(-1.0)),
        ("text_config", "hidden_act", json!("mish")),
        ("text_config", "bos_token_id", json!(4_000_000_000_u32)),
        ("text_config", "sep_token_id", json!(30_000)),
        ("text_config", "is_decoder", json!(false)),
        ("vision_config", "image_size", json!(40)),
        ("vision_config", "image_size", json!([32, 24])),
        ("vision_config", "patch_size", json!(0)),
        ("vision_config", "hidden_size", json!(33)),
        ("vision_config", "num_hidden_layers", huge),
    ] {
        let error = inside(outer, field, value.clone());
        assert!(!error.to_string().is_empty(), "{outer}.{field} = {value}");
    }
    let other = refused(|path| {
        patch(path, "config.json", "architectures", json!(["BlipForQuestionAnswering"]));
    });
    assert!(matches!(other, ArchError::Unsupported { what: "class", .. }), "{other}");
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        refused(|path| std::fs::remove_file(path.join(file)).unwrap());
        refused(|path| {
            let whole = std::fs::read(path.join(file)).unwrap();
            std::fs::write(path.join(file), &whole[..whole.len() / 2]).unwrap();
        });
    }
}

#[test]
fn options_of_decoders_are_refused() {
    let mut options = DecoderOptions::default();
    options.kv_format = Some(KvFormat::F16);
    let error = VisionPlan::read(&folder(&fixture("blip")), options).unwrap_err();
    assert!(matches!(error, ArchError::Unsupported { .. }), "{error}");
}

#[test]
fn memory_is_predicted_from_headers() {
    let plan = load(&fixture("blip"), 512).plan().clone();
    let small = plan.footprint(NonZeroUsize::MIN).unwrap();
    let mut options = DecoderOptions::default();
    (options.dtype, options.cache_tokens) = (Dtype::F32, Some(1024));
    let plan = VisionPlan::read(&folder(&fixture("blip")), options).unwrap();
    let large = plan.footprint(NonZeroUsize::MIN).unwrap();
    assert_eq!(small.weights, large.weights);
    let more = large.per_worker.bytes() - small.per_worker.bytes();
    assert!(more >= 512 * plan.kv_bytes_per_token().bytes(), "{more} more bytes for 512 tokens");
}
