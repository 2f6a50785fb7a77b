//! What shows how the server is: the page, its feed, and the metrics.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use millpond::server::ApiKeys;
use serde_json::{Value, json};

use super::support::{Served, add_scripted, answered, config, engine};

/// The frames of a feed, as they come.
fn frames(served: &Served) -> impl Iterator<Item = Value> + use<> {
    let response = served.request("GET", "/feed").call().expect("there is a feed");
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let lines = BufReader::new(response.into_reader()).lines().map_while(Result::ok);
    lines.filter_map(|line| Some(serde_json::from_str(line.strip_prefix("data: ")?).expect("it is JSON")))
}

fn embed(served: &Served, model: &str) {
    served.post("/v1/embeddings", &json!({ "model": model, "input": "a" })).ok();
}

#[test]
fn the_page_runs_nothing_but_its_own() {
    let served = Served::scripted(config());
    let page = served.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.split("; ").any(|it| it == part), "{policy} lacks {part}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let linked: Vec<&str> =
        page.body.split("\"/page/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(linked.len() >= 3, "{linked:?}");
    for name in linked {
        let file = served.get(&format!("/page/{name}"));
        assert_eq!((file.status, file.header("x-content-type-options")), (200, Some("nosniff")), "{name}");
        assert_eq!(file.header("access-control-allow-origin"), None);
    }
    for missing in ["/page/", "/page/mod.rs", "/page/index.html", "/page/..%2fmod.rs", "/page/main.js/x"] {
        assert_eq!(served.get(missing).status, 404, "{missing}");
    }
}

#[test]
fn the_page_needs_no_key_and_what_it_shows_does() {
    let mut guarded = config();
    guarded.keys = ApiKeys::new(["a-key-of-some-length"]).unwrap();
    let served = Served::scripted(guarded);
    assert_eq!(served.get("/").status, 200);
    assert_eq!(served.get("/page/main.js").status, 200);
    for path in ["/feed", "/metrics", "/pools", "/requests"] {
        assert_eq!(served.get(path).status, 401, "{path}");
    }
    let request = served.request("GET", "/metrics").set("authorization", "Bearer a-key-of-some-length");
    assert_eq!(answered(request.call()).status, 200);
}

#[test]
fn a_feed_tells_what_happens_and_why() {
    let served = Served::scripted(config());
    let mut frames = frames(&served);
    let first = frames.next().unwrap();
    assert_eq!(first["pools"].as_array().unwrap().len(), 5);
    assert!(first["history"].is_array() && first["memory"]["limit"].is_u64(), "{first}");
    embed(&served, "scripted");
    let spawned = frames.flat_map(|frame| frame["events"].as_array().unwrap().clone());
    let spawned = spawned.into_iter().find(|event| event["event"] == "spawned").unwrap();
    assert_eq!(spawned["capability"], "text-embedding");
    assert_eq!((&spawned["key"], &spawned["reason"]), (&json!("scripted"), &json!("cold_start")));
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let at = spawned["at"].as_u64().unwrap();
    assert!(at <= now && now - at < 60_000, "{at} is not the time of day");
}

#[test]
fn who_comes_late_to_the_feed_hears_what_was() {
    let served = Served::scripted(config());
    let mut early = frames(&served);
    embed(&served, "scripted");
    let ready =
        |frame: &Value| frame["events"].as_array().unwrap().iter().any(|event| event["event"] == "ready");
    early.find(|frame| ready(frame) && frame["sample"]["workers"]["text-embedding/1"].is_string()).unwrap();
    let late = frames(&served).next().unwrap();
    assert!(ready(&late), "{late}");
    let past = late["history"].as_array().unwrap();
    assert!(past.iter().any(|sample| sample["workers"]["text-embedding/1"].is_string()), "{past:?}");
}

#[test]
fn a_feed_ends_when_the_server_stops() {
    let served = Served::scripted(config());
    let mut frames = frames(&served);
    frames.next().unwrap();
    assert_eq!(served.stop().unfinished, 0);
    assert_eq!(frames.last().map_or(0, |frame| frame["requests"].as_array().unwrap().len()), 0);
}

#[test]
fn there_is_a_limit_to_feeds() {
    let served = Served::scripted(config());
    let open: Vec<_> = (0..16).map(|_| served.request("GET", "/feed").call().unwrap()).collect();
    let refused = answered(served.request("GET", "/feed").call());
    assert_eq!((refused.status, refused.refusal().1.as_str()), (503, "too_many_listeners"));
    assert!(refused.header("retry-after").is_some());
    drop(open);
    served.until("who has left makes room", |served| served.request("GET", "/feed").call().is_ok());
}

/// The samples of an exposition by name and labels; each must belong to a metric that is explained and has a type.
fn samples(text: &str) -> BTreeMap<String, String> {
    let (mut known, mut samples) = (Vec::new(), BTreeMap::new());
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| *line != "# EOF") {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        if let ["#", "TYPE", name, _] = words[..] {
            known.push(name.to_owned());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let base =
                |suffix: &&str| name.strip_suffix(suffix).is_some_and(|it| known.contains(&it.to_owned()));
            let explained = known.contains(&name.to_owned())
                || ["_total", "_bucket", "_sum", "_count", "_info"].iter().any(base);
            assert!(explained && name.starts_with("pool_"), "{line}");
            assert!(samples.insert(series.to_owned(), value.to_owned()).is_none(), "{series} is told twice");
        }
    }
    for name in &known {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }
    samples
}

