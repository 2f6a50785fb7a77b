//! Hubs that fail, and hubs that lie.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond::weights::hub::HubToken;
use millpond::weights::{HubError, ModelFolder, ShardError, SourceError, WeightsError};
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::tiny_weights;
use crate::hub::{config, fetch, serve, tiny};
use crate::hub_server::{Reply, Repository, Request, Server};

const WEIGHTS: &str = "/model.safetensors";

/// The tiny model, except that `twist` changes the answers for paths ending in `suffix`; it is given how
/// often that was asked before.
fn twisted(
    suffix: &'static str,
    twist: impl Fn(usize, &Request, Reply) -> Reply + Send + Sync + 'static,
) -> Server {
    let asked = AtomicUsize::new(0);
    let repository = tiny();
    Server::start(move |request| {
        let reply = repository.reply(request);
        let hit = request.path.ends_with(suffix);
        if hit { twist(asked.fetch_add(1, Ordering::SeqCst), request, reply) } else { reply }
    })
}

fn hub_error(result: Result<ModelFolder, WeightsError>) -> HubError {
    match result {
        Err(WeightsError::Hub(error)) => error,
        other => panic!("{other:?} is no hub error"),
    }
}

fn outcome(server: &Server) -> HubError {
    hub_error(fetch(config(server, &TempDir::new().unwrap())))
}

#[test]
fn a_truncated_body_is_continued_where_it_stopped() {
    let server = twisted(WEIGHTS, |asked, _, reply| if asked == 0 { reply.cut_at(100) } else { reply });
    let cache = TempDir::new().unwrap();
    let folder = fetch(config(&server, &cache)).unwrap();
    assert_eq!(fs::read(folder.path().join("model.safetensors")).unwrap(), tiny_weights());
    let ranges: Vec<_> =
        server.asked().into_iter().filter(|r| r.path.ends_with(WEIGHTS)).map(|r| r.from).collect();
    assert_eq!(ranges, [None, None, Some(100)]);
}

#[test]
fn a_host_without_ranges_starts_over() {
    let repository = tiny();
    let server = twisted(WEIGHTS, move |asked, request, reply| match asked {
        0 => reply.cut_at(100),
        _ => repository.reply(&Request { from: None, ..request.clone() }),
    });
    let cache = TempDir::new().unwrap();
    let folder = fetch(config(&server, &cache)).unwrap();
    assert_eq!(fs::read(folder.path().join("model.safetensors")).unwrap(), tiny_weights());
}

#[test]
fn a_refused_range_starts_over() {
    let server = twisted(WEIGHTS, |asked, request, reply| match request.from {
        Some(_) => Reply::new(416, ""),
        None if asked == 0 => reply.cut_at(100),
        None => reply,
    });
    let cache = TempDir::new().unwrap();
    assert!(fetch(config(&server, &cache)).unwrap().weight_files().is_ok());
}

#[test]
fn a_body_that_never_completes_is_no_file() {
    let server = twisted(
        WEIGHTS,
        |_, request, reply| if request.from.is_some() { reply.cut_at(0) } else { reply.cut_at(100) },
    );
    let cache = TempDir::new().unwrap();
    let error = hub_error(fetch(config(&server, &cache)));
    assert!(matches!(error, HubError::Truncated { got: 100, .. }), "{error}");
    let repo = cache.path().join("models--org--tiny");
    assert!(!repo.join("refs/main").exists(), "a half must not be remembered");
    let snapshot = fs::read_dir(repo.join("snapshots")).unwrap().next().unwrap().unwrap().path();
    assert!(!snapshot.join("model.safetensors").exists());
    // The next process continues.
    drop(server);
    let server = serve(tiny());
    assert!(fetch(config(&server, &cache)).unwrap().weight_files().is_ok());
    assert!(server.asked().iter().any(|request| request.from == Some(100)));
}

#[test]
fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
    for status in [500, 502, 503, 504, 429, 408] {
        let server =
            twisted(WEIGHTS, move |asked, _, reply| if asked < 2 { Reply::new(status, "") } else { reply });
        assert!(fetch(config(&server, &TempDir::new().unwrap())).is_ok(), "{status} passes");
        let server = twisted(WEIGHTS, move |_, _, _| Reply::new(status, ""));
        assert!(matches!(outcome(&server), HubError::Status { status: got, .. } if got == status));
        assert_eq!(server.count(WEIGHTS), 3, "{status} is tried three times");
    }
    let server =
        twisted("/revision/main", |asked, _, reply| if asked < 2 { Reply::new(503, "") } else { reply });
    assert!(fetch(config(&server, &TempDir::new().unwrap())).is_ok(), "the listing is tried again too");
    for (status, expected) in
        [(404, "check the name"), (401, "set HF_TOKEN"), (403, "set HF_TOKEN"), (400, "answered 400")]
    {
        for path in [WEIGHTS, "/revision/main"] {
            let server = twisted(path, move |_, _, _| Reply::new(status, ""));
            let error = outcome(&server);
            assert!(error.to_string().contains(expected), "{status}: {error}");
            assert_eq!(server.count(path), 1, "{status} is final");
        }
    }
}

