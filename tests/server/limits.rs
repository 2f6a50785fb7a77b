//! What is too much is refused, and costs nothing that stays.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use millpond::ByteSize;
use millpond::server::ServerConfig;
use serde_json::json;

use super::support::{PATIENCE, Served, alone, config, resident};

fn narrow(change: impl FnOnce(&mut ServerConfig)) -> Served {
    let mut config = config();
    change(&mut config);
    Served::scripted(config)
}

fn head(more: &str) -> String {
    format!("POST /admin/load HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
}

/// The first line of an answer, up to its status; less if the connection ends before.
fn start(stream: &mut TcpStream) -> String {
    let mut start = String::new();
    let _ = Read::take(stream, 12).read_to_string(&mut start);
    start
}

#[track_caller]
fn refused(served: &Served, bytes: &[u8], status: &str) {
    let start = start(&mut served.connect(bytes));
    assert!(start.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {start:?}");
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
fn who_is_refused_while_they_send_hears_why() {
    let served = narrow(|config| config.limits.body = ByteSize::mib(1));
    let length = 32 << 20;
    let mut caller = served.connect(head(&format!("Content-Length: {length}\r\n")).as_bytes());
    let piece = vec![b' '; 1 << 16];
    // Far more than a socket holds, all of it after the answer was given.
    (0..length / piece.len()).for_each(|_| caller.write_all(&piece).unwrap());
    assert_eq!(start(&mut caller), "HTTP/1.1 413");
    let next = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    caller.write_all(next.as_bytes()).unwrap();
    let mut rest = String::new();
    caller.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 200"), "the connection is still good: {rest}");
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
    let served = narrow(|config| {
        config.limits.write_timeout = Duration::from_millis(100);
        config.limits.head_timeout = PATIENCE * 10;
        config.limits.connections = 1;
    });
    // The answers are far more than a socket holds, and none is read.
    let deaf =
        served.connect("GET /page/pools.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(5000).as_bytes());
    let hears = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    served.until("it leaves its seat", |served| served.raw(hears.as_bytes()).starts_with("HTTP/1.1 200"));
    drop(deaf);
}

#[test]
fn all_bodies_together_have_a_limit() {
    let served = narrow(|config| {
        config.limits.body = ByteSize::mib(3);
        config.limits.bodies = ByteSize::mib(3);
    });
    let part = head(&format!("Content-Length: {}\r\n", 3 << 20)) + &" ".repeat((3 << 20) - 1);
    let large = " ".repeat(1 << 20);
    // Whichever comes first has its room: either may be the one that is refused.
    served.until("a large body is refused for one that came for the most part", |served| {
        let mut first = served.connect(part.as_bytes());
        let refused = served.post_text("/admin/load", &large).status == 503;
        assert_eq!(served.post_text("/admin/load", "{}").status, 400, "small ones have room");
        let _ = first.write_all(b" ");
        refused && start(&mut first) == "HTTP/1.1 400"
    });
    assert_eq!(served.post_text("/admin/load", &large).status, 400, "large ones have room again");
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
        (start(&mut stream) == "HTTP/1.1 200").then_some(stream)
    };
    let (first, _second) = (open().unwrap(), open().unwrap());
    assert!(open().is_none(), "a third is closed");
    drop(first);
    served.until("a place came back", |_| open().is_some());
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
    start(&mut stream);
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
        over.iter().for_each(|request| drop(start(&mut served.connect(request.as_bytes()))));
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
