//! `millpond serve` under load is told to stop: what runs is finished, what comes is refused, nothing breaks off.
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::Served;

const CALLERS: usize = 12;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// What the server is told that requests under way may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// How one request ended, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the whole answer.
    Whole,
    /// Refused in words, or by a connection that is not there.
    Refused,
    /// In the middle of the answer.
    BrokenOff,
}

fn request(kind: usize) -> String {
    let text = json!({ "role": "user", "content": "There is a red circle. What color is the circle?" });
    let (path, body) = match kind % 3 {
        0 => ("/v1/embeddings", json!({ "model": "shapes-embed", "input": "a red circle" })),
        1 => ("/v1/chat/completions", json!({ "model": "shapes-llm", "messages": [text], "stream": true })),
        _ => (
            "/v1/images/generations",
            json!({ "model": "shapes-diffusion", "prompt": "a red circle", "steps": 4 }),
        ),
    };
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Asks once, on a connection of its own.
fn ask(address: SocketAddr, kind: usize) -> End {
    let Ok(mut stream) = TcpStream::connect(address) else { return End::Refused };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    let read = stream.write_all(request(kind).as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        // Nobody has begun to answer.
        return if answer.is_empty() { End::Refused } else { End::BrokenOff };
    };
    let length = head.to_ascii_lowercase().split_once("content-length: ").map(|(_, rest)| {
        rest.lines().next().and_then(|length| length.trim().parse::<usize>().ok()).expect("it is a number")
    });
    let whole = match length {
        Some(length) => body.len() == length,
        None => body.contains("data: [DONE]") && body.ends_with("0\r\n\r\n"),
    };
    match (read.is_ok() && whole, head.starts_with("HTTP/1.1 200")) {
        (true, true) => End::Whole,
        (true, false) if head.starts_with("HTTP/1.1 503") => End::Refused,
        _ => End::BrokenOff,
    }
}

#[test]
fn under_load_nothing_breaks_off() {
    let deadline = format!("{}s", DEADLINE.as_secs());
    let mut server = Served::start(["--preload", "--drain-timeout", &deadline]);
    let address: SocketAddr = server.url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let (whole, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let took = std::thread::scope(|scope| {
        let caller = |kind: usize| {
            loop {
                match ask(address, kind) {
                    End::Whole => {
                        whole.fetch_add(1, Ordering::Relaxed);
                    }
                    End::Refused => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    End::BrokenOff => panic!("an answer broke off"),
                }
            }
        };
        let callers: Vec<_> = (0..CALLERS).map(|kind| scope.spawn(move || caller(kind))).collect();
        while whole.load(Ordering::Relaxed) < 5 * CALLERS {
            let ended = callers.iter().any(std::thread::ScopedJoinHandle::is_finished);
            assert!(!ended, "a caller ended before the server was told to stop");
            std::thread::yield_now();
        }
        server.signal("-TERM");
        let told = Instant::now();
        let code = server.child.0.wait().unwrap().code();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(code, Some(0));
        told.elapsed()
    });
    assert!(took < DEADLINE, "it took {took:?}");
    assert_eq!(refused.into_inner(), CALLERS);
}