#[test]
fn a_silent_hub_is_a_network_error() {
    for path in [WEIGHTS, "/revision/main"] {
        let server = twisted(path, |_, _, _| Reply::silence());
        let cache = TempDir::new().unwrap();
        let mut config = config(&server, &cache);
        config.stall_timeout = Duration::from_millis(50);
        let error = hub_error(fetch(config));
        assert!(matches!(error, HubError::Network { attempts: 3, .. }), "{error}");
    }
}

#[test]
fn a_listing_with_a_name_that_leaves_the_folder_is_refused() {
    for name in ["../../evil", "..", "a/../../evil.safetensors", "/etc/evil.json", "..\\evil", "a\0b", ""] {
        let listing = Repository::listing(&["config.json", "model.safetensors", name]);
        let server = twisted("/revision/main", move |_, _, _| listing.clone());
        let outer = TempDir::new().unwrap();
        let mut config = config(&server, &outer);
        config.cache_dir = outer.path().join("a/b/cache");
        assert!(matches!(hub_error(fetch(config)), HubError::BadName { .. }), "{name:?}");
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0, "{name:?} must leave no file");
    }
}

#[test]
fn headers_that_would_leave_the_cache_are_refused() {
    for etag in ["\"../../../evil\"", "\"a/b\"", "\"..\"", "\"\"", "\"x.lock\"", "\"a\\b\""] {
        let server = twisted("/config.json", move |_, _, reply| reply.with("ETag", etag));
        assert!(matches!(outcome(&server), HubError::BadReply { .. }), "{etag}");
    }
    for commit in ["../../../evil", "", "main", "fedcba9876543210fedcba9876543210fedcba98"] {
        let server = twisted("/config.json", move |_, _, reply| reply.with("X-Repo-Commit", commit));
        assert!(matches!(outcome(&server), HubError::Moved { .. }), "{commit}");
        let body = json!({ "sha": commit, "siblings": [{ "rfilename": "model.safetensors" }] }).to_string();
        if !commit.starts_with("fed") {
            let server = twisted("/revision/main", move |_, _, _| Reply::new(200, body.clone()));
            assert!(matches!(outcome(&server), HubError::BadReply { .. }), "{commit}");
        }
    }
}

#[test]
fn answers_that_make_no_sense_are_refused() {
    for body in ["", "null", "[]", "{}", "<html>", r#"{"sha":1,"siblings":[]}"#] {
        let server = twisted("/revision/main", move |_, _, _| Reply::new(200, body));
        assert!(matches!(outcome(&server), HubError::BadReply { .. }), "{body:?}");
    }
    let server = twisted(WEIGHTS, |_, _, reply| reply.with("X-Linked-Size", "7"));
    assert!(matches!(outcome(&server), HubError::BadReply { .. }), "two lengths");
    for target in ["file:///etc/passwd", "ftp://x/y", "relative", ""] {
        let server =
            twisted(WEIGHTS, move |_, _, reply| Reply { status: 302, ..reply }.with("Location", target));
        assert!(matches!(outcome(&server), HubError::BadReply { .. }), "{target:?}");
    }
    let server = twisted(WEIGHTS, |_, request, reply| {
        Reply { status: 302, ..reply }.with("Location", request.path.clone())
    });
    assert!(matches!(outcome(&server), HubError::BadReply { .. }), "a redirect to itself");
}

#[test]
fn content_that_changes_between_two_attempts_is_not_joined() {
    let server = twisted(WEIGHTS, |_, request, reply| match request.from {
        None => reply.cut_at(100),
        Some(_) => reply.with("ETag", "\"another\""),
    });
    assert!(matches!(outcome(&server), HubError::Moved { .. }));
}

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    for range in ["bytes 7-299/300", "garbage", "bytes */300"] {
        let server = twisted(WEIGHTS, move |asked, _, reply| match asked {
            0 => reply.cut_at(100),
            _ if reply.status == 206 => reply.with("Content-Range", range),
            _ => reply,
        });
        let error = outcome(&server);
        assert!(matches!(error, HubError::BadReply { .. } | HubError::Moved { .. }), "{range}: {error}");
    }
}