#[test]
fn metrics_tell_what_was_served() {
    let served = Served::scripted(config());
    (0..3).for_each(|_| embed(&served, "scripted"));
    let counted = |served: &Served| {
        let metrics = served.get("/metrics");
        assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
        samples(&metrics.body)
    };
    let of = r#"capability="text-embedding",model="scripted""#;
    let done = format!(r#"pool_requests_total{{{of},outcome="completed"}}"#);
    let rests = format!(r#"pool_workers{{{of},state="ready"}}"#);
    served.until("all three are counted", |served| {
        let counted = counted(served);
        counted[&done] == "3" && counted[&rests] == "1.0"
    });
    let counted = counted(&served);
    assert_eq!(counted[&format!("pool_run_seconds_count{{{of}}}")], "3");
    assert_eq!(counted[&format!(r#"pool_run_seconds_bucket{{le="+Inf",{of}}}"#)], "3");
    assert_eq!(counted[&format!("pool_spawns_total{{{of}}}")], "1");
    assert_eq!(counted[&format!(r#"pool_tokens_total{{{of},kind="prompt"}}"#)], "9");
    for (name, least) in [("pool_memory_rss_bytes", 1e6), ("pool_memory_budget_bytes", 1e9)] {
        assert!(counted[name].parse::<f64>().unwrap() > least, "{name} is {}", counted[name]);
    }
}

#[test]
fn no_caller_makes_a_series_and_no_name_breaks_a_line() {
    let engine = engine();
    add_scripted(&engine);
    let odd = "a\"} 1\nb\\";
    let embedder =
        millpond::pool::BuildWith::new(|| millpond::capability::Batched::new(super::support::Embedder));
    engine.text_embedding().register(odd, embedder).unwrap();
    let served = Served::new(engine, config());
    let series = |served: &Served| samples(&served.get("/metrics").body).into_keys().collect::<Vec<_>>();
    let before = series(&served);
    assert!(before.iter().any(|series| series.contains(r#"model="a\"} 1\nb\\""#)), "{before:?}");
    for name in 0..50 {
        let refused = served.post("/v1/embeddings", &json!({ "model": format!("m{name}"), "input": "a" }));
        assert_eq!(refused.status, 404);
    }
    assert_eq!(series(&served), before);
}
