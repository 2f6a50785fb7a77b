//! `millpond serve`: it starts, changes and stops as it is told.

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Run, Served, command, millpond};

/// How much of an answer is asked for.
const TOKENS: usize = 40;

/// One answer, read to its end as it comes; its text.
fn stream(url: &str, model: &str) -> Result<String, String> {
    let body = json!({
        "model": model, "stream": true, "temperature": 0, "max_tokens": TOKENS, "prompt": "There was",
    });
    let request = ureq::post(&format!("{url}/v1/completions")).set("Content-Type", "application/json");
    let response = request.send_string(&body.to_string()).map_err(|error| error.to_string())?;
    let (mut text, mut done) = (String::new(), false);
    for line in BufReader::new(response.into_reader()).lines() {
        let line = line.map_err(|error| error.to_string())?;
        let Some(data) = line.strip_prefix("data: ") else { continue };
        done = data == "[DONE]";
        if !done {
            let piece: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
            if let Some(error) = piece.get("error") {
                return Err(error.to_string());
            }
            text += piece["choices"][0]["text"].as_str().unwrap_or_default();
        }
    }
    if done { Ok(text) } else { Err(format!("it broke off after {text:?}")) }
}

fn known(server: &Served) -> Vec<String> {
    let lines = server.ask(["ps", "--all", "--json"]).ok().json();
    lines.iter().map(|line| line["model"].as_str().unwrap().to_owned()).collect()
}

/// Has callers end when it is dropped: a test that fails does not wait for them.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(unix)]
#[test]
fn models_come_change_and_go_while_others_stream() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.toml");
    let first = "[models.text-to-text.writer]\nsource = \"shapes-llm\"\n";
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write(first);
    let mut server = Served::start(["--config", file.to_str().unwrap()]);
    let expected = stream(&server.url, "writer").unwrap();
    assert!(!expected.is_empty());
    let (url, stop) = (server.url.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let stopping = Stopping(&stop);
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        answers.push(stream(&url, "writer"));
                        if answers.last().is_some_and(Result::is_err) {
                            break;
                        }
                    }
                    answers
                })
            })
            .collect();
        let mut reload = |text: &str, word: &str| {
            write(text);
            server.signal("-HUP");
            server.wait_for(word);
            known(&server)
        };
        let again = "the settings were read again";
        let second = "[models.auto.added]\nsource = \"shapes-embed\"\n";
        assert_eq!(reload(&format!("{first}{second}"), again), ["added", "writer"]);
        // Another setting of the pool's, then another way to compute: the first needs no load, the second does.
        assert_eq!(reload(&format!("{first}keep_alive = \"1h\"\n"), again), ["writer"]);
        assert_eq!(reload(&format!("{first}threads = 1\ncache_tokens = 512\n"), again), ["writer"]);
        // What is wrong changes nothing.
        assert_eq!(reload("prot = 1\n", "the settings stay as they were"), ["writer"]);
        let missing = "[models.auto.x]\nsource = \"./nowhere\"\n";
        assert_eq!(reload(&format!("{first}{missing}"), "the settings stay as they were"), ["writer"]);
        drop(stopping);
        let answers: Vec<_> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
        assert!(answers.len() >= 3);
        for answer in answers {
            assert_eq!(answer.as_deref(), Ok(expected.as_str()));
        }
    });
    write("[models.auto.added]\nsource = \"shapes-embed\"\n");
    server.signal("-HUP");
    server.wait_for("the settings were read again");
    assert_eq!(known(&server), ["added"]);
    assert!(stream(&server.url, "writer").unwrap_err().contains("404"));
}

#[cfg(unix)]
#[test]
fn a_key_that_is_taken_out_is_told_to_hold_until_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "key-number-one\nkey-number-two\n").unwrap();
    let mut server = Served::start(["-m", "shapes-embed", "--api-key-file", keys.to_str().unwrap()]);
    std::fs::write(&keys, "key-number-two\n").unwrap();
    server.signal("-HUP");
    let told = server.wait_for("API key");
    assert!(told.contains("until then those that were taken out still open it"), "{told}");
}

#[test]
fn without_a_name_the_five_that_ship_are_served() {
    let mut server = Served::start([""; 0]);
    assert!(server.line.starts_with("serving 5 models at http://127.0.0.1:"), "{}", server.line);
    server.wait_for("the five that ship with millpond");
    let mut known = known(&server);
    known.sort();
    known.dedup();
    assert_eq!(known, ["shapes-clip", "shapes-diffusion", "shapes-embed", "shapes-llava", "shapes-llm"]);
}

#[cfg(unix)]
#[test]
fn it_stops_in_order_and_says_nothing_of_it() {
    for signal in ["-INT", "-TERM"] {
        let mut server = Served::start(["-m", "shapes-embed"]);
        server.signal(signal);
        let mut log = String::new();
        server.log.read_to_string(&mut log).unwrap();
        assert_eq!(server.child.0.wait().unwrap().code(), Some(0), "{signal}: {log}");
        assert!(!log.contains("error"), "{log}");
    }
}

#[test]
fn what_keeps_it_from_starting_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let bound = millpond(["serve", "--port", &port, "-m", "shapes-embed"]);
    bound.failed(&format!("cannot listen on 127.0.0.1:{port}"));
    millpond(["serve", "--port", "0", "-m", "no-such-model"]).failed("no model is called \"no-such-model\"");
    millpond(["serve", "--port", "0", "-m", "./nowhere"]).failed("there is no \"./nowhere\"");
    millpond(["serve", "--port", "0", "-m", "shapes-embed", "--quantize", "q4_k"]).failed("is not supported");
    for usage in [
        &["serve", "--bind", "0.0.0.0", "--port", "0"][..],
        &["serve", "--port", "many"],
        &["serve", "--keep-alive", "soon"],
        &["serve", "--insecure=perhaps"],
        &["serve", "--workers", "2", "--max-workers", "3"],
        &["serve", "-m", "a=shapes-embed", "-m", "a=shapes-llm"],
        &["serve", "--prot", "1"],
    ] {
        let run = millpond(usage);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{usage:?}: {run:?}");
    }
}

#[test]
fn a_model_that_does_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.toml");
    std::fs::write(&file, "[models.vision.x]\nsource = \"shapes-embed\"\n").unwrap();
    let run = Run::from(command(["serve", "--port", "0"]).env("MILLPOND_CONFIG", &file).output().unwrap());
    run.failed("x does text-embedding, not vision");
}

#[test]
fn models_idle_for_as_long_as_they_are_told_to() {
    let mut server = Served::start(["-m", "shapes-embed", "--preload", "--keep-alive", "300ms"]);
    server.wait_for("Ready");
    let gone = server.wait_for("Evicted");
    assert!(gone.contains("reason: Idle"), "{gone}");
    let agent = ureq::AgentBuilder::new().timeout(Duration::from_secs(30)).build();
    let body = json!({ "model": "shapes-embed", "input": "a red circle" }).to_string();
    let request =
        agent.post(&format!("{}/v1/embeddings", server.url)).set("Content-Type", "application/json");
    assert_eq!(request.send_string(&body).unwrap().status(), 200, "it loads again");
}
