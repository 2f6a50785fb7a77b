use std::fs;

use tempfile::TempDir;

use super::*;
use crate::capability::Capabilities;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");

const MINILM: &str = r#"capability = "text-embedding"
description = "MiniLM"
license = "Apache-2.0"
source = { hub = "org/minilm@v2" }
"#;

fn catalog_of(name: &str, text: impl AsRef<[u8]>) -> (TempDir, Result<Catalog, CatalogError>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), text).unwrap();
    let opened = Catalog::open(folder.path());
    (folder, opened)
}

/// What is said of a manifest, without the folder it is in.
fn complaint(text: &str) -> String {
    let (folder, opened) = catalog_of("bad.toml", text);
    let error = opened.expect_err(text);
    assert!(matches!(error, CatalogError::Manifest { .. }), "{error:?}");
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn every_shipped_manifest_says_all_there_is_to_say() {
    let catalog = Catalog::open(MODELS).unwrap();
    let mut hub = 0;
    for manifest in catalog.manifests() {
        let Manifest { name, architecture, dtype, size, memory, sha256, unchecked, .. } = manifest;
        assert!(architecture.is_some() && dtype.is_some() && size.is_some(), "{name}");
        assert!(memory.f32.is_some() && memory.bf16.is_some(), "{name}");
        let writes = [Capabilities::TextToText, Capabilities::Vision];
        let quantizes = manifest.capabilities.iter().any(|it| writes.contains(it));
        assert_eq!(memory.q4_k.is_some(), quantizes, "{name}");
        if matches!(manifest.source, ManifestSource::Hub(_)) {
            hub += 1;
            assert!(sha256.is_empty() && Fact::ALL.iter().all(|fact| unchecked.contains(fact)), "{name}");
        } else {
            assert!(!sha256.is_empty() && unchecked.is_empty(), "{name}");
        }
    }
    assert!(hub >= 25, "{hub} models on the hub");
    for shipped in ["shapes-embed", "shapes-llm", "shapes-clip", "shapes-llava", "shapes-diffusion"] {
        let folder = ModelSource::Folder(Path::new(MODELS).join("tiny").join(shipped));
        assert_eq!(catalog.source_of(catalog.get(shipped).unwrap()), folder);
    }
    assert_eq!(catalog.get("no-such-model"), None);
}

#[test]
fn a_manifest_needs_four_fields_and_may_have_more() {
    let (_folder, catalog) = catalog_of("minilm.toml", MINILM);
    let catalog = catalog.unwrap();
    let manifest = catalog.get("minilm").unwrap();
    assert_eq!(manifest.capabilities, [Capabilities::TextEmbedding]);
    assert_eq!(catalog.source_of(manifest).to_string(), "org/minilm@v2");
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let more = MINILM.replace("\"text-embedding\"", "[\"image-embedding\", \"text-embedding\"]")
        + &format!(
            "size = 3\nmemory = {{ f32 = 7 }}\nunchecked = [\"size\"]\n[sha256]\n\"a/b.safetensors\" = \"{digest}\"\n"
        );
    let (_folder, catalog) = catalog_of("clip.toml", more);
    let manifest = catalog.unwrap().get("clip").unwrap().clone();
    assert_eq!(manifest.capabilities, [Capabilities::ImageEmbedding, Capabilities::TextEmbedding]);
    assert_eq!(manifest.sha256["a/b.safetensors"].to_string(), digest);
    assert_eq!((manifest.memory.f32.unwrap().bytes(), manifest.memory.bf16), (7, None));
    assert!(manifest.unchecked.contains(&Fact::Size));
}

#[test]
fn folders_and_files_are_beside_the_manifest_whether_they_are_there_or_not() {
    for (source, expected) in [
        ("folder = \"near\"", ModelSource::Folder("near".into())),
        ("gguf = \"a/b.gguf\"", ModelSource::Gguf("a/b.gguf".into())),
    ] {
        let (folder, catalog) = catalog_of("x.toml", MINILM.replace("hub = \"org/minilm@v2\"", source));
        let beside = match expected {
            ModelSource::Folder(path) => ModelSource::Folder(folder.path().join(path)),
            ModelSource::Gguf(path) => ModelSource::Gguf(folder.path().join(path)),
            hub => hub,
        };
        let catalog = catalog.unwrap();
        assert_eq!(catalog.source_of(catalog.get("x").unwrap()), beside);
    }
}

#[test]
fn a_bad_manifest_is_told_by_file_field_and_what_to_do() {
    let with = |from: &str, to: &str| complaint(&MINILM.replace(from, to));
    let table = [
        (with("\"text-embedding\"", "7"), "bad.toml, line 1, \"capability\": invalid type: integer `7`"),
        (
            with("text-embedding", "text-embeding"),
            "\"capability\": no capability is called \"text-embeding\"; there are",
        ),
        (with("\"text-embedding\"", "[]"), "line 1, \"capability\": it is empty"),
        (with("\"text-embedding\"", "[\"vision\", \"vision\"]"), "\"capability\": it names vision twice"),
        (with("license = \"Apache-2.0\"\n", ""), "bad.toml: missing field `license`"),
        (with("license", "licence"), "line 3, \"licence\": unknown field `licence`, expected one of"),
        (with("\"MiniLM\"", "\" \""), "line 2, \"description\": it is empty"),
        (with("\"MiniLM\"", "\"\\u001b[2J\""), "\"description\": it holds a control character"),
        (with("\"MiniLM\"", "\"a\\nb\""), "\"description\": it holds a control character"),
        (with("MiniLM", &"x".repeat(201)), "\"description\": it is longer than 200 characters"),
        (with("org/minilm@v2", "../minilm"), "line 4, \"source\": \"../minilm\" is no model id"),
        (
            with("hub =", "url ="),
            "\"source\": unknown variant `url`, expected one of `folder`, `gguf`, `hub`",
        ),
        (with("description", "size = -1\ndescription"), "line 2, \"size\": invalid value"),
        (with("description", "memory = { f64 = 1 }\ndescription"), "\"memory\": unknown field `f64`"),
        (with("description", "dtype = \"f64\"\ndescription"), "\"dtype\": unknown variant `f64`"),
        (
            with("description", "unchecked = [\"weather\"]\ndescription"),
            "\"unchecked\": unknown variant `weather`",
        ),
        (complaint(&format!("{MINILM}[sha256]\n\"a\" = \"12\"\n")), "a SHA-256 is 64 hexadecimal digits"),
        (
            complaint(&format!("{MINILM}[sha256]\n\"../a\" = \"{}\"\n", "0".repeat(64))),
            "line 5, \"sha256\": \"../a\" is no file inside of a model's folder",
        ),
        (complaint("capability"), "bad.toml, line 1"),
        (complaint(&"[".repeat(10_000)), "bad.toml, line 1"),
    ];
    for (said, expected) in table {
        assert!(said.contains(expected), "{expected}\n  is not in\n{said}");
    }
}

#[test]
fn what_is_no_catalog_says_so() {
    let (folder, opened) = catalog_of("bad.toml", " ".repeat(MAX_MANIFEST.bytes() as usize + 1));
    assert!(matches!(opened, Err(CatalogError::TooLong { .. })));
    assert!(matches!(Catalog::open(folder.path().join("nowhere")), Err(CatalogError::Read { .. })));
    let (_folder, opened) = catalog_of("bad.toml", b"\xff\xfe");
    assert!(matches!(opened, Err(CatalogError::Read { .. })));
    for name in ["a b.toml", "-v.toml", "con.toml", "m\u{fc}hle.toml", &format!("{}.toml", "x".repeat(65))] {
        let (_folder, opened) = catalog_of(name, MINILM);
        let named = matches!(opened, Err(CatalogError::Manifest { flaw: Flaw::Name, .. }));
        assert!(named, "{name}");
    }
    for passed_over in [".hidden.toml", "README.md"] {
        assert_eq!(catalog_of(passed_over, "no manifest").1.unwrap().manifests().count(), 0);
    }
    fs::remove_file(folder.path().join("bad.toml")).unwrap();
    fs::create_dir(folder.path().join("folder.toml")).unwrap();
    assert!(no_regular_file(folder.path()));
}

/// Whether that is what is said of what is in the catalog.
fn no_regular_file(folder: &Path) -> bool {
    let opened = Catalog::open(folder);
    matches!(opened, Err(CatalogError::Read { source, .. }) if source.to_string() == "not a regular file")
}

#[test]
fn names_of_facts_and_dtypes_are_those_of_manifests() {
    for fact in Fact::ALL {
        assert_eq!(serde_json::to_value(fact).unwrap(), fact.name());
    }
    for dtype in [StoredDtype::F32, StoredDtype::F16, StoredDtype::Bf16] {
        assert_eq!(serde_json::to_value(dtype).unwrap(), dtype.name());
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(no_regular_file(folder.path()));
}

#[test]
fn a_catalog_has_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..=MAX_MANIFESTS {
        fs::write(folder.path().join(format!("m{i}.toml")), MINILM).unwrap();
    }
    assert!(matches!(Catalog::open(folder.path()), Err(CatalogError::TooMany { .. })));
}
