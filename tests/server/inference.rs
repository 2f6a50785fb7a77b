//! The Open Inference Protocol: five capabilities by their tensors, in JSON and as bytes.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::support::{Answer, Served, add_scripted, answered, config, one_worker, refused};

fn texts(name: &str, texts: &[&str]) -> Value {
    json!({ "name": name, "datatype": "BYTES", "shape": [texts.len()], "data": texts })
}

fn example(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/examples");
    std::fs::read(folder.join(name)).expect("the picture ships")
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// What the client of `served` gets for `inputs` to `model`.
fn infer(served: &Served, model: &str, inputs: &Value) -> Answer {
    served.post(&format!("/v2/models/{model}/infer"), &json!({ "id": "7", "inputs": inputs }))
}

/// Sends `head` and `tail` as the binary extension has them, and reads the answer likewise.
fn binary(served: &Served, model: &str, head: &Value, tail: &[u8]) -> (Value, Vec<u8>) {
    let head = head.to_string();
    let request = served
        .request("POST", &format!("/v2/models/{model}/infer"))
        .set("content-type", "application/octet-stream")
        .set("inference-header-content-length", &head.len().to_string());
    let response = request.send_bytes(&[head.as_bytes(), tail].concat()).expect("it is accepted");
    let length: usize =
        response.header("inference-header-content-length").expect("bytes follow").parse().expect("a number");
    let mut body = Vec::new();
    response.into_reader().read_to_end(&mut body).expect("it comes");
    let tail = body.split_off(length);
    (serde_json::from_slice(&body).expect("the head is JSON"), tail)
}

#[test]
fn each_capability_answers_in_tensors() {
    let served = Served::shipped();
    let embedded =
        infer(&served, "shapes-embed", &json!([texts("text", &["a red circle", "a blue star"])])).ok();
    assert_eq!((&embedded["id"], &embedded["model_name"]), (&json!("7"), &json!("shapes-embed")));
    let output = &embedded["outputs"][0];
    assert_eq!((&output["name"], &output["datatype"]), (&json!("embedding"), &json!("FP32")));
    assert_eq!(output["shape"], json!([2, 128]));
    let single =
        served.post("/v1/embeddings", &json!({ "model": "shapes-embed", "input": "a blue star" })).ok();
    assert_eq!(
        output["data"].as_array().unwrap()[128..],
        single["data"][0]["embedding"].as_array().unwrap()[..]
    );

    let question = "What is in the image?";
    let picture = base64(&example("red-circle.png"));
    let inputs = json!([texts("image", &[&picture]), texts("text_input", &[question])]);
    let seen = infer(&served, "shapes-llava", &inputs).ok();
    let said = seen["outputs"][0]["data"][0].as_str().unwrap().to_owned();
    assert!(said.contains("red circle"), "{said}");

    let inputs = json!([texts("image", &[&picture])]);
    assert_eq!(infer(&served, "shapes-clip", &inputs).ok()["outputs"][0]["shape"][0], 1);
    assert_eq!(
        infer(&served, "shapes-clip", &json!([texts("text", &["a", "b", "c"])])).ok()["outputs"][0]["shape"]
            [0],
        3
    );

    let prompt = "<|im_start|>user\nWhat color is the sky?<|im_end|>\n<|im_start|>assistant\n";
    let steps = json!({ "name": "max_tokens", "datatype": "INT32", "shape": [1], "data": [4] });
    let written = infer(&served, "shapes-llm", &json!([texts("text_input", &[prompt, prompt]), steps])).ok();
    assert_eq!(written["outputs"][0]["shape"], json!([2]));
    assert_eq!(written["outputs"][0]["data"][0], written["outputs"][0]["data"][1]);

    let request =
        json!({ "inputs": [texts("prompt", &["a red circle"])], "parameters": { "steps": 1, "seed": 1 } });
    let drawn = served.post("/v2/models/shapes-diffusion/infer", &request).ok();
    let output = &drawn["outputs"][0];
    assert_eq!((&output["datatype"], &output["shape"]), (&json!("UINT8"), &json!([1, 64, 64, 3])));
    assert_eq!(output["data"].as_array().unwrap().len(), 64 * 64 * 3);
}

#[test]
fn tensors_may_be_bytes_in_both_directions() {
    let served = Served::shipped();
    let text = b"a red circle";
    let head = json!({
        "inputs": [{ "name": "text", "datatype": "BYTES", "shape": [1, 1], "parameters": { "binary_data_size": 16 } }],
        "parameters": { "binary_data_output": true },
    });
    let (answer, bytes) = binary(&served, "shapes-embed", &head, &[&12u32.to_le_bytes()[..], text].concat());
    assert_eq!(answer["outputs"][0]["parameters"]["binary_data_size"], 512);
    let values: Vec<f32> =
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    let plain = infer(&served, "shapes-embed", &json!([texts("text", &["a red circle"])])).ok();
    let plain: Vec<f32> = serde_json::from_value(plain["outputs"][0]["data"].clone()).unwrap();
    assert_eq!(values, plain);

    let image = image_of(&served);
    let size = json!({ "binary_data_size": image.len() });
    let head = json!({
        "inputs": [{ "name": "image", "datatype": "UINT8", "shape": [64, 64, 3], "parameters": size }],
        "outputs": [{ "name": "embedding", "parameters": { "binary_data": true } }],
    });
    let (answer, bytes) = binary(&served, "shapes-clip", &head, &image);
    assert_eq!(answer["outputs"][0]["shape"], json!([1, bytes.len() / 4]));
}

/// Pixels of a picture that is drawn.
fn image_of(served: &Served) -> Vec<u8> {
    let head = json!({
        "inputs": [texts("prompt", &["a red circle"])],
        "parameters": { "steps": 1, "seed": 1, "binary_data_output": true },
    });
    let (_, bytes) = binary(served, "shapes-diffusion", &head, b"");
    assert_eq!(bytes.len(), 64 * 64 * 3);
    bytes
}

#[test]
fn a_text_comes_in_a_stream_as_it_comes_at_once() {
    let served = Served::shipped();
    let body =
        json!({ "text_input": "What color is the sky?", "parameters": { "chat": true, "max_tokens": 12 } });
    let whole = served.post("/v2/models/shapes-llm/generate", &body).ok();
    assert_eq!(whole["model_name"], "shapes-llm");
    let lines: Vec<_> = served.stream("/v2/models/shapes-llm/generate_stream", &body).collect();
    let events = lines.iter().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = events.map(|event| serde_json::from_str(event).unwrap()).collect();
    let text: String = events.iter().map(|event| event["text_output"].as_str().unwrap()).collect();
    assert_eq!(json!(text), whole["text_output"]);
    assert_eq!(events.last().unwrap()["details"], whole["details"]);
    let picture = base64(&example("blue-star.png"));
    let body = json!({ "text_input": "What is in the image?", "image": picture, "max_tokens": 30 });
    let seen = served.post("/v2/models/shapes-llava/generate", &body).ok();
    assert!(seen["text_output"].as_str().unwrap().contains("blue star"), "{seen}");
}

#[test]
fn a_model_says_what_it_takes_and_whether_it_is_there() {
    let served = Served::shipped();
    assert_eq!(served.get("/v2").ok()["name"], "millpond");
    assert_eq!(served.get("/v2/health/live").status, 200);
    assert_eq!(served.get("/v2/health/ready").status, 200);
    let metadata = served.get("/v2/models/shapes-embed/versions/1").ok();
    assert_eq!(metadata["inputs"], json!([{ "name": "text", "datatype": "BYTES", "shape": [-1] }]));
    assert_eq!(metadata["outputs"][0]["shape"], json!([-1, 128]));
    assert_eq!(served.get("/v2/models/shapes-embed/config").ok()["input"][0]["data_type"], "TYPE_STRING");
    assert_eq!(served.get("/v2/models/shapes-embed/ready").status, 200);
    let state = |served: &Served| {
        let index = served.post("/v2/repository/index", &json!({})).ok();
        let entry = index.as_array().unwrap().iter().find(|entry| entry["name"] == "shapes-embed").cloned();
        entry.unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&served), "UNAVAILABLE");
    assert_eq!(served.post_text("/v2/repository/models/shapes-embed/load", "").status, 200);
    assert_eq!(state(&served), "READY");
    infer(&served, "shapes-embed", &json!([texts("text", &["a"])])).ok();
    let figures = served.get("/v2/models/shapes-embed/stats").ok();
    assert_eq!(figures["model_stats"][0]["inference_count"], 1);
    let unload = json!({ "parameters": { "unload_dependents": false } });
    assert_eq!(served.post("/v2/repository/models/shapes-embed/unload", &unload).status, 200);
    assert_eq!(state(&served), "UNAVAILABLE");
}

