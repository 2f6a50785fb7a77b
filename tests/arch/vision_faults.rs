//! What is no model that sees is told with a typed error, before anything absurd is allocated.

use millpond::arch::{ArchError, DecoderOptions, VisionPlan, VisionWeights};
use millpond::capability::{DescribeRequest, GenerateRequest, ImageSource, ModelError, Prompt};
use serde_json::{Value, json};

use crate::support::{copied, folder, patch};
use crate::vision_agreement::{self, Bench, fixture};

fn load(path: &std::path::Path) -> Result<VisionWeights, ArchError> {
    VisionWeights::load(VisionPlan::read(&folder(path), DecoderOptions::default())?)
}

/// What a model says after one entry of one of its files is changed; a dot leads into an entry.
fn changed(name: &str, file: &str, field: &str, value: Value) -> Result<VisionWeights, ArchError> {
    let copy = copied(&fixture(name));
    match field.split_once('.') {
        None => patch(copy.path(), file, field, value),
        Some((outer, inner)) => {
            let text = std::fs::read(copy.path().join(file)).unwrap();
            let mut whole: Value = serde_json::from_slice(&text).unwrap();
            whole[outer][inner] = value;
            patch(copy.path(), file, outer, whole[outer].take());
        }
    }
    load(copy.path())
}

#[test]
fn numbers_that_no_model_has_are_refused() {
    let huge = json!(1_u64 << 40);
    for (name, field, value) in [
        ("llava", "vision_feature_layer", json!(0)),
        ("llava", "vision_feature_layer", json!(-9)),
        ("llava", "vision_feature_layer", json!([-1, -2])),
        ("llava", "vision_feature_select_strategy", json!("some")),
        ("llava", "image_token_id", json!(4_000_000_000_u32)),
        ("llava", "projector_hidden_act", json!("mish")),
        ("llava", "vision_config.hidden_size", huge.clone()),
        ("llava", "vision_config.image_size", json!(40)),
        ("llava", "vision_config.model_type", json!("sam")),
        ("llava", "text_config.hidden_size", huge.clone()),
        ("llava", "text_config.hidden_size", json!(32)),
        ("idefics3", "scale_factor", json!(0)),
        ("idefics3", "scale_factor", json!(3)),
        ("idefics3", "vision_config.image_size", json!(30)),
        ("qwen2-vl", "vision_config.patch_size", json!(0)),
        ("qwen2-vl", "vision_config.hidden_size", json!(49)),
        ("qwen2-vl", "vision_config.num_heads", json!(16)),
        ("qwen2-vl", "vision_config.mlp_ratio", json!(1e30)),
        ("qwen2-vl", "vision_config.spatial_merge_size", huge.clone()),
        ("qwen2.5-vl", "vision_config.depth", huge.clone()),
        ("gemma3", "mm_tokens_per_image", json!(15)),
        ("gemma3", "mm_tokens_per_image", huge.clone()),
        ("gemma3", "boi_token_index", json!(9999)),
        ("paligemma", "vision_config.hidden_size", json!(0)),
    ] {
        let refused = changed(name, "config.json", field, value.clone());
        assert!(refused.is_err(), "{name}: {field} = {value}");
    }
}

