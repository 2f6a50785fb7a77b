//! Ollama's API over the shipped models.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millpond::ByteSize;
use millpond::capability::Batched;
use millpond::pool::BuildWith;
use millpond::server::Listing;
use millpond::weights::ModelSource;
use serde_json::{Value, json};

use super::support::{Embedder, PATIENCE, Served, config, engine, refused};

/// The lines of a stream.
fn lines(served: &Served, path: &str, body: &Value) -> Vec<Value> {
    served.stream(path, body).map(|line| serde_json::from_str(&line).expect("each line is JSON")).collect()
}

const GREEDY: f64 = 0.0;

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let served = Served::shipped();
    let mut body = json!({ "model": "shapes-llm:latest", "prompt": "What color is the sky?",
        "options": { "temperature": GREEDY, "num_predict": 12 } });
    let streamed = lines(&served, "/api/generate", &body);
    body["stream"] = false.into();
    let whole = served.post("/api/generate", &body).ok();
    let text: String = streamed.iter().map(|line| line["response"].as_str().unwrap()).collect();
    assert_eq!(json!(text), whole["response"]);
    assert!(!text.is_empty());
    let (last, others) = streamed.split_last().unwrap();
    assert!(others.iter().all(|line| line["done"] == false));
    for end in [last, &whole] {
        assert_eq!((&end["done"], &end["model"]), (&json!(true), &json!("shapes-llm:latest")));
        assert!(["stop", "length"].contains(&end["done_reason"].as_str().unwrap()));
        for field in
            ["total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count"]
        {
            assert!(end[field].as_u64().unwrap() > 0, "{field} of {end}");
        }
        assert!(end["total_duration"].as_u64() > end["eval_duration"].as_u64());
    }
    assert!(streamed[0]["created_at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_conversation_is_continued() {
    let served = Served::shipped();
    let ask = |more: Value| {
        let message = json!({ "role": "user", "content": "What color is the sky?" });
        let mut body = json!({ "model": "shapes-llm", "messages": [message],
            "options": { "temperature": GREEDY, "num_predict": 12 } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let streamed = lines(&served, "/api/chat", &ask(json!({})));
    let text: String = streamed.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    let whole = served.post("/api/chat", &ask(json!({ "stream": false }))).ok();
    assert_eq!(
        (&whole["message"]["content"], &whole["message"]["role"]),
        (&json!(text), &json!("assistant"))
    );
    let schema = json!({ "type": "object", "properties": { "color": { "enum": ["red", "blue"] } },
        "required": ["color"], "additionalProperties": false });
    let formed = ask(json!({ "stream": false, "format": schema, "options": { "num_predict": 100 } }));
    let formed = served.post("/api/chat", &formed).ok();
    let content: Value = serde_json::from_str(formed["message"]["content"].as_str().unwrap()).unwrap();
    assert!(["red", "blue"].contains(&content["color"].as_str().unwrap()));
}

#[test]
fn a_model_is_loaded_kept_and_let_go() {
    let served = Served::shipped();
    let loaded = |served: &Served| {
        let ps = served.get("/api/ps").ok();
        let models = ps["models"].as_array().unwrap().clone();
        models
            .into_iter()
            .map(|model| (model["name"].clone(), model["expires_at"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(loaded(&served), []);
    let load = served.post("/api/generate", &json!({ "model": "shapes-llm", "keep_alive": -1 })).ok();
    assert_eq!((&load["done_reason"], &load["done"]), (&json!("load"), &json!(true)));
    let there = loaded(&served);
    assert_eq!(there.len(), 1);
    assert!(there[0].1.as_str().unwrap().starts_with("21"), "{there:?}");
    let unload =
        served.post("/api/chat", &json!({ "model": "shapes-llm", "messages": [], "keep_alive": 0 })).ok();
    assert_eq!(unload["done_reason"], "unload");
    assert_eq!(loaded(&served), []);
    let body = json!({ "model": "shapes-embed", "input": "a red circle", "keep_alive": 0 });
    served.post("/api/embed", &body).ok();
    served.until("the model is gone", |served| loaded(served).is_empty());
    // What does two things is loaded twice, and is one model.
    served.post("/admin/load", &json!({ "model": "shapes-clip" })).ok();
    let there: Vec<_> = loaded(&served).into_iter().map(|(name, _)| name).collect();
    assert_eq!(there, ["shapes-clip"]);
}

#[test]
fn a_model_goes_after_an_answer_that_nobody_reads_and_after_one_that_failed() {
    let served = Served::scripted(config());
    let there = |served: &Served| served.app().engine().text_to_text().has_workers("scripted");
    let mut body = json!({ "model": "scripted", "prompt": "linger", "keep_alive": 0 });
    let mut lines = served.stream("/api/generate", &body);
    assert!(lines.next().unwrap().contains("\"done\":false"));
    assert!(there(&served));
    drop(lines);
    served.until("the model is gone", |served| !there(served));
    (body["prompt"], body["stream"]) = ("fail".into(), false.into());
    refused(&served.post("/api/generate", &body), 500);
    served.until("the model is gone again", |served| !there(served));
}

#[test]
fn who_waits_for_a_load_waits_no_longer_than_a_request_may() {
    let (loads, loading) = crossbeam_channel::unbounded::<()>();
    let slow = BuildWith::new(move || {
        let _ = loading.recv_timeout(PATIENCE);
        Batched::new(Embedder)
    });
    let engine = engine();
    engine.text_embedding().register("slow", slow).unwrap();
    let mut config = config();
    config.request_timeout = Duration::from_millis(200);
    let served = Served::new(engine, config);
    let body = json!({ "model": "slow", "input": "a" });
    std::thread::scope(|scope| {
        // More than may wait for loads at once.
        for _ in 0..20 {
            scope.spawn(|| refused(&served.post("/api/embed", &body), 504));
        }
    });
    drop(loads);
    served.until("it is loaded and answers", |served| served.post("/api/embed", &body).status == 200);
}

#[test]
fn texts_become_vectors_of_length_one() {
    let served = Served::shipped();
    let body = json!({ "model": "shapes-embed", "input": ["a red circle", "a blue star"] });
    let embedded = served.post("/api/embed", &body).ok();
    let vectors = embedded["embeddings"].as_array().unwrap();
    assert_eq!((vectors.len(), vectors[0].as_array().unwrap().len()), (2, 128));
    for vector in vectors {
        let length: f64 = vector.as_array().unwrap().iter().map(|it| it.as_f64().unwrap().powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    assert!(embedded["prompt_eval_count"].as_u64().unwrap() > 4);
    let one =
        served.post("/api/embeddings", &json!({ "model": "shapes-embed", "prompt": "a red circle" })).ok();
    assert_eq!(one["embedding"].as_array().unwrap().len(), 128);
    assert_eq!(served.post("/api/embed", &json!({ "model": "shapes-embed" })).ok()["embeddings"], json!([]));
}

#[test]
fn models_are_listed_and_shown() {
    let served = Served::shipped();
    let tags = served.get("/api/tags").ok();
    let names: Vec<_> =
        tags["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["shapes-clip", "shapes-diffusion", "shapes-embed", "shapes-llava", "shapes-llm"]);
    let shown = served.post("/api/show", &json!({ "model": "shapes-llm" })).ok();
    assert_eq!(shown["model_info"]["general.architecture"], "llama");
    assert_eq!(
        (&shown["capabilities"], &shown["details"]["family"]),
        (&json!(["completion"]), &json!("llama"))
    );
    assert!(served.get("/api/version").ok()["version"].as_str().unwrap().contains('.'));
    assert_eq!(served.request("HEAD", "/").call().unwrap().status(), 200);
}

#[test]
fn a_picture_is_described() {
    let served = Served::shipped();
    let picture = include_bytes!("../../models/tiny/examples/red-circle.png");
    let picture = STANDARD.encode(picture);
    let message = json!({ "role": "user", "content": "What is in the image?", "images": [picture] });
    let options = json!({ "temperature": GREEDY });
    let body = json!({ "model": "shapes-llava", "messages": [message], "stream": false, "options": options });
    let seen = served.post("/api/chat", &body).ok();
    assert!(seen["message"]["content"].as_str().unwrap().contains("red circle"), "{seen}");
}

#[test]
fn what_is_wrong_is_said_in_ollamas_shape() {
    let served = Served::shipped();
    let generate = |more: Value| {
        let mut body = json!({ "model": "shapes-llm", "prompt": "hi", "stream": false });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        served.post("/api/generate", &body)
    };
    refused(&generate(json!({ "model": "none" })), 404);
    refused(&generate(json!({ "model": "shapes-embed" })), 400);
    for wrong in [
        json!({ "suffix": "x" }),
        json!({ "template": "x" }),
        json!({ "context": [1, 2] }),
        json!({ "format": "xml" }),
        json!({ "think": "fast" }),
        json!({ "keep_alive": "soon" }),
        json!({ "keep_alive": true }),
        json!({ "options": { "temperature": -1 } }),
        json!({ "options": { "top_p": 7 } }),
        json!({ "options": { "mirostat": 1 } }),
        json!({ "options": { "num_predict": "many" } }),
        json!({ "options": { "repeat_penalty": 0 } }),
        json!({ "options": [] }),
        json!({ "images": [7] }),
        json!({ "images": ["AAAA"] }),
        json!({ "prompt": 7 }),
    ] {
        refused(&generate(wrong), 400);
        assert_eq!(generate(json!({ "options": { "num_predict": 1 } })).status, 200);
    }
    refused(&served.post_text("/api/chat", "{"), 400);
    refused(
        &served.post("/api/chat", &json!({ "model": "shapes-llm", "messages": [{ "role": "king" }] })),
        400,
    );
    refused(&served.post("/api/show", &json!({ "model": "none" })), 404);
    refused(&served.post("/api/delete", &json!({ "model": "shapes-llm" })), 501);
    refused(&served.get("/api/nothing"), 404);
    refused(&served.get("/api/chat"), 405);
    for path in ["../../etc/passwd", "/etc/passwd", "a/../b", ""] {
        let message = refused(&served.post("/api/pull", &json!({ "model": path, "stream": false })), 400);
        assert!(message.contains("model"), "{message}");
    }
}

#[test]
fn a_stream_nobody_reads_is_canceled() {
    let served = Served::scripted(config());
    let body = json!({ "model": "scripted", "prompt": "linger" });
    let mut lines = served.stream("/api/generate", &body);
    assert!(lines.next().unwrap().contains("\"done\":false"));
    drop(lines);
    served.until("its request is canceled", |served| {
        let status = served.app().engine().text_to_text().key_status("scripted").unwrap();
        status.canceled == 1 && served.app().in_flight().is_empty()
    });
}

#[test]
fn what_a_catalog_offers_is_pulled_by_its_name_and_served() {
    let served = Served::new(engine(), config());
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/shapes-embed");
    served.app().directory().offer([("mine".to_owned(), ModelSource::Folder(folder).into())]);
    let embed = json!({ "model": "mine", "input": "a red circle" });
    refused(&served.post("/api/embed", &embed), 404);
    let told = lines(&served, "/api/pull", &json!({ "model": "mine:latest" }));
    assert_eq!(told.last().unwrap(), &json!({ "status": "success" }), "{told:?}");
    assert_eq!(served.post("/api/embed", &embed).ok()["embeddings"][0].as_array().unwrap().len(), 128);
    let again = served.post("/api/pull", &json!({ "name": "mine", "stream": false })).ok();
    assert_eq!(again, json!({ "status": "success" }));
    let tags = served.get("/api/tags").ok();
    assert!(tags["models"][0]["size"].as_u64().unwrap() > 10_000, "{tags}");
    assert!(!tags.to_string().contains("models/tiny"), "{tags}");
    let known = Listing::new("somewhere else", ByteSize::mib(1));
    served.app().directory().put("mine", known.clone());
    served.post("/api/pull", &json!({ "model": "mine", "stream": false })).ok();
    assert_eq!(*served.app().directory().get("mine").unwrap(), known);
}

#[test]
fn a_tool_is_called_where_the_answer_must_be_a_call() {
    let served = Served::shipped();
    let called = r#"{"name": "look", "arguments": {"at": "the sky"}}"#;
    let schema: Value = json!({ "const": serde_json::from_str::<Value>(called).unwrap() });
    let tool =
        json!({ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } });
    let body = json!({ "model": "shapes-llm", "messages": [{ "role": "user", "content": "Look!" }], "tools": [tool],
        "format": schema, "options": { "num_predict": 200 } });
    let told = lines(&served, "/api/chat", &body);
    let text: String = told.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    let calls: Vec<_> =
        told.iter().filter_map(|line| line["message"]["tool_calls"].as_array()).flatten().collect();
    assert_eq!((text.as_str(), calls.len()), ("", 1), "{told:?}");
    assert_eq!(calls[0]["function"], serde_json::from_str::<Value>(called).unwrap());
}
