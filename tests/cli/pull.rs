//! Models are fetched before they are needed, from a hub on this machine.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::weights::Sha256;
use tempfile::TempDir;

use crate::hub_server::{COMMIT, Reply, Repository, Server};
use crate::support::{MODEL, Run, command, millpond};

/// A real model, as a repository.
fn shapes_embed() -> Repository {
    let files = [
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    let read = |file: &&str| ((*file).to_owned(), fs::read(Path::new(MODEL).join(file)).unwrap());
    Repository(files.iter().map(read).collect())
}

fn serve(repository: Repository) -> Server {
    Server::start(move |request| repository.reply(request))
}

fn run(endpoint: &str, cache: &TempDir, args: &[&str]) -> Run {
    let mut command = command(args);
    command.env("HF_ENDPOINT", endpoint).env("HF_HUB_CACHE", cache.path()).env_remove("HF_HUB_OFFLINE");
    for variable in ["HF_TOKEN", "HF_HOME", "TRANSFORMERS_OFFLINE"] {
        command.env_remove(variable);
    }
    command.env("HF_TOKEN_PATH", "/no/such/token").output().unwrap().into()
}

/// A catalog in which `tiny` is `org/tiny`, with more lines in its manifest.
fn catalog(more: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let manifest =
        "capability = 'text-embedding'\ndescription = 'x'\nlicense = 'MIT'\nsource = { hub = 'org/tiny' }\n";
    fs::write(folder.path().join("tiny.toml"), format!("{manifest}{more}")).unwrap();
    folder
}

#[test]
fn a_model_is_fetched_once_and_then_used_without_a_network() {
    let (server, cache, catalog) = (serve(shapes_embed()), TempDir::new().unwrap(), catalog(""));
    let names = ["--catalog", catalog.path().to_str().unwrap()];
    let pull =
        |json: &[&str]| run(&server.url(), &cache, &[&["pull", "tiny"], &names[..], json].concat()).ok();
    let first = pull(&[]).stdout;
    let snapshot = cache.path().join("models--org--tiny/snapshots").join(COMMIT);
    assert!(first.starts_with("tiny: fetched\n"), "{first}");
    assert!(first.contains(snapshot.to_str().unwrap()) && first.contains(" KiB\n"), "{first}");
    let asked = server.count(".safetensors");
    assert!(pull(&[]).stdout.starts_with("tiny: complete already\n"));
    let again = pull(&["--json"]).json().remove(0);
    assert_eq!((&again["model"], &again["source"]), (&"tiny".into(), &"org/tiny".into()));
    assert_eq!((&again["fetched"], &again["verified"]), (&0.into(), &0.into()));
    assert_eq!(again["path"], snapshot.to_str().unwrap());
    let bytes: usize = shapes_embed().0.values().map(Vec::len).sum();
    assert_eq!(again["bytes"], bytes);
    assert_eq!((asked, server.count(".safetensors")), (1, 1));
    let offline = |args: &[&str]| {
        let mut command = command(args);
        Run::from(command.env("HF_HUB_CACHE", cache.path()).output().unwrap()).ok()
    };
    let embed = ["embed", "-m", "tiny", "--json", "a red circle"];
    let here = millpond(["embed", "-m", MODEL, "--json", "a red circle"]).ok().embeddings();
    assert_eq!(offline(&[&embed, &names[..]].concat()).embeddings(), here);
    assert!(
        offline(&[&["pull", "tiny"], &names[..]].concat()).stdout.starts_with("tiny: complete already\n")
    );
}

#[test]
fn an_interrupted_fetch_goes_on_where_it_stopped() {
    let (asked, cache) = (AtomicUsize::new(0), TempDir::new().unwrap());
    let repository = shapes_embed();
    let server = Server::start(move |request| match repository.reply(request) {
        reply if !request.path.ends_with(".safetensors") => reply,
        reply if asked.fetch_add(1, Ordering::SeqCst) == 0 => reply.cut_at(400_000),
        _ => Reply::new(404, "gone"),
    });
    run(&server.url(), &cache, &["pull", "org/tiny"]).failed("the hub has no org/tiny/model.safetensors");
    let server = serve(shapes_embed());
    let second = run(&server.url(), &cache, &["pull", "org/tiny"]).ok();
    assert!(second.stdout.starts_with("org/tiny: fetched\n"), "{second:?}");
    let parts = server.asked().into_iter().filter(|request| request.path.ends_with(".safetensors"));
    assert_eq!(parts.map(|request| request.from).collect::<Vec<_>>(), [None, Some(400_000)]);
    let weights = cache.path().join("models--org--tiny/snapshots").join(COMMIT).join("model.safetensors");
    assert_eq!(fs::read(weights).unwrap(), fs::read(Path::new(MODEL).join("model.safetensors")).unwrap());
}

#[test]
fn a_file_that_is_cut_and_goes_on_is_fetched_once() {
    let (asked, cache, repository) = (AtomicUsize::new(0), TempDir::new().unwrap(), shapes_embed());
    let files = repository.0.len();
    let server = Server::start(move |request| match repository.reply(request) {
        reply if !request.path.ends_with(".safetensors") => reply,
        reply if asked.fetch_add(1, Ordering::SeqCst) == 0 => reply.cut_at(400_000),
        reply => reply,
    });
    let pulled = run(&server.url(), &cache, &["pull", "--json", "org/tiny"]).ok().json().remove(0);
    assert_eq!(pulled["fetched"], files);
    assert!(server.asked().iter().any(|request| request.from == Some(400_000)), "it was cut");
}

#[test]
fn the_size_of_a_gguf_file_is_its_length() {
    let file = Path::new("tests/fixtures/gguf/blocks.gguf");
    let pulled = millpond(["pull", "--json", file.to_str().unwrap()]).ok().json().remove(0);
    assert_eq!(pulled["bytes"], fs::metadata(file).unwrap().len());
}

#[test]
fn a_model_that_is_here_needs_no_fetching_and_is_compared_with_its_manifest() {
    let shipped = millpond(["pull", "shapes-embed"]).ok().stdout;
    assert!(shipped.starts_with("shapes-embed: on this machine, nothing is to be fetched\n"), "{shipped}");
    assert!(
        shipped.contains("; 1 file compared with the catalog's digests\n    models/tiny/shapes-embed\n"),
        "{shipped}"
    );
    let path = millpond(["pull", "--json", MODEL]).ok().json().remove(0);
    assert_eq!((&path["fetched"], &path["verified"]), (&0.into(), &0.into()), "a path has no manifest");
}

#[test]
fn digests_of_the_catalog_are_compared_after_fetching() {
    let right = Sha256::of_file(&Path::new(MODEL).join("model.safetensors")).unwrap();
    let wrong = "0".repeat(64);
    for (digest, file) in [
        (right.to_string(), "model.safetensors"),
        (wrong, "model.safetensors"),
        (right.to_string(), "other.safetensors"),
    ] {
        let (server, cache) = (serve(shapes_embed()), TempDir::new().unwrap());
        let catalog = catalog(&format!("sha256 = {{ '{file}' = '{digest}' }}\n"));
        let pulled = run(
            &server.url(),
            &cache,
            &["pull", "tiny", "--json", "--catalog", catalog.path().to_str().unwrap()],
        );
        match (file, digest == right.to_string()) {
            ("model.safetensors", true) => assert_eq!(pulled.ok().json()[0]["verified"], 1),
            ("model.safetensors", false) => pulled
                .failed(&format!("model.safetensors has the SHA-256 {right}, and its manifest says 000")),
            _ => pulled.failed("other.safetensors is in its manifest and not in its folder"),
        }
    }
}

#[test]
fn without_a_network_it_says_so() {
    millpond(["pull", "all-minilm-l6-v2-of-nobody"]).failed("no model is called");
    let cache = TempDir::new().unwrap();
    let offline =
        Run::from(command(["pull", "org/tiny"]).env("HF_HUB_CACHE", cache.path()).output().unwrap());
    offline.failed("no network: org/tiny is not in the cache");
    let server = serve(Repository::default());
    let url = server.url();
    drop(server);
    run(&url, &cache, &["pull", "org/tiny"])
        .failed("no network: the hub could not be reached for org/tiny in 5 attempts");
}

#[test]
fn one_of_several_that_fails_does_not_stop_the_others() {
    let (server, cache) = (serve(shapes_embed()), TempDir::new().unwrap());
    let both = run(&server.url(), &cache, &["pull", "org/other", "org/tiny"]);
    assert_eq!(both.code, Some(1), "{both:?}");
    assert!(both.stdout.starts_with("org/tiny: fetched\n"), "{both:?}");
    assert!(both.stderr.contains("the hub has no org/other"), "{both:?}");
    assert!(both.stderr.contains("error: 1 of 2 models could not be pulled\nhint: "), "{both:?}");
}
