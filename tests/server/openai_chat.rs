//! `/v1/chat/completions`, as a whole and piece by piece.

use serde_json::{Value, json};

use super::openai_embeddings::picture;
use super::support::{Served, config};

const PATH: &str = "/v1/chat/completions";

fn chat(more: &Value) -> Value {
    let mut body = json!({
        "model": "shapes-llm", "temperature": 0, "max_tokens": 40, "messages": [{ "role": "user", "content": "Hello!" }],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The chunks of a stream that ends as it should.
pub(crate) fn chunks(served: &Served, path: &str, body: &Value) -> Vec<Value> {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let lines = served.stream(path, &body).filter(|line| !line.is_empty());
    let mut data: Vec<_> = lines
        .map(|line| line.strip_prefix("data: ").unwrap_or_else(|| panic!("{line}")).to_owned())
        .collect();
    assert_eq!(data.pop().as_deref(), Some("[DONE]"));
    data.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
}

/// What the chunks of one choice put together say, and why it ended.
fn told(chunks: &[Value], index: usize) -> (String, String) {
    let (mut text, mut reason) = (String::new(), None);
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()) {
        if choice["index"] != json!(index) {
            continue;
        }
        assert_eq!(reason, None, "nothing comes after the end");
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        reason = choice["finish_reason"].as_str().map(str::to_owned);
        assert!(reason.is_none() || choice["delta"] == json!({}), "{choice}");
    }
    (text, reason.expect("it ends"))
}

#[test]
fn a_conversation_is_answered() {
    let served = Served::shipped();
    let answer = served.post(PATH, &chat(&json!({}))).ok();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("shapes-llm")));
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &answer["choices"][0];
    assert_eq!((&choice["message"]["role"], &choice["finish_reason"]), (&json!("assistant"), &json!("stop")));
    assert!(choice["message"]["content"].as_str().unwrap().starts_with("Hello"), "{answer}");
    let usage = &answer["usage"];
    let count = |field: &str| usage[field].as_u64().unwrap();
    assert!(count("prompt_tokens") > 5 && count("completion_tokens") > 3, "{usage}");
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let served = Served::shipped();
    for (more, n) in [
        (json!({ "stream_options": { "include_usage": true } }), 1),
        (json!({ "temperature": 1, "seed": 11, "n": 3, "stream_options": { "include_usage": true } }), 3),
        (json!({ "stop": ["like"], "stream_options": { "include_usage": true } }), 1),
        (json!({ "max_tokens": 2, "stream_options": { "include_usage": true } }), 1),
    ] {
        let chunks = chunks(&served, PATH, &chat(&more));
        let mut plain = more.clone();
        plain.as_object_mut().unwrap().remove("stream_options");
        let whole = served.post(PATH, &chat(&plain)).ok();
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        for index in 0..n {
            let choice = &whole["choices"][index];
            let said =
                (choice["message"]["content"].as_str().unwrap(), choice["finish_reason"].as_str().unwrap());
            let (text, reason) = told(&chunks, index);
            assert_eq!((text.as_str(), reason.as_str()), said, "{more}");
        }
        let (last, before) = chunks.split_last().unwrap();
        assert_eq!(last["choices"], json!([]));
        let tokens = |usage: &Value| [usage["prompt_tokens"].clone(), usage["completion_tokens"].clone()];
        assert_eq!(tokens(&last["usage"]), tokens(&whole["usage"]), "{more}");
        assert!(before.iter().all(|chunk| chunk["usage"] == Value::Null && chunk["id"] == last["id"]));
        assert!(before.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    }
}

#[test]
fn a_stream_does_not_tell_what_it_took_unless_it_is_asked() {
    let served = Served::shipped();
    let chunks = chunks(&served, PATH, &chat(&json!({})));
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none() && chunk["choices"] != json!([])));
}

#[test]
fn probabilities_are_told_token_by_token() {
    let served = Served::shipped();
    let body = chat(&json!({ "logprobs": true, "top_logprobs": 3 }));
    let whole = served.post(PATH, &body).ok();
    let content = whole["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(Some(content.len() as u64), whole["usage"]["completion_tokens"].as_u64());
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["token"]), (3, &token["token"]), "the likeliest was taken");
        assert!(token["logprob"].as_f64().unwrap() <= 0.0 && token["bytes"].is_array());
    }
    let streamed: Vec<Value> = chunks(&served, PATH, &body)
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(&streamed, content);
}

