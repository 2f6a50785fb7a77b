//! What is too much is refused, and costs nothing that stays.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use millpond::ByteSize;
use millpond::server::ServerConfig;
use serde_json::json;

use super::support::{Served, alone, config, resident};

fn narrow(change: impl FnOnce(&mut ServerConfig)) -> Served {
    let mut config = config();
    change(&mut config);
    Served::scripted(config)
}

fn head(more: &str) -> String {
    format!("POST /admin/load HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
}

#[track_caller]
fn refused(served: &Served, bytes: &[u8], status: &str) {
    let answer = served.raw(bytes);
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {answer:?}");
    assert_eq!(served.get("/health/ready").status, 200);
}

#[test]
fn a_body_beyond_the_limit_is_refused_before_it_comes() {
    let served = Served::scripted(config());
    let huge = head("Content-Length: 99999999999\r\n");
    refused(&served, huge.as_bytes(), "413");
    refused(&served, head("Content-Length: 18446744073709551616\r\n").as_bytes(), "400");
    refused(&served, head("Content-Length: -1\r\n").as_bytes(), "400");
    refused(&served, head("Content-Length: 3\r\nContent-Length: 4\r\n").as_bytes(), "400");
}

#[test]
fn pieces_are_counted_and_added_up() {
    let served = narrow(|config| {
        config.limits.body = ByteSize::kib(64);
        config.limits.pieces = 100;
    });
    let chunked = |pieces: usize, bytes: usize| {
        let piece = format!("{bytes:x}\r\n{}\r\n", " ".repeat(bytes));
        head("Transfer-Encoding: chunked\r\nConnection: close\r\n") + &piece.repeat(pieces) + "0\r\n\r\n"
    };
    refused(&served, chunked(101, 1).as_bytes(), "413");
    refused(&served, chunked(3, 32 << 10).as_bytes(), "413");
    // As many as may be, and no JSON.
    refused(&served, chunked(100, 1).as_bytes(), "400");
}

#[test]
fn a_head_beyond_the_limit_is_refused() {
    let served = Served::scripted(config());
    let many = "X-Again: 1\r\n".repeat(200);
    refused(&served, head(&many).as_bytes(), "431");
    let long = format!("X-Long: {}\r\n", "x".repeat(1 << 20));
    refused(&served, head(&long).as_bytes(), "431");
    let path = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(1 << 20));
    refused(&served, path.as_bytes(), "4");
    refused(&served, b"nonsense\r\n\r\n", "400");
}

#[test]
fn who_dawdles_is_cut_off() {
    let served = narrow(|config| {
        config.limits.head_timeout = Duration::from_millis(100);
        config.limits.body_timeout = Duration::from_millis(100);
    });
    for start in ["", "POST /admin/load HT", "POST /admin/load HTTP/1.1\r\nHost: localhost\r\nX-A: "] {
        let mut rest = String::new();
        // Closed by the server: reading ends.
        let _ = served.connect(start.as_bytes()).read_to_string(&mut rest);
    }
    let slow = head("Content-Length: 100\r\n") + "{";
    refused(&served, slow.as_bytes(), "408");
}

#[test]
fn who_does_not_read_is_cut_off() {
    let served = narrow(|config| config.limits.write_timeout = Duration::from_millis(100));
    // Far more than a socket holds, of which nothing is read.
    let message = json!({ "role": "user", "content": "count 1000000" });
    let body = json!({ "model": "scripted", "messages": [message], "stream": true }).to_string();
    let length = body.len();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n";
    let _deaf = served.connect(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes());
    let canceled = |served: &Served| served.app().engine().text_to_text().metrics().total_canceled;
    served.until("it is canceled", |served| canceled(served) == 1);
    served.until("it is listed no more", |served| served.app().in_flight().is_empty());
}

#[test]
fn all_bodies_together_have_a_limit() {
    let served = narrow(|config| {
        config.limits.body = ByteSize::mib(3);
        config.limits.bodies = ByteSize::mib(3);
    });
    // One that has come for the most part, and is not all there.
    let part = head(&format!("Content-Length: {}\r\n", 3 << 20)) + &" ".repeat((3 << 20) - 1);
    let mut first = served.connect(part.as_bytes());
    let large = " ".repeat(1 << 20);
    served.until("there is no room", |served| served.post_text("/admin/load", &large).status == 503);
    assert_eq!(served.post_text("/admin/load", "{}").status, 400, "small ones have room");
    first.write_all(b" ").unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 400");
    assert_eq!(served.post_text("/admin/load", &large).status, 400, "and large ones again");
}

#[test]
fn json_is_as_deep_as_it_may_be() {
    let served = Served::scripted(config());
    let deep = |levels: usize| format!("{{\"model\": {}{}}}", "[".repeat(levels), "]".repeat(levels));
    for levels in [64, 101, 127, 250_000] {
        let (status, code, _) = served.post_text("/admin/load", &deep(levels)).refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_json"), "{levels}");
    }
    let (status, _, param) = served.post_text("/admin/load", &deep(3)).refusal();
    assert_eq!((status, param.as_str()), (400, "model"));
}

#[test]
fn what_is_compressed_is_refused_unread() {
    let served = Served::scripted(config());
    for encoding in ["gzip", "br", "deflate", "zstd"] {
        let request = served.request("POST", "/admin/load").set("content-encoding", encoding);
        let answer = super::support::answered(request.send_bytes(b"\x1f\x8b\x08\x00"));
        assert_eq!(answer.refusal().0, 415, "{encoding}");
    }
}

#[test]
fn connections_have_a_limit_and_places_come_back() {
    let served = narrow(|config| config.limits.connections = 2);
    let hello = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let open = || {
        let mut stream = served.connect(hello);
        let mut start = [0; 12];
        stream.read_exact(&mut start).map(|()| stream)
    };
    let (first, _second) = (open().unwrap(), open().unwrap());
    assert!(open().is_err(), "a third is closed");
    drop(first);
    served.until("a place came back", |_| open().is_ok());
}

/// Sends a million pieces of one byte, or as many as are taken.
fn flood(served: &Served) {
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = stream.write_all(head("Transfer-Encoding: chunked\r\n").as_bytes());
    let pieces = "1\r\n \r\n".repeat(10_000);
    for _ in 0..100 {
        if stream.write_all(pieces.as_bytes()).is_err() {
            break;
        }
    }
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn what_was_refused_leaves_nothing_behind() {
    if !alone("limits::what_was_refused_leaves_nothing_behind") {
        return;
    }
    let served = narrow(|config| config.limits.body = ByteSize::mib(1));
    let over =
        [head("Content-Length: 99999999999\r\n"), head(&format!("X-Long: {}\r\n", "x".repeat(1 << 20)))];
    let round = || {
        flood(&served);
        over.iter().for_each(|request| drop(served.raw(request.as_bytes())));
        assert_eq!(served.post_text("/admin/load", &"[".repeat(250_000)).status, 400);
    };
    // Buffers and threads that are made once.
    (0..10).for_each(|_| round());
    let before = resident();
    (0..25).for_each(|_| round());
    let grown = resident().saturating_sub(before);
    assert!(grown <= ByteSize::mib(1), "100 requests that were refused left {grown}");
    assert_eq!(served.get("/requests").ok(), json!([]));
}
