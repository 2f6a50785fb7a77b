//! How the server begins and ends.

use std::io::Read;
use std::time::Duration;

use millpond::memory::MemoryBudget;
use millpond::pool::{BuildWith, PoolConfig};
use millpond::server::{ApiKeys, App, ServeError, Server, ServerConfig};
use millpond::{ByteSize, Engine};
use serde_json::json;

use super::support::{Cue, PATIENCE, Served, add_scripted, config, engine};

/// A server with the scripted models, and their cue.
fn scripted(config: ServerConfig) -> (Served, Cue) {
    let engine = engine();
    let cue = add_scripted(&engine);
    (Served::new(engine, config), cue)
}

fn chat(words: &str, stream: bool) -> String {
    let message = json!({ "role": "user", "content": words });
    let body = json!({ "model": "scripted", "messages": [message], "stream": stream }).to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn under_way(requests: usize) -> impl Fn(&Served) -> bool {
    move |served| served.app().in_flight().len() == requests
}

#[test]
fn an_address_beyond_loopback_needs_a_key() {
    let bind = |config: ServerConfig| Server::bind(App::new(engine(), config)).map(drop);
    let open = ServerConfig::default().bind("0.0.0.0:0".parse().unwrap());
    assert!(matches!(bind(open.clone()), Err(ServeError::Exposed(_))));
    let mut guarded = open.clone();
    guarded.keys = ApiKeys::new(["a-key-of-some-length"]).unwrap();
    assert!(bind(guarded).is_ok());
    let mut insecure = open;
    insecure.insecure = true;
    assert!(bind(insecure).is_ok());
}

#[test]
fn a_taken_address_is_told() {
    let first = Server::bind(App::new(engine(), config())).unwrap();
    let again = Server::bind(App::new(engine(), ServerConfig::default().bind(first.address())));
    let Err(ServeError::Bind { address, .. }) = again else { panic!("{again:?}") };
    assert_eq!(address, first.address());
}

#[test]
fn what_runs_is_finished_and_what_comes_is_refused() {
    let (served, cue) = scripted(config());
    let mut running = served.connect(chat("linger", false).as_bytes());
    served.until("the request is under way", under_way(1));
    served.server().ask_to_stop();
    served.until("it is not ready", |served| served.get("/health/ready").status == 503);
    let late = served.post("/v1/embeddings", &json!({ "model": "scripted", "input": "a" }));
    assert_eq!(late.refusal(), (503, "shutting_down".into(), String::new()));
    assert!(late.header("retry-after").is_some());
    assert_eq!(served.app().in_flight().len(), 1);
    cue.give();
    let mut answer = String::new();
    running.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"content\":\"0 \""), "{answer}");
    assert_eq!(served.stop().unfinished, 0);
}

#[test]
fn what_does_not_end_in_time_is_let_go_of() {
    let mut short = config();
    short.drain_timeout = Duration::from_millis(50);
    let (served, _cue) = scripted(short);
    let mut running = served.connect(chat("wait", false).as_bytes());
    served.until("the request is under way", under_way(1));
    assert_eq!(served.stop().unfinished, 1);
    let mut answer = String::new();
    let _ = running.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 499") && answer.contains("canceled"), "{answer}");
}

#[test]
fn asked_a_second_time_it_stops_at_once() {
    let mut long = config();
    long.drain_timeout = PATIENCE * 10;
    let (served, _cue) = scripted(long);
    let _running = served.connect(chat("wait", true).as_bytes());
    served.until("the request is under way", under_way(1));
    served.server().ask_to_stop();
    served.server().ask_to_stop();
    assert_eq!(served.stop().unfinished, 1);
}

#[test]
fn a_caller_who_leaves_cancels() {
    let (served, _cue) = scripted(config());
    for stream in [false, true] {
        let before = served.app().engine().text_to_text().metrics().total_canceled;
        let caller = served.connect(chat("linger", stream).as_bytes());
        served.until("the request is under way", under_way(1));
        drop(caller);
        let canceled = move |served: &Served| served.app().engine().text_to_text().metrics().total_canceled;
        served.until("it is canceled", move |served| canceled(served) == before + 1);
        served.until("it is listed no more", under_way(0));
    }
}

