//! `/v1/models` and `/v1/embeddings`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::support::{SHIPPED, Served, config};

pub(crate) fn picture(name: &str) -> String {
    let path = format!("{}/models/tiny/examples/{name}.png", env!("CARGO_MANIFEST_DIR"));
    format!("data:image/png;base64,{}", STANDARD.encode(std::fs::read(path).expect("the picture ships")))
}

fn numbers(vector: &Value) -> Vec<f32> {
    vector.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// The vectors of an answer whose entries are in order.
fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    assert_eq!(answer["object"], "list");
    let entries = answer["data"].as_array().unwrap();
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!((&entry["object"], &entry["index"]), (&json!("embedding"), &json!(index)));
    }
    entries.iter().map(|entry| numbers(&entry["embedding"])).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn models_are_listed_and_found_by_their_names() {
    let served = Served::shipped();
    let list = served.get("/v1/models").ok();
    let ids: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(SHIPPED.iter().all(|model| ids.contains(model)), "{ids:?}");
    let clip = served.get("/v1/models/shapes-clip").ok();
    assert_eq!((&clip["object"], &clip["status"]), (&json!("model"), &json!("cold")));
    assert!(clip["capabilities"].as_array().unwrap().contains(&json!("image-embedding")), "{clip}");
    let embedding = served.post("/v1/embeddings", &json!({ "model": "shapes-embed", "input": "a" })).ok();
    let embeds = served.get("/v1/models/shapes-embed").ok();
    assert_eq!(embeds["status"], "loaded");
    assert_eq!(embeds["dimensions"], vectors(&embedding)[0].len());
    assert_eq!(served.get("/v1/models/shapes-llm").ok()["context_length"], 512);
    assert_eq!(served.get("/v1/models/org/none").refusal(), (404, "model_not_found".into(), "model".into()));
    assert_eq!(served.get("/v1/models/%ff").refusal().0, 404);
}

#[test]
fn texts_are_embedded_in_order_and_counted() {
    let served = Served::shipped();
    let ask = |input: Value| {
        served.post("/v1/embeddings", &json!({ "model": "shapes-embed", "input": input, "user": "me" })).ok()
    };
    let texts = ["a red circle", "a blue square", "red circle"];
    let together = ask(json!(texts));
    let vectors_together = vectors(&together);
    let alone: Vec<_> = texts.iter().map(|text| ask(json!(text))).collect();
    let mut tokens = 0;
    for (together, alone) in vectors_together.iter().zip(&alone) {
        assert!(cosine(together, &vectors(alone)[0]) > 0.999_99);
        tokens += alone["usage"]["prompt_tokens"].as_u64().unwrap();
    }
    assert_eq!(together["usage"], json!({ "prompt_tokens": tokens, "total_tokens": tokens }));
    assert_eq!(together["model"], "shapes-embed");
    assert!(
        cosine(&vectors_together[0], &vectors_together[2])
            > cosine(&vectors_together[0], &vectors_together[1])
    );
}

#[test]
fn base64_has_the_same_numbers() {
    let served = Served::shipped();
    let ask = |format: &str| {
        let body = json!({ "model": "shapes-embed", "input": "a red circle", "encoding_format": format });
        served.post("/v1/embeddings", &body).ok()
    };
    let encoded = ask("base64");
    let bytes = STANDARD.decode(encoded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<_> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(decoded, vectors(&ask("float"))[0]);
}

#[test]
fn more_texts_than_the_queue_holds_are_all_embedded() {
    let served = Served::scripted(config());
    let texts: Vec<_> = (0..2048).map(|number| format!("text {number}")).collect();
    let answer = served.post("/v1/embeddings", &json!({ "model": "scripted", "input": texts })).ok();
    assert_eq!(vectors(&answer).len(), 2048);
    assert_eq!(answer["usage"]["prompt_tokens"], 3 * 2048);
}

#[test]
fn tokens_are_embedded_as_they_are() {
    let served = Served::shipped();
    let ask =
        |input: Value| served.post("/v1/embeddings", &json!({ "model": "shapes-embed", "input": input }));
    let several = ask(json!([[5, 6, 7], [8]])).ok();
    let one = ask(json!([5, 6, 7])).ok();
    assert!(cosine(&vectors(&several)[0], &vectors(&one)[0]) > 0.999_99);
    assert_eq!((&several["usage"]["prompt_tokens"], &one["usage"]["prompt_tokens"]), (&json!(4), &json!(3)));
    assert_eq!(ask(json!([4_000_000_000_u32])).refusal().2, "input");
}

#[test]
fn pictures_and_texts_share_a_space() {
    let served = Served::shipped();
    let input = json!([
        { "image": picture("red-circle") }, "a red circle", { "text": "a blue star" }, { "image": picture("blue-star") },
    ]);
    let answer = served.post("/v1/embeddings", &json!({ "model": "shapes-clip", "input": input })).ok();
    let vectors = vectors(&answer);
    assert!(cosine(&vectors[0], &vectors[1]) > cosine(&vectors[0], &vectors[2]));
    assert!(cosine(&vectors[3], &vectors[2]) > cosine(&vectors[3], &vectors[1]));
}

#[test]
fn what_cannot_be_embedded_is_refused_by_name() {
    let served = Served::shipped();
    let picture = json!([{ "image": picture("red-circle") }]);
    for (body, status, param) in [
        (json!({ "model": "shapes-embed", "input": "a", "dimensions": 0 }), 400, "dimensions"),
        (json!({ "model": "shapes-embed", "input": "a", "dimensions": 100_000 }), 400, "dimensions"),
        (json!({ "model": "shapes-embed", "input": "a", "prompt_name": "none such" }), 400, "prompt_name"),
        (json!({ "model": "shapes-embed", "input": "word ".repeat(2_000), "truncate": false }), 400, "input"),
        (json!({ "model": "shapes-embed", "input": picture }), 400, "model"),
        (json!({ "model": "shapes-clip", "input": [{ "image": "http://example.com/a.png" }] }), 400, "input"),
        (json!({ "model": "shapes-clip", "input": picture, "dimensions": 4 }), 400, "dimensions"),
        (json!({ "model": "shapes-llm", "input": "a" }), 400, "model"),
        (json!({ "model": "nobody", "input": "a" }), 404, "model"),
        (json!({ "input": "a" }), 400, "model"),
        (json!({ "model": "shapes-embed", "input": "a", "encoding_format": "int8" }), 400, "encoding_format"),
    ] {
        let (found, _, named) = served.post("/v1/embeddings", &body).refusal();
        assert_eq!((found, named.as_str()), (status, param), "{body}");
    }
    served.post("/v1/embeddings", &json!({ "model": "shapes-embed", "input": "word ".repeat(2_000) })).ok();
}
