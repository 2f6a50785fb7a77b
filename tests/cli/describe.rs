//! `millpond describe`, and what the other verbs say of models that see and write.

use serde_json::{Value, json};

use crate::support::millpond;

const LLAVA: &str = "tests/fixtures/vision/llava";

fn picture(name: &str) -> String {
    format!("tests/fixtures/image/pictures/{name}")
}

/// The first of the fixture's cases.
fn case() -> Value {
    let cases = std::fs::read("tests/fixtures/vision/llava.json").unwrap();
    serde_json::from_slice::<Value>(&cases).unwrap()[0].take()
}

#[test]
fn pictures_are_described_in_every_form() {
    let (case, rgb) = (case(), picture("rgb.png"));
    let question = case["messages"][0]["content"][1]["text"].as_str().unwrap();
    let args = ["describe", "-m", LLAVA, "--dtype", "f32", "--max-tokens", "20", "--image", &rgb];
    let asked = |more: &[&str]| millpond(args.iter().chain(more)).ok();
    let json = asked(&[question, "--json"]).json().remove(0);
    assert_eq!(json["prompt_token_ids"], case["prompt"]);
    assert_eq!(json["token_ids"], case["tokens"]);
    assert_eq!(json["finish_reason"], "length");
    let text = asked(&[question]).stdout;
    assert_eq!(text.trim_end_matches('\n'), json["text"].as_str().unwrap());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), case["messages"].to_string()).unwrap();
    let messages = asked(&["--json", "--messages", file.path().to_str().unwrap()]).json().remove(0);
    assert_eq!(messages, json);
    let marked = asked(&["--raw", "--json", "USER: <image>\nWhat is it? ASSISTANT:"]).json().remove(0);
    assert_eq!(marked["token_ids"], json["token_ids"]);
    let two = asked(&[question, "--json", "--n", "2"]).json();
    assert_eq!((two[0]["index"].clone(), two[1]["token_ids"].clone()), (json!(0), json["token_ids"].clone()));
}

#[test]
fn what_cannot_be_described_says_why() {
    let rgb = picture("rgb.png");
    let run = |args: &[&str]| millpond(["describe", "-m", LLAVA].iter().chain(args));
    let broken = run(&["--image", &rgb, "--image", "Cargo.toml", "What?"]);
    assert_eq!(broken.code, Some(1));
    assert!(broken.stderr.contains("picture 1: ") && broken.stderr.contains("no PNG"), "{broken:?}");
    assert_eq!(run(&["What?"]).code, Some(2), "there is no picture");
    let wrong = millpond(["describe", "-m", "tests/fixtures/image/vit", "--image", &rgb, "What?"]);
    assert!(wrong.stderr.contains("does image-embedding, not vision"), "{wrong:?}");
    let many: Vec<&str> = std::iter::repeat_n(["--image", rgb.as_str()], 40).flatten().collect();
    let many = run(&[many.as_slice(), &["What?"]].concat());
    assert!(many.code == Some(1) && many.stderr.contains("show fewer"), "{many:?}");
}

#[test]
fn inspect_and_bench_know_models_that_see() {
    let report = millpond(["inspect", "-m", LLAVA, "--json"]).ok().json().remove(0);
    assert_eq!(report["capability"], "vision");
    assert_eq!(report["capabilities"], serde_json::json!(["vision"]));
    let gemma = "tests/fixtures/vision/gemma3";
    let both = millpond(["inspect", "-m", gemma, "--json"]).ok().json().remove(0);
    assert_eq!(both["capabilities"], serde_json::json!(["text-to-text", "vision"]));
    assert!(millpond(["inspect", "-m", gemma]).ok().stdout.contains("besides       vision"));
    assert_eq!(report["architecture"], "llava");
    assert_eq!(report["tokens_per_image"], 16);
    assert_eq!(report["context_length"], 512);
    assert!(millpond(["inspect", "-m", LLAVA]).ok().stdout.contains("about 16 tokens each"));
    let args = ["bench", "describe", "-m", LLAVA, "--requests", "4", "--tokens", "4", "--json"];
    let figures = millpond(args).ok().json().remove(0);
    assert!(figures["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert!(figures["first_token_p50_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_picture_is_captioned_without_a_prompt_and_with_its_beginning() {
    const BLIP: &str = "tests/fixtures/vision/blip";
    let cases = std::fs::read("tests/fixtures/vision/blip.json").unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
    for case in &cases {
        let shown = picture(case["images"][0].as_str().unwrap());
        let mut args =
            vec!["describe", "-m", BLIP, "--dtype", "f32", "--max-tokens", "20", "--json", "--image", &shown];
        args.extend(case["text"].as_str().filter(|text| !text.is_empty()));
        let json = millpond(args).ok().json().remove(0);
        assert_eq!((&json["prompt_token_ids"], &json["token_ids"]), (&case["prompt"], &case["tokens"]));
    }
    let rgb = picture("rgb.png");
    let told = millpond(["describe", "-m", BLIP, "--image", &rgb, "--system", "Be brief.", "What?"]);
    assert!(told.code == Some(1) && told.stderr.contains("no conversations"), "{told:?}");
    let report = millpond(["inspect", "-m", BLIP, "--json"]).ok().json().remove(0);
    assert_eq!((&report["architecture"], &report["context_length"]), (&json!("blip"), &json!(64)));
    assert!(millpond(["inspect", "-m", BLIP]).ok().stdout.contains("beside the text"));
    let figures = millpond(["bench", "describe", "-m", BLIP, "--requests", "4", "--tokens", "4", "--json"]);
    assert!(figures.ok().json().remove(0)["tokens_per_second"].as_f64().unwrap() > 0.0);
}