#[test]
fn a_request_is_canceled_by_its_name() {
    let (served, _cue) = scripted(config());
    let mut caller =
        served.connect(chat("wait", false).replace("Host:", "X-Request-Id: mine\r\nHost:").as_bytes());
    served.until("the request is under way", under_way(1));
    let listed = served.get("/requests").ok();
    assert_eq!((&listed[0]["id"], &listed[0]["model"]), (&json!("mine"), &json!("scripted")));
    assert_eq!(served.post("/requests/theirs/cancel", &json!({})).status, 404);
    assert_eq!(served.post("/requests/mine/cancel", &json!({})).ok(), json!({ "canceled": 1 }));
    let mut head = [0; 12];
    caller.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 499");
}

#[test]
fn it_is_ready_until_a_key_fails_too_often() {
    let mut pools = PoolConfig::default().workers(1);
    pools.circuit_threshold = 1;
    let budget = MemoryBudget::fixed(ByteSize::gib(1));
    let engine = Engine::builder().config(pools).budget(budget).build().unwrap();
    add_scripted(&engine);
    let broken = BuildWith::new(|| -> millpond::capability::Batched<_, super::support::Embedder> {
        panic!("scripted panic of a loader")
    });
    engine.text_embedding().register("broken", broken).unwrap();
    let served = Served::new(engine, config());
    assert_eq!(served.get("/health/ready").ok(), json!({ "status": "ready" }));
    let _ = served.app().engine().embed("broken", "text");
    served.until("it is not ready", |served| served.get("/health/ready").status == 503);
    let reasons = served.get("/health").json()["reasons"].to_string();
    assert!(reasons.contains("broken"), "{reasons}");
    assert_eq!(served.get("/health/live").ok(), json!({ "status": "ok" }));
}

#[test]
fn orders_reach_the_pools() {
    let (served, _cue) = scripted(config());
    let model = json!({ "model": "scripted", "capability": "text-embedding" });
    assert_eq!(served.post("/admin/load", &model).ok(), json!({ "done": true }));
    let status = |served: &Served| served.app().engine().text_embedding().key_status("scripted").unwrap();
    assert!(status(&served).ready > 0);
    served.post("/admin/pin", &model).ok();
    assert!(status(&served).pinned);
    served.post("/admin/unpin", &model).ok();
    assert!(!status(&served).pinned);
    served
        .post("/admin/resize", &json!({ "model": "scripted", "capability": "text-embedding", "workers": 3 }))
        .ok();
    served.until("there are three", |served| status(served).ready == 3);
    served.post("/admin/unload", &model).ok();
    assert_eq!(status(&served).workers.len(), 0);
    assert_eq!(served.post("/admin/load", &json!({ "model": "other" })).refusal().0, 404);
    let unknown = json!({ "model": "scripted", "capability": "telepathy" });
    assert_eq!(
        served.post("/admin/load", &unknown).refusal(),
        (400, "invalid_request".into(), "capability".into())
    );
    let none = json!({ "model": "scripted", "workers": 0 });
    assert_eq!(
        served.post("/admin/resize", &none).refusal(),
        (400, "invalid_request".into(), "workers".into())
    );
}

#[test]
fn the_state_of_all_pools_is_told() {
    let (served, _cue) = scripted(config());
    served.app().engine().embed("scripted", "text").unwrap();
    let status = served.get("/pools").ok();
    assert_eq!(status["pools"].as_array().map(Vec::len), Some(5));
    let embedding = &status["pools"][0];
    assert_eq!(
        (&embedding["name"], &embedding["totals"]["total_completed"]),
        (&json!("text-embedding"), &json!(1))
    );
    assert!(status["memory"]["limit"].as_u64() > Some(0) && status["requests"] == json!([]), "{status}");
}