#[test]
fn a_tokenizer_without_the_tokens_that_frame_pictures_is_refused() {
    for field in ["vision_start_token_id", "vision_end_token_id"] {
        let copy = copied(&fixture("qwen2-vl"));
        let path = copy.path().join("tokenizer.json");
        let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        // The last, as those behind one that is gone would move up. The network still has a row for it.
        let last = tokenizer["added_tokens"].as_array_mut().unwrap().pop().unwrap()["id"].take();
        std::fs::write(&path, tokenizer.to_string()).unwrap();
        patch(copy.path(), "config.json", field, last.clone());
        let refused = load(copy.path()).unwrap_err().to_string();
        assert!(
            refused.contains("the tokenizer must know it") && refused.contains(&last.to_string()),
            "{refused}"
        );
    }
    for missing in ["<row_2_col_2>", "<global-img>"] {
        let copy = copied(&fixture("idefics3"));
        let path = copy.path().join("tokenizer.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(missing));
        std::fs::write(&path, text.replace(missing, "<something_else>")).unwrap();
        let refused = load(copy.path()).unwrap_err().to_string();
        assert!(refused.contains(missing), "{refused}");
    }
}

#[test]
fn preprocessing_that_makes_no_sense_is_refused() {
    for (name, field, value) in [
        ("llava", "crop_size", json!({ "height": 16, "width": 16 })),
        ("idefics3", "max_image_size", json!({ "longest_edge": 0 })),
        ("idefics3", "max_image_size", json!({ "longest_edge": 48 })),
        ("idefics3", "size", json!({ "longest_edge": 1_u64 << 40 })),
        ("idefics3", "size", json!({ "height": 3 })),
        ("qwen2-vl", "patch_size", json!(9)),
        ("qwen2-vl", "min_pixels", json!(1_u64 << 50)),
        ("qwen2-vl", "max_pixels", json!(0)),
        ("gemma3", "do_pan_and_scan", json!(true)),
    ] {
        let copy = copied(&fixture(name));
        let preprocessor = copy.path().join("preprocessor_config.json");
        if preprocessor.is_file() {
            patch(copy.path(), "preprocessor_config.json", field, value.clone());
        } else {
            let text = std::fs::read(copy.path().join("processor_config.json")).unwrap();
            let mut whole: Value = serde_json::from_slice(&text).unwrap();
            whole["image_processor"][field] = value.clone();
            patch(copy.path(), "processor_config.json", "image_processor", whole["image_processor"].take());
        }
        assert!(load(copy.path()).is_err(), "{name}: {field} = {value}");
    }
}

#[test]
fn tiles_are_bounded_where_pictures_stay_as_large_as_they_are() {
    let copy = copied(&fixture("idefics3"));
    let text = std::fs::read(copy.path().join("processor_config.json")).unwrap();
    let mut processor = serde_json::from_slice::<Value>(&text).unwrap()["image_processor"].take();
    processor["do_resize"] = json!(false);
    patch(copy.path(), "processor_config.json", "image_processor", processor);
    let refused = load(copy.path()).unwrap_err().to_string();
    assert!(refused.contains("max_image_size") && refused.contains("at most 32 tiles"), "{refused}");
}

#[test]
fn pictures_of_more_patches_than_are_looked_at_are_refused_with_what_would_do() {
    // Pictures become as many patches of 8 x 8 pixels, or more.
    let refused = |patches: u64, width: u32, height: u32| {
        let copy = copied(&fixture("qwen2-vl"));
        let pixels = json!({ "min_pixels": 64 * patches, "max_pixels": 64 * 40_000 });
        patch(copy.path(), "preprocessor_config.json", "size", pixels);
        let picture = ImageSource::pixels(width, height, vec![7; (3 * width * height) as usize]);
        let generate = GenerateRequest::new(Prompt::Raw("?".to_owned())).max_tokens(6);
        let request = DescribeRequest::new(vec![picture], generate);
        match Bench::new(&vision_agreement::load(copy.path(), 512)).answer(request).unwrap_err() {
            ModelError::Invalid(invalid) => invalid.reason,
            other => panic!("{other}"),
        }
    };
    let many = refused(20_000, 64, 64);
    assert!(many.contains("patches") && many.contains("max_pixels"), "{many}");
    assert!(many.ends_with(&format!("at most {}", 8 * 8 * 16_384)), "{many}");
    let long = refused(14_000, 400, 4);
    assert!(long.contains("1024 on a side") && !long.contains("max_pixels"), "{long}");
}

#[test]
fn files_that_are_missing_or_cut_are_told() {
    for file in ["model.safetensors", "tokenizer.json", "config.json", "processor_config.json"] {
        let copy = copied(&fixture("llava"));
        let whole = std::fs::read(copy.path().join(file)).unwrap();
        std::fs::write(copy.path().join(file), &whole[..whole.len() / 2]).unwrap();
        assert!(load(copy.path()).is_err(), "half of {file}");
        std::fs::remove_file(copy.path().join(file)).unwrap();
        assert!(load(copy.path()).is_err(), "no {file}");
    }
}
