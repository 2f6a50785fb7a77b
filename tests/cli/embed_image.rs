//! `millpond embed-image`, and what the other verbs say of models that embed pictures.

use crate::support::millpond;

const CLIP: &str = "tests/fixtures/image/clip";

fn picture(name: &str) -> String {
    format!("tests/fixtures/image/pictures/{name}")
}

#[test]
fn pictures_become_lines_in_their_order() {
    let files = [picture("rgb.png"), picture("turned.jpg"), picture("rgb.png"), picture("frames.gif")];
    let args = ["embed-image", "-m", CLIP, "--dtype", "f32", "--json"];
    let objects = millpond(args.into_iter().chain(files.iter().map(String::as_str))).ok().json();
    assert_eq!(objects.len(), 4);
    for (index, object) in objects.iter().enumerate() {
        assert_eq!(object["index"], index);
        assert_eq!(object["embedding"].as_array().unwrap().len(), 24);
    }
    assert_eq!(objects[0]["embedding"], objects[2]["embedding"]);
    assert_ne!(objects[0]["embedding"], objects[1]["embedding"]);
    let text = millpond(["embed-image", "-m", CLIP, "--normalize", "true", &files[0]]).ok().stdout;
    let numbers: Vec<f32> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert!((numbers.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5, "{text}");
}

#[test]
fn the_same_model_embeds_texts_beside_pictures() {
    let objects = millpond(["embed", "-m", CLIP, "--json", "a photo of a mill"]).ok().json();
    assert_eq!(objects[0]["embedding"].as_array().unwrap().len(), 24);
    let wrong = millpond(["embed", "-m", "tests/fixtures/image/vit", "a mill"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("does image-embedding, not text-embedding"), "{wrong:?}");
}

#[test]
fn what_is_no_picture_is_named() {
    let run = millpond(["embed-image", "-m", CLIP, &picture("rgb.png"), "Cargo.toml", &picture("grey.png")]);
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stdout.lines().count(), 1, "{run:?}");
    assert!(
        run.stderr.contains("Cargo.toml: ") && run.stderr.contains("no PNG, JPEG, WebP or GIF"),
        "{run:?}"
    );
}

#[test]
fn inspect_and_bench_know_models_of_pictures() {
    let report = millpond(["inspect", "-m", CLIP, "--json"]).ok().json().remove(0);
    assert_eq!(report["capability"], "image-embedding");
    assert_eq!(report["capabilities"], serde_json::json!(["image-embedding", "text-embedding"]));
    assert_eq!(report["architecture"], "clip");
    assert_eq!(report["dimensions"], 24);
    assert_eq!(report["reads"], serde_json::json!([32, 32]));
    assert_eq!(report["patch_size"], 8);
    let text = millpond(["inspect", "-m", CLIP]).ok().stdout;
    assert!(
        text.contains("pictures as 32 x 32 pixels") && text.contains("besides       text-embedding"),
        "{text}"
    );
    let flexible = millpond(["inspect", "-m", "tests/fixtures/image/siglip2-vision", "--json"]).ok().json();
    assert_eq!(flexible[0]["capabilities"], serde_json::json!(["image-embedding"]));
    assert_eq!((&flexible[0]["architecture"], &flexible[0]["reads"]), (&"siglip2".into(), &().into()));
    let args = ["bench", "embed-image", "-m", CLIP, "--requests", "4", "--concurrency", "2", "--json"];
    let figures = millpond(args).ok().json().remove(0);
    assert!(figures["requests_per_second"].as_f64().unwrap() > 0.0);
}
