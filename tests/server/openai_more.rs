//! `/v1/completions` and `/v1/images/generations`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millpond::capability::ImageSource;
use millpond::image::{Format, decode};
use serde_json::{Value, json};

use super::openai_chat::chunks;
use super::support::Served;

const COMPLETIONS: &str = "/v1/completions";
const IMAGES: &str = "/v1/images/generations";

fn complete(more: &Value) -> Value {
    let mut body = json!({ "model": "shapes-llm", "prompt": "Once upon a time", "temperature": 0 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn texts(answer: &Value) -> Vec<&str> {
    answer["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap()).collect()
}

#[test]
fn prompts_are_continued_each_for_itself() {
    let served = Served::shipped();
    let both =
        served.post(COMPLETIONS, &complete(&json!({ "prompt": ["Once upon a time", "A red circle"] }))).ok();
    assert_eq!((&both["object"], &both["choices"][1]["index"]), (&json!("text_completion"), &json!(1)));
    let alone = served.post(COMPLETIONS, &complete(&json!({}))).ok();
    assert_eq!(texts(&both)[0], texts(&alone)[0]);
    assert_eq!(alone["usage"]["completion_tokens"], 16, "as many as OpenAI gives");
    assert_eq!(alone["choices"][0]["finish_reason"], "length");
    let echoed = served.post(COMPLETIONS, &complete(&json!({ "echo": true }))).ok();
    assert_eq!(texts(&echoed), [format!("Once upon a time{}", texts(&alone)[0])]);
}

#[test]
fn tokens_are_continued_as_they_are() {
    let served = Served::shipped();
    let ask = |prompt: Value| served.post(COMPLETIONS, &complete(&json!({ "prompt": prompt })));
    let one = ask(json!([585, 586, 259, 587])).ok();
    assert_eq!(one["usage"]["prompt_tokens"], 4);
    assert_eq!(texts(&ask(json!([[585, 586, 259, 587], [35]])).ok())[0], texts(&one)[0]);
    assert_eq!(ask(json!([4_000_000_000_u32])).refusal().2, "prompt");
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let served = Served::shipped();
    for more in [
        json!({}),
        json!({ "echo": true, "n": 2, "temperature": 1, "seed": 3 }),
        json!({ "prompt": ["Once", "A red"], "logprobs": 2, "stop": [" the"] }),
    ] {
        let whole = served.post(COMPLETIONS, &complete(&more)).ok();
        let mut body = complete(&more);
        body["stream_options"] = json!({ "include_usage": true });
        let chunks = chunks(&served, COMPLETIONS, &body);
        for choice in whole["choices"].as_array().unwrap() {
            let own = |chunk: &&Value| chunk["choices"][0]["index"] == choice["index"];
            let pieces = chunks.iter().filter(own).map(|chunk| chunk["choices"][0]["text"].as_str().unwrap());
            assert_eq!(pieces.collect::<String>(), choice["text"].as_str().unwrap(), "{more}");
            let last = chunks.iter().rfind(own).unwrap();
            assert_eq!(last["choices"][0]["finish_reason"], choice["finish_reason"]);
            let tokens = chunks.iter().filter(own);
            let tokens =
                tokens.filter_map(|chunk| chunk["choices"][0]["logprobs"]["tokens"].as_array()).flatten();
            let expected = choice["logprobs"]["tokens"].as_array().cloned().unwrap_or_default();
            assert_eq!(tokens.cloned().collect::<Vec<_>>(), expected);
        }
        let last = chunks.last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
    }
}

#[test]
fn what_no_completion_can_be_is_refused_by_name() {
    let served = Served::shipped();
    for (more, param) in [
        (json!({ "suffix": "the end" }), "suffix"),
        (json!({ "best_of": 3 }), "best_of"),
        (json!({ "echo": true, "logprobs": 1 }), "echo"),
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": null }), "prompt"),
        (json!({ "max_tokens": 5000 }), "max_tokens"),
        (json!({ "logprobs": 21 }), "logprobs"),
        (json!({ "model": "shapes-llava" }), "model"),
    ] {
        let (status, _, named) = served.post(COMPLETIONS, &complete(&more)).refusal();
        assert_eq!((status, named.as_str()), (400, param), "{more}");
    }
}

fn draw(more: &Value) -> Value {
    let mut body = json!({ "model": "shapes-diffusion", "prompt": "a red circle", "steps": 4, "seed": 5 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn file(drawn: &Value) -> Vec<u8> {
    STANDARD.decode(drawn["b64_json"].as_str().unwrap()).unwrap()
}

#[test]
fn pictures_are_drawn_in_the_format_that_is_asked_for() {
    let served = Served::shipped();
    let plain = served.post(IMAGES, &draw(&json!({ "n": 2, "response_format": "b64_json" }))).ok();
    let pictures: Vec<_> = plain["data"].as_array().unwrap().iter().map(file).collect();
    assert_eq!((pictures.len(), &plain["output_format"], &plain["seed"]), (2, &json!("png"), &json!(5)));
    assert_ne!(pictures[0], pictures[1], "each is of noise of its own");
    let decoded = decode(&ImageSource::encoded(pictures[0].clone())).unwrap();
    assert_eq!(plain["size"], format!("{}x{}", decoded.width(), decoded.height()));
    for (name, format) in [("jpeg", Format::Jpeg), ("webp", Format::WebP)] {
        let answer = served.post(IMAGES, &draw(&json!({ "output_format": name }))).ok();
        assert_eq!(Format::of(&file(&answer["data"][0])).unwrap(), format);
    }
}

#[test]
fn a_stream_shows_pictures_on_the_way() {
    let served = Served::shipped();
    let body = draw(&json!({ "stream": true, "partial_images": 2, "steps": 6 }));
    let lines: Vec<_> = served.stream(IMAGES, &body).filter(|line| line.starts_with("data: {")).collect();
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(&line[6..]).unwrap()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let partial = "image_generation.partial_image";
    assert_eq!(kinds, [partial, partial, "image_generation.completed"]);
    assert_eq!(
        (&events[0]["partial_image_index"], &events[1]["partial_image_index"]),
        (&json!(0), &json!(1))
    );
    let whole = served.post(IMAGES, &draw(&json!({ "steps": 6 }))).ok();
    assert_eq!(file(&events[2]), file(&whole["data"][0]));
}

#[test]
fn what_no_picture_can_be_is_refused_by_name() {
    let served = Served::shipped();
    for (more, param) in [
        (json!({ "response_format": "url" }), "response_format"),
        (json!({ "n": 11 }), "n"),
        (json!({ "size": "0x0" }), "size"),
        (json!({ "size": "100000x100000" }), "size"),
        (json!({ "steps": 0 }), "steps"),
        (json!({ "guidance_scale": -1 }), "guidance_scale"),
        (json!({ "prompt": 7 }), "prompt"),
        (json!({ "output_format": "bmp" }), "output_format"),
        (json!({ "model": "shapes-llm" }), "model"),
    ] {
        let (status, _, named) = served.post(IMAGES, &draw(&more)).refusal();
        assert_eq!((status, named.as_str()), (400, param), "{more}");
    }
}