#[test]
fn an_answer_has_the_form_that_is_asked_for() {
    let served = Served::shipped();
    let schema = json!({
        "type": "object",
        "properties": { "shape": { "enum": ["circle", "square"] }, "count": { "type": "integer", "minimum": 0, "maximum": 9 } },
        "required": ["shape", "count"],
        "additionalProperties": false,
    });
    let form =
        json!({ "type": "json_schema", "json_schema": { "name": "seen", "schema": schema, "strict": true } });
    let answer = served.post(PATH, &chat(&json!({ "response_format": form, "max_tokens": 100 }))).ok();
    let choice = &answer["choices"][0];
    let seen: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
    assert!(seen["count"].as_u64().is_some_and(|count| count < 10), "{seen}");
    assert!(["circle", "square"].contains(&seen["shape"].as_str().unwrap()), "{seen}");
    assert_eq!(choice["finish_reason"], "stop");
}

fn tools() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": { "shape": { "enum": ["circle", "square"] } },
        "required": ["shape"],
        "additionalProperties": false,
    });
    let tool =
        |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": parameters } });
    json!([tool("look"), tool("draw")])
}

#[test]
fn a_tool_that_must_be_called_is_called() {
    let served = Served::shipped();
    let named = json!({ "type": "function", "function": { "name": "draw" } });
    for (choice, names) in [(json!("required"), vec!["look", "draw"]), (named, vec!["draw"])] {
        let body = chat(&json!({ "tools": tools(), "tool_choice": choice, "max_tokens": 100 }));
        let whole = served.post(PATH, &body).ok();
        let choice = &whole["choices"][0];
        assert_eq!(
            (&choice["finish_reason"], &choice["message"]["content"]),
            (&json!("tool_calls"), &Value::Null)
        );
        let call = &choice["message"]["tool_calls"][0];
        let name = call["function"]["name"].as_str().unwrap();
        assert!(names.contains(&name) && call["id"].as_str().unwrap().starts_with("call_"), "{call}");
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert!(arguments["shape"].is_string(), "{arguments}");
        let chunks = chunks(&served, PATH, &body);
        assert_eq!(told(&chunks, 0), (String::new(), "tool_calls".to_owned()));
        let deltas: Vec<_> = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0].as_object())
            .collect();
        assert_eq!((&deltas[0]["function"]["name"], &deltas[0]["index"]), (&json!(name), &json!(0)));
        let pieces: String =
            deltas.iter().filter_map(|delta| delta["function"]["arguments"].as_str()).collect();
        assert_eq!(pieces, call["function"]["arguments"].as_str().unwrap());
    }
}

#[test]
fn a_conversation_with_calls_goes_on() {
    let served = Served::shipped();
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "look", "arguments": "{\"shape\": \"circle\"}" } });
    let messages = json!([
        { "role": "developer", "content": "Be brief." },
        { "role": "user", "content": [{ "type": "text", "text": "What is " }, { "type": "text", "text": "it?" }] },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "call_1", "content": "a circle" },
    ]);
    let answer = served
        .post(PATH, &chat(&json!({ "messages": messages, "tools": tools(), "tool_choice": "auto" })))
        .ok();
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 10);
}

#[test]
fn pictures_in_messages_are_seen() {
    let served = Served::shipped();
    let ask = |name: &str, image_url: Value| {
        let question = json!({ "type": "text", "text": "What shape is it?" });
        let parts = json!([{ "type": "image_url", "image_url": image_url }, question]);
        let body =
            chat(&json!({ "model": "shapes-llava", "messages": [{ "role": "user", "content": parts }] }));
        let answer = served.post(PATH, &body).ok();
        let said = answer["choices"][0]["message"]["content"].as_str().unwrap().to_lowercase();
        assert!(said.contains(name), "{said}");
    };
    ask("circle", json!({ "url": picture("red-circle"), "detail": "auto" }));
    ask("star", json!(picture("blue-star")));
}

#[test]
fn who_only_writes_sees_no_pictures() {
    let served = Served::shipped();
    let parts = json!([{ "type": "image_url", "image_url": { "url": picture("red-circle") } }]);
    let body =
        |model: &str| chat(&json!({ "model": model, "messages": [{ "role": "user", "content": parts }] }));
    assert_eq!(
        served.post(PATH, &body("shapes-llm")).refusal(),
        (400, "model_not_capable".into(), "model".into())
    );
    let parts = json!([{ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }]);
    let body = chat(&json!({ "model": "shapes-llava", "messages": [{ "role": "user", "content": parts }] }));
    let (status, _, param) = served.post(PATH, &body).refusal();
    assert_eq!((status, param.as_str()), (400, "messages"));
}

