//! `millpond ps`, `stop`, `top` and `bench --url`: a server as others see it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Served, command, millpond};

#[test]
fn ps_shows_what_is_loaded_and_stop_unloads_it() {
    let server = Served::start(["-m", "one=shapes-embed", "-m", "two=shapes-llm", "--keep-alive", "1h"]);
    let nothing = server.ask(["ps"]).ok().stdout;
    assert!(nothing.starts_with("nothing is loaded, 2 known (--all); "), "{nothing}");
    let bench = ["bench", "embed", "-m", "one", "--requests", "5", "--json", "--url", &server.url];
    millpond(bench).ok();
    let loaded = server.ask(["ps", "--json"]).ok().json();
    let [one] = &loaded[..] else { panic!("{loaded:?}") };
    assert_eq!((&one["model"], &one["capability"]), (&"one".into(), &"text-embedding".into()));
    assert_eq!((&one["busy"], &one["queued"], &one["pinned"]), (&0.into(), &0.into(), &false.into()));
    assert!(one["workers"].as_u64() >= Some(1) && one["completed"].as_u64() >= Some(5), "{one}");
    let expires = one["expires_in"].as_f64().unwrap();
    assert!((3500.0..=3600.0).contains(&expires), "{expires}");
    let table = server.ask(["ps", "--all"]).ok().stdout;
    let [titles, first, second, last] = &table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
    assert!(titles.starts_with("model ") && first.contains("in 59 min "), "{table}");
    assert!(second.contains("two") && second.ends_with("not loaded"), "{table}");
    assert!(last.contains(" reserved; 0 requests under way; up for "), "{table}");
    assert_eq!(server.ask(["stop", "one"]).ok().stdout, "one: unloaded\n");
    assert_eq!(server.ask(["ps", "--json"]).ok().stdout, "");
    let unknown = server.ask(["stop", "three"]);
    unknown.failed(" answers 404: ");
    server.ask(["stop", "one", "--capability", "vision"]).failed(" answers 4");
}

#[test]
fn top_prints_a_page_where_there_is_no_terminal() {
    let server = Served::start(["-m", "one=shapes-embed", "--preload"]);
    millpond(["bench", "embed", "-m", "one", "--requests", "5", "--json", "--url", &server.url]).ok();
    let page = server.ask(["top", "--once"]).ok().stdout;
    for part in ["millpond 0.", &server.url, "memory ", "\none ", "text-embedding  r", "what happened"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains('\x1b'), "{page}");
}

#[test]
fn bench_measures_servers_in_closed_and_open_rounds() {
    let server = Served::start(["-m", "shapes-embed", "-m", "shapes-llm"]);
    let figures = |args: &[&str]| {
        let bench = [args, &["--url", &server.url, "--json"]].concat();
        let mut lines = millpond(bench).ok().json();
        assert_eq!(lines.len(), 1);
        lines.remove(0)
    };
    let number = |figures: &Value, name: &str| figures[name].as_f64().unwrap();
    let closed = figures(&["bench", "embed", "-m", "shapes-embed", "--requests", "20", "--concurrency", "3"]);
    let names: BTreeSet<&str> = closed.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["p50_ms", "p99_ms", "requests_per_second", "tokens_per_second"]));
    assert!(number(&closed, "p50_ms") > 0.0 && number(&closed, "tokens_per_second") > 0.0);
    let open = ["bench", "embed", "-m", "shapes-embed", "--requests", "20", "--rate", "100"];
    // The last of 20 is due after 190 ms.
    let rate = number(&figures(&open), "requests_per_second");
    assert!(rate <= 20.0 / 0.19, "{rate} a second");
    let written = figures(&["bench", "generate", "-m", "shapes-llm", "--requests", "4", "--tokens", "8"]);
    assert!(number(&written, "first_token_p50_ms") > 0.0 && number(&written, "tokens_per_second") > 0.0);
    let page =
        millpond(["bench", "embed", "-m", "shapes-embed", "--requests", "20", "--url", &server.url]).ok();
    for part in ["time in ms", "p90", "max", "answer", " ms  #", &server.url] {
        assert!(page.stdout.contains(part), "{part}: {page:?}");
    }
    let unknown = millpond(["bench", "embed", "-m", "nobody", "--url", &server.url]);
    unknown.failed(" answers 404: ");
}

#[test]
fn a_server_that_is_not_there_can_be_started() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for verb in
        [&["ps"][..], &["stop", "x"], &["top", "--once"], &["bench", "embed", "-m", "x", "--url", &url]]
    {
        let run = command(verb).env("MILLPOND_URL", &url).output().unwrap();
        let run = crate::support::Run::from(run);
        run.failed(&format!("no server at {url}: "));
        assert!(run.stderr.contains("hint: start one with `millpond serve`"), "{run:?}");
    }
}

#[test]
fn a_key_opens_the_server_and_is_found_in_its_settings() {
    let key = "a-key-of-some-length";
    let server = Served::start(["-m", "shapes-embed", "--api-key", key]);
    let shut = server.ask(["ps"]);
    shut.failed(" answers 401: ");
    assert!(shut.stderr.ends_with("hint: give its key with --api-key or MILLPOND_API_KEY\n"), "{shut:?}");
    server.ask(["ps", "--api-key", key]).ok();
    let mut bench =
        command(["bench", "embed", "-m", "shapes-embed", "--requests", "2", "--url", &server.url]);
    let run = bench.env("MILLPOND_API_KEY", format!(" {key}, another-key")).output().unwrap();
    crate::support::Run::from(run).ok();
    let folder = tempfile::tempdir().unwrap();
    let port = server.url.rsplit(':').next().unwrap();
    let file = folder.path().join("m.toml");
    std::fs::write(&file, format!("port = {port}\napi_key = \"{key}\"\n")).unwrap();
    let slash = format!("{}/", server.url);
    let bench = ["bench", "embed", "-m", "shapes-embed", "--requests", "2", "--url", &slash];
    for verb in [&["ps"][..], &["ps", "--url", &slash], &bench] {
        let run = command(verb).env("MILLPOND_CONFIG", &file).output().unwrap();
        crate::support::Run::from(run).ok();
    }
}
