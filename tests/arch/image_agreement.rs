//! Vectors of pictures equal those of transformers, the whole way from the file, alone and in company.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millpond::Dtype;
use millpond::arch::{ArchError, Architecture, EmbeddingWeights, ImagePlan, ImageWeights};
use millpond::capability::{EmbedImageRequest, ImageSource, ImageVector, ModelError};
use serde_json::{Value, json};

use crate::pictures::{fixture, picture};
use crate::support::{Agreement, Case, copied, copy_into, folder, patch};

const MODELS: [(&str, Architecture); 11] = [
    ("clip", Architecture::Clip),
    ("clip-vision", Architecture::Clip),
    ("siglip", Architecture::Siglip),
    ("siglip-vision", Architecture::Siglip),
    ("siglip2", Architecture::Siglip2),
    ("siglip2-vision", Architecture::Siglip2),
    ("dinov2", Architecture::Dinov2),
    ("dinov2-any-size", Architecture::Dinov2),
    ("dinov2-registers", Architecture::Dinov2WithRegisters),
    ("vit", Architecture::Vit),
    ("vit-classifier", Architecture::Vit),
];

fn load(path: &Path) -> ImageWeights {
    ImageWeights::load(&folder(path), Dtype::F32).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What the reference computes for each picture.
fn vectors(name: &str) -> BTreeMap<String, Vec<f32>> {
    let file = std::fs::read(fixture(&format!("{name}.json"))).expect("the fixture is there");
    serde_json::from_slice(&file).expect("the fixture is as make.py writes it")
}

fn request(name: &str) -> EmbedImageRequest {
    EmbedImageRequest::new(ImageSource::path(picture(name)))
}

fn one(weights: &ImageWeights, request: EmbedImageRequest) -> Result<ImageVector, ModelError> {
    weights.embed(&[request]).pop().expect("one answer to one request")
}

/// Whether different decoders see different pixels.
fn is_lossy(name: &str) -> bool {
    name.rsplit('.').next() == Some("jpg") || name == "lossy.webp"
}

fn agrees(name: &str, model: &Path) {
    let weights = load(model);
    let expected = vectors(name);
    let requests: Vec<_> = expected.keys().map(|picture| request(picture)).collect();
    let (mut exact, mut lossy) = (Agreement::PERFECT, Agreement::PERFECT);
    for ((picture, vector), got) in expected.iter().zip(weights.embed(&requests)) {
        let got = got.unwrap_or_else(|e| panic!("{name}: {picture}: {e}")).values;
        assert_eq!(got.len(), weights.plan().dimensions());
        let agreement = if is_lossy(picture) { &mut lossy } else { &mut exact };
        let own = Agreement::PERFECT.with(&got, vector);
        if own.min_cosine < 0.9999 {
            println!("{name}: {picture}: {own:?}");
        }
        *agreement = agreement.with(&got, vector);
    }
    println!("{name}: {exact:?}, of lossy files {lossy:?}");
    assert!(exact.min_cosine >= 0.9999 && exact.max_difference <= 1e-3, "{name}: {exact:?}");
    assert!(lossy.min_cosine >= 0.999, "{name}, lossy files: {lossy:?}");
}

#[test]
fn every_family_agrees_from_file_to_vector() {
    for (name, family) in MODELS {
        assert_eq!(Architecture::of(&folder(&fixture(name))).unwrap(), family, "{name}");
        agrees(name, &fixture(name));
    }
}

#[test]
fn a_picture_has_the_same_vector_alone_and_in_company() {
    for (name, _) in MODELS {
        let weights = load(&fixture(name));
        let names: Vec<_> = vectors(name).into_keys().collect();
        let requests: Vec<_> = names.iter().map(|picture| request(picture)).collect();
        let mut agreement = Agreement::PERFECT;
        for (request, together) in requests.iter().zip(weights.embed(&requests)) {
            let alone = one(&weights, request.clone()).unwrap();
            agreement = agreement.with(&together.unwrap().values, &alone.values);
        }
        assert!(agreement.max_difference <= 1e-5, "{name}: {agreement:?}");
    }
}

#[test]
fn every_source_of_a_picture_gives_the_same_vector() {
    let weights = load(&fixture("clip"));
    let bytes = std::fs::read(picture("rgb.png")).unwrap();
    let base64 = STANDARD.encode(&bytes);
    let decoded = millpond::image::decode(&ImageSource::path(picture("rgb.png"))).unwrap();
    let expected = one(&weights, request("rgb.png")).unwrap();
    for source in [
        ImageSource::encoded(bytes),
        ImageSource::base64(base64.as_str()),
        ImageSource::data_url(format!("data:image/png;base64,{base64}")),
        // What a URL says of its format is not believed.
        ImageSource::data_url(format!("data:image/webp;base64,{base64}")),
        ImageSource::pixels(decoded.width(), decoded.height(), decoded.rgb()),
    ] {
        assert_eq!(one(&weights, EmbedImageRequest::new(source)).unwrap(), expected);
    }
}

/// What a model made of a changed copy computes, beside what the reference does with the folder itself.
fn still_agrees(name: &str, change: impl FnOnce(&Path)) {
    let copy = copied(&fixture(name));
    change(copy.path());
    agrees(name, copy.path());
}

#[test]
fn preprocessing_in_older_words_is_the_same() {
    still_agrees("clip", |copy| {
        let file = "preprocessor_config.json";
        patch(copy, file, "size", json!(32));
        patch(copy, file, "crop_size", json!(32));
        patch(copy, file, "image_processor_type", Value::Null);
        patch(copy, file, "feature_extractor_type", json!("CLIPFeatureExtractor"));
        for entry in ["image_mean", "image_std", "resample", "do_convert_rgb", "do_rescale", "rescale_factor"]
        {
            patch(copy, file, entry, Value::Null);
        }
    });
    still_agrees("siglip", |copy| {
        let file = "preprocessor_config.json";
        patch(copy, file, "image_processor_type", json!("SiglipImageProcessorFast"));
        patch(copy, file, "image_mean", json!(0.5));
        let config: Value = serde_json::from_slice(&std::fs::read(copy.join(file)).unwrap()).unwrap();
        std::fs::remove_file(copy.join(file)).unwrap();
        let newer = json!({ "processor_class": "SiglipProcessor", "image_processor": config });
        std::fs::write(copy.join("processor_config.json"), newer.to_string()).unwrap();
    });
}

#[test]
fn configurations_in_older_words_are_the_same() {
    still_agrees("clip", |copy| {
        let file = copy.join("config.json");
        let config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        // The entry that older files have counts, and not the one that newer ones have.
        patch(copy, "config.json", "vision_config_dict", config["vision_config"].clone());
        patch(copy, "config.json", "vision_config", json!({ "hidden_size": 48, "image_size": 7 }));
    });
    still_agrees("dinov2", |copy| {
        patch(copy, "config.json", "model_type", Value::Null);
        patch(copy, "config.json", "image_size", json!([70, 70]));
    });
}

#[test]
fn a_folder_of_sentence_transformers_says_whether_vectors_are_scaled() {
    let copy = tempfile::tempdir().unwrap();
    let inside = copy.path().join("0_CLIPModel");
    std::fs::create_dir(&inside).unwrap();
    copy_into(&fixture("clip"), &inside);
    let stages = |normalized: bool| {
        let mut stages =
            vec![json!({ "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel" })];
        stages.extend(
            normalized.then(|| json!({ "path": "1", "type": "sentence_transformers.models.Normalize" })),
        );
        std::fs::write(copy.path().join("modules.json"), Value::from(stages).to_string()).unwrap();
    };
    let length = |vector: ImageVector| vector.values.iter().map(|x| x * x).sum::<f32>().sqrt();
    stages(false);
    agrees("clip", copy.path());
    let weights = load(copy.path());
    assert!((length(one(&weights, request("rgb.png").normalize(true)).unwrap()) - 1.0).abs() < 1e-6);
    stages(true);
    let weights = load(copy.path());
    assert!((length(one(&weights, request("rgb.png")).unwrap()) - 1.0).abs() < 1e-6);
    assert!((length(one(&weights, request("rgb.png").normalize(false)).unwrap()) - 1.0).abs() > 0.1);
    let dense = json!([
        { "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel" },
        { "path": "1", "type": "sentence_transformers.models.Dense" },
    ]);
    std::fs::write(copy.path().join("modules.json"), dense.to_string()).unwrap();
    let refused = ImagePlan::read(&folder(copy.path()), Dtype::F32).unwrap_err();
    assert!(matches!(refused, ArchError::Unsupported { .. }), "{refused:?}");
}

/// What the reference computes for texts, with the tokens it has of each.
fn texts(name: &str) -> Vec<Case> {
    let file = std::fs::read(fixture(&format!("{name}-texts.json"))).expect("the fixture is there");
    serde_json::from_slice(&file).expect("the fixture is as make.py writes it")
}

fn texts_agree(name: &str, model: &Path) {
    let weights =
        EmbeddingWeights::load(&folder(model), Dtype::F32).unwrap_or_else(|e| panic!("{name}: {e}"));
    let cases = texts(name);
    let requests: Vec<_> = cases.iter().map(Case::request).collect();
    let (mut agreement, mut company) = (Agreement::PERFECT, Agreement::PERFECT);
    for (case, got) in cases.iter().zip(weights.embed(&requests)) {
        let got = got.unwrap_or_else(|e| panic!("{name}: {:?}: {e}", case.text));
        assert_eq!((got.tokens, got.truncated), (case.tokens, case.truncated), "{name}: {:?}", case.text);
        agreement = agreement.with(&got.values, &case.embedding);
        let alone = weights.embed(&[case.request()]).pop().unwrap().unwrap();
        company = company.with(&got.values, &alone.values);
    }
    agreement.require(name);
    assert!(company.max_difference <= 1e-5, "{name}: {company:?}");
}

#[test]
fn texts_of_models_of_pictures_agree() {
    for name in ["clip", "siglip", "siglip2"] {
        texts_agree(name, &fixture(name));
    }
}

#[test]
fn the_wrong_end_of_older_files_is_known() {
    let copy = copied(&fixture("clip"));
    let file = copy.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    config["text_config"]["eos_token_id"] = json!(2);
    std::fs::write(&file, config.to_string()).unwrap();
    texts_agree("clip", copy.path());
}

#[test]
fn a_folder_without_a_tokenizer_reads_no_texts() {
    let copy = copied(&fixture("clip"));
    std::fs::remove_file(copy.path().join("tokenizer.json")).unwrap();
    let error = EmbeddingWeights::load(&folder(copy.path()), Dtype::F32).unwrap_err();
    assert!(matches!(error, ArchError::Unsupported { .. }), "{error}");
    agrees("clip", copy.path());
}

#[test]
fn a_long_picture_becomes_as_many_patches_as_there_may_be() {
    let weights = load(&fixture("siglip2"));
    let plan = weights.plan();
    let bar =
        |width, height: u32| ImageSource::pixels(width, height, vec![90; 3 * (width * height) as usize]);
    assert_eq!(plan.preprocessor().size_of(1, 8000), (8, 240));
    for (width, height) in [(8000, 1), (1, 8000), (1, 1), (500, 499)] {
        let request = EmbedImageRequest::new(bar(width, height));
        assert!(plan.cost(&request) <= 30, "{width} x {height}");
        assert_eq!(one(&weights, request).unwrap().values.len(), 32, "{width} x {height}");
    }
    let path = EmbedImageRequest::new(ImageSource::path(picture("rgb.png")));
    assert_eq!(plan.cost(&path), 30, "what is not decoded is taken for the largest");
    let copy = copied(&fixture("siglip2"));
    patch(copy.path(), "preprocessor_config.json", "max_num_patches", json!(8192));
    let larger = ImagePlan::read(&folder(copy.path()), Dtype::F32).unwrap();
    let bytes = |plan: &ImagePlan| plan.footprint(std::num::NonZeroUsize::MIN).unwrap().per_worker;
    assert!(bytes(&larger) > bytes(plan));
}

#[test]
fn a_fixed_processor_before_a_flexible_network_makes_squares() {
    let copy = copied(&fixture("siglip2"));
    let file = "preprocessor_config.json";
    patch(copy.path(), file, "image_processor_type", json!("SiglipImageProcessor"));
    patch(copy.path(), file, "size", json!({ "height": 40, "width": 40 }));
    let weights = load(copy.path());
    assert_eq!(weights.plan().reads(), Some((40, 40)));
    let vector = |name: &str| one(&weights, request(name)).unwrap().values;
    assert_ne!(vector("rgb.png"), vector("odd.png"));
}

#[test]
fn bf16_stays_near_f32() {
    for (name, _) in MODELS {
        let weights = ImageWeights::load(&folder(&fixture(name)), Dtype::Bf16).unwrap();
        let mut agreement = Agreement::PERFECT;
        for (picture, vector) in vectors(name) {
            agreement = agreement.with(&one(&weights, request(&picture)).unwrap().values, &vector);
        }
        println!("{name}: {agreement:?}");
        // Weights this random are no measure of what a trained network loses; a wrong one is far off.
        assert!(agreement.min_cosine > 0.98, "{name}: {agreement:?}");
    }
}

#[test]
fn a_plan_says_what_the_model_reads_and_gives() {
    let plan = |name: &str| ImagePlan::read(&folder(&fixture(name)), Dtype::F32).unwrap();
    assert_eq!((plan("clip").dimensions(), plan("clip").reads()), (24, Some((32, 32))));
    assert_eq!((plan("dinov2-any-size").dimensions(), plan("dinov2-any-size").reads()), (32, None));
    let two = std::num::NonZeroUsize::new(2).unwrap();
    let footprint = plan("clip").footprint(two).unwrap();
    // Without the part that reads texts.
    let whole = plan("clip").weight_files().unwrap().predicted_bytes(candle_core::DType::F32);
    assert!(footprint.weights < whole && footprint.weights.bytes() > whole.bytes() / 3);
}