#[test]
fn without_a_limit_an_answer_may_take_all_that_is_left() {
    let served = Served::shipped();
    let mut body = chat(&json!({ "logit_bias": { "2": -100 } }));
    body.as_object_mut().unwrap().remove("max_tokens");
    let answer = served.post(PATH, &body).ok();
    assert_eq!(
        (&answer["choices"][0]["finish_reason"], &answer["usage"]["total_tokens"]),
        (&json!("length"), &json!(512))
    );
    body["messages"][0]["content"] = json!("a red circle ".repeat(100));
    let long = served.post(PATH, &body).ok();
    assert_eq!(long["usage"]["total_tokens"], 512);
    body["messages"][0]["content"] = json!("a red circle ".repeat(400));
    assert_eq!(served.post(PATH, &body).refusal().0, 400);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let served = Served::shipped();
    for (more, param) in [
        (json!({ "temperature": 101 }), "temperature"),
        (json!({ "top_p": 0 }), "top_p"),
        (json!({ "n": 0 }), "n"),
        (json!({ "n": 1_000_000 }), "n"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "max_completion_tokens": 100_000 }), "max_tokens"),
        (json!({ "top_logprobs": 3 }), "top_logprobs"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs"),
        (json!({ "logit_bias": { "999999": 1 } }), "logit_bias"),
        (json!({ "stop": [""] }), "stop"),
        (json!({ "stream_options": { "include_usage": true } }), "stream_options"),
        (json!({ "functions": [] }), "functions"),
        (json!({ "audio": {} }), "audio"),
        (json!({ "modalities": ["text", "audio"] }), "modalities"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0]"),
        (
            json!({ "tools": tools(), "tool_choice": { "type": "function", "function": { "name": "fly" } } }),
            "tool_choice",
        ),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": { "type": "nothing" } } } }),
            "response_format",
        ),
        (json!({ "response_format": { "type": "xml" } }), "response_format.type"),
        (json!({ "chat_template_kwargs": { "messages": [] } }), "chat_template_kwargs"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": [{ "role": "user", "content": null }] }), "messages[0].content"),
        (json!({ "messages": [{ "role": "robot", "content": "" }] }), "messages[0].role"),
    ] {
        for stream in [false, true] {
            let mut body = chat(&more);
            if stream && param != "stream_options" {
                body["stream"] = json!(true);
            }
            let (status, _, named) = served.post(PATH, &body).refusal();
            assert_eq!((status, named.as_str()), (400, param), "{body}");
        }
    }
}

#[test]
fn what_fails_before_it_begins_has_a_status_also_as_a_stream() {
    let served = Served::scripted(config());
    let body = json!({ "model": "scripted", "stream": true, "messages": [{ "role": "user", "content": "please fail" }] });
    let answer = served.post(PATH, &body);
    assert_eq!(answer.refusal().0, 500);
    assert!(!answer.body.contains("secret"), "{}", answer.body);
}

#[test]
fn who_goes_away_cancels() {
    let served = Served::scripted(config());
    let canceled = |served: &Served| {
        let pools = served.get("/pools").ok();
        let pools = pools["pools"].as_array().unwrap().clone();
        pools.iter().map(|pool| pool["totals"]["total_canceled"].as_u64().unwrap()).sum::<u64>()
    };
    for (stream, before) in [(true, 0), (false, 1)] {
        let words = if stream { "linger" } else { "wait" };
        let body = json!({ "model": "scripted", "stream": stream, "messages": [{ "role": "user", "content": words }] });
        let body = body.to_string();
        let head =
            format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
        let connection = served.connect(format!("{head}{body}").as_bytes());
        served.until("it is under way", |served| served.get("/requests").ok()[0]["endpoint"] == PATH);
        served.until("it is accepted", |served| served.get("/pools").ok()["pools"][1]["in_flight"] == 1);
        assert_eq!(canceled(&served), before);
        drop(connection);
        served.until("it is canceled", |served| canceled(served) == before + 1);
        served.until("it is gone", |served| served.get("/requests").ok() == json!([]));
    }
}

#[test]
fn who_is_canceled_is_told_so_in_the_stream() {
    let served = Served::scripted(config());
    let body =
        json!({ "model": "scripted", "stream": true, "messages": [{ "role": "user", "content": "linger" }] });
    let mut lines = served.stream(PATH, &body).filter(|line| !line.is_empty());
    lines.find(|line| line.contains("0 ")).expect("its first token comes");
    let id = served.get("/requests").ok()[0]["id"].as_str().unwrap().to_owned();
    served.post(&format!("/requests/{id}/cancel"), &json!({})).ok();
    let last = lines.last().expect("more comes");
    let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "canceled");
}

#[test]
fn the_head_of_a_stream_keeps_proxies_out_of_its_way() {
    let served = Served::scripted(config());
    let body = json!({ "model": "scripted", "stream": true, "messages": [{ "role": "user", "content": "count 2" }] });
    let answer = served.post(PATH, &body);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
}