#[test]
fn content_without_its_announced_digest_is_not_kept() {
    // The digest of no bytes, which the weights are not and the tokenizer below is.
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let server = twisted(WEIGHTS, move |_, _, reply| reply.with("X-Linked-Etag", format!("\"{digest}\"")));
    let cache = TempDir::new().unwrap();
    assert!(matches!(hub_error(fetch(config(&server, &cache))), HubError::Corrupt { .. }));
    assert_eq!(server.count(WEIGHTS), 3);
    let blobs = cache.path().join("models--org--tiny/blobs");
    assert!(
        fs::read_dir(blobs).unwrap().all(|blob| !blob.unwrap().path().to_str().unwrap().contains(digest))
    );
    let server = twisted("/tokenizer.json", move |_, _, reply| {
        Reply { body: vec![], sent: 0, ..reply }.with("X-Linked-Etag", digest)
    });
    assert!(fetch(config(&server, &TempDir::new().unwrap())).is_ok());
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() {
    let content = Server::start(|request| {
        let whole = tiny_weights();
        let from = request.from.unwrap_or(0);
        Reply::new(if from > 0 { 206 } else { 200 }, &whole[from..])
    });
    let location = format!("{}/signed?x=y", content.url());
    let server = twisted(WEIGHTS, move |_, _, reply| {
        let size = tiny_weights().len().to_string();
        Reply { status: 302, ..Reply::new(302, "") }
            .with("Location", location.clone())
            .with("X-Linked-Etag", "\"cafe\"")
            .with("X-Linked-Size", size)
            .with(
                "X-Repo-Commit",
                reply.headers.iter().find(|(n, _)| *n == "X-Repo-Commit").unwrap().1.clone(),
            )
    });
    let cache = TempDir::new().unwrap();
    let mut config = config(&server, &cache);
    config.token = HubToken::new("hf_secret");
    let folder = fetch(config).unwrap();
    assert!(folder.weight_files().is_ok());
    assert!(cache.path().join("models--org--tiny/blobs/cafe").is_file());
    assert!(server.asked().iter().all(|request| request.token.as_deref() == Some("Bearer hf_secret")));
    assert_eq!(content.asked().iter().map(|request| request.token.clone()).collect::<Vec<_>>(), [None]);
}

#[test]
fn a_redirect_within_the_hub_is_followed_with_the_token() {
    let repository = tiny();
    let server = Server::start(move |request| match request.path.strip_prefix("/old") {
        Some(_) => Reply::new(404, ""),
        None if request.path.starts_with("/org/") => {
            Reply::new(307, "").with("Location", format!("/renamed{}", request.path))
        }
        None => {
            let path = request.path.trim_start_matches("/renamed").to_owned();
            repository.reply(&Request { path, ..request.clone() })
        }
    });
    let cache = TempDir::new().unwrap();
    let mut config = config(&server, &cache);
    config.token = HubToken::new("hf_secret");
    assert!(fetch(config).is_ok());
    assert!(server.asked().iter().all(|request| request.token.is_some()));
}

#[test]
fn a_model_that_cannot_be_served_is_refused_before_it_is_downloaded() {
    let reason = |names: &[&str]| {
        let server =
            serve(Repository::of(&names.iter().map(|name| (*name, b"{}".as_slice())).collect::<Vec<_>>()));
        let result = fetch(config(&server, &TempDir::new().unwrap()));
        assert_eq!(server.asked().len(), 1, "only the listing is asked for");
        match result {
            Err(WeightsError::Source(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(reason(&["config.json", "pytorch_model.bin"]), SourceError::PickleOnly { .. }));
    assert!(matches!(reason(&["m-q4.gguf"]), SourceError::Gguf { .. }));
    assert!(matches!(reason(&["README.md"]), SourceError::NoWeights { .. }));
}

#[test]
fn a_hostile_index_or_module_list_reaches_nothing_outside() {
    let index = |shard: &str| json!({ "weight_map": { "a": shard } }).to_string();
    for (shard, bad_name) in [("../../evil.safetensors", true), ("absent.safetensors", false)] {
        let server = serve(Repository::of(&[
            ("config.json", b"{}"),
            ("model.safetensors.index.json", index(shard).as_bytes()),
            ("other.safetensors", b""),
        ]));
        let error = fetch(config(&server, &TempDir::new().unwrap())).unwrap_err();
        let WeightsError::Shard(error) = error else { panic!("{error}") };
        assert_eq!(matches!(error, ShardError::BadName { .. }), bad_name, "{error}");
        assert_eq!(matches!(error, ShardError::Missing { .. }), !bad_name, "{error}");
        assert!(!server.asked().iter().any(|request| request.path.contains("evil")));
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_named_as_such() {
    let server = serve(tiny());
    let cache = TempDir::new().unwrap();
    let mut config = config(&server, &cache);
    config.cache_dir = cache.path().join("file");
    fs::write(&config.cache_dir, "in the way").unwrap();
    let error = hub_error(fetch(config));
    assert!(matches!(error, HubError::Disk { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_held_by_a_process_that_does_nothing_is_given_up_on() {
    let (server, cache) = (serve(tiny()), TempDir::new().unwrap());
    let locks = cache.path().join(".locks/models--org--tiny");
    fs::create_dir_all(&locks).unwrap();
    let etag = format!("model_safetensors-{:x}", tiny_weights().len());
    let held = fs::File::create(locks.join(format!("{etag}.lock"))).unwrap();
    held.lock().unwrap();
    let mut config = config(&server, &cache);
    config.stall_timeout = Duration::from_millis(50);
    assert!(matches!(hub_error(fetch(config.clone())), HubError::Locked { .. }));
    drop(held);
    assert!(fetch(config).is_ok());
}