#[test]
fn what_is_wrong_is_said_in_the_protocols_shape() {
    let served = Served::shipped();
    for path in
        ["/v2/models/none", "/v2/models/none/ready", "/v2/nothing", "/v2/models/shapes-embed/versions/2"]
    {
        refused(&served.get(path), 404);
    }
    refused(&served.get("/v2/models/shapes-embed/infer"), 405);
    refused(&served.post("/v2/models/shapes-embed", &json!({})), 405);
    refused(&served.post("/v2/models/none/infer", &json!({ "inputs": [] })), 404);
    refused(&served.post("/v2/models/shapes-embed/generate", &json!({ "text_input": "a" })), 400);
    let streamed = json!({ "text_input": "a", "parameters": { "stream": true } });
    refused(&served.post("/v2/models/shapes-llm/generate", &streamed), 400);
    for way in ["generate", "generate_stream"] {
        let shown = json!({ "text_input": "a", "image": base64(b"no picture") });
        refused(&served.post(&format!("/v2/models/shapes-llava/{way}"), &shown), 400);
    }
    let picture = base64(b"no picture");
    for (model, inputs) in [
        ("shapes-embed", json!([])),
        ("shapes-embed", json!([texts("words", &["a"])])),
        ("shapes-embed", json!([{ "name": "text", "datatype": "BYTES", "shape": [2], "data": ["a"] }])),
        ("shapes-embed", json!([{ "name": "text", "datatype": "BYTES", "shape": [-1], "data": ["a"] }])),
        ("shapes-embed", json!([{ "name": "text", "datatype": "FP32", "shape": [1], "data": [1.0] }])),
        ("shapes-embed", json!([texts("text", &["a"]), texts("text", &["a"])])),
        ("shapes-clip", json!([texts("image", &[&picture])])),
        ("shapes-llava", json!([texts("image", &[&picture])])),
    ] {
        let message = refused(&infer(&served, model, &inputs), 400);
        assert!(!message.contains("/models/tiny"), "{message}");
        assert_eq!(infer(&served, "shapes-embed", &json!([texts("text", &["a"])])).status, 200);
    }
    let inputs = json!([texts("text", &["a"])]);
    let outputs = json!({ "inputs": inputs, "outputs": [{ "name": "vector" }] });
    refused(&served.post("/v2/models/shapes-embed/infer", &outputs), 400);
    let body = json!({ "inputs": inputs }).to_string();
    for length in ["5", "9999", "-1", "x"] {
        let request = served.request("POST", "/v2/models/shapes-embed/infer");
        let request = request.set("inference-header-content-length", length);
        refused(&answered(request.send_string(&body)), 400);
    }
    let files = json!({ "parameters": { "config": "{}" } });
    refused(&served.post("/v2/repository/models/shapes-embed/load", &files), 400);
    refused(&served.post("/v2/repository/models/none/load", &json!({})), 404);
    refused(&served.post("/v2/repository/models/shapes-embed/forget", &json!({})), 404);
}

#[test]
fn texts_of_one_request_do_not_crowd_each_other_out_of_a_short_queue() {
    let engine = millpond::Engine::builder().config(one_worker().queue_capacity(2)).build().unwrap();
    add_scripted(&engine);
    let served = Served::new(engine, config());
    let written = infer(&served, "scripted", &json!([texts("text_input", &["count 2"; 40])])).ok();
    assert_eq!(written["outputs"][0]["data"], json!(vec!["0 1 "; 40]));
}

#[test]
fn time_is_limited_as_the_request_says() {
    let served = Served::scripted(config());
    let body = json!({ "text_input": "wait", "parameters": { "timeout": 20_000 } });
    refused(&served.post("/v2/models/scripted/generate", &body), 504);
    served.until("nothing is under way", |served| served.app().in_flight().is_empty());
}
