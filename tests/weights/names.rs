//! Names from strangers: model ids, sources, files inside a folder, configurations.

use std::fs;

use millpond::weights::gguf::{GgufError, GgufFlaw};
use millpond::weights::{
    JsonError, ModelFiles, ModelFolder, ModelId, ModelSource, SourceError, WeightsError, check_range,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::fixture::{folder_of, tiny_weights};

#[test]
fn only_well_formed_ids_are_ids() {
    let long = format!("org/{}", "n".repeat(97));
    let hostile = [
        "",
        "/",
        "@",
        "org",
        "org/",
        "/name",
        "a/b/c",
        "../..",
        "..",
        "../name",
        "org/..",
        "org/.",
        "./name",
        ".git/x",
        "/etc/passwd",
        "//host/share",
        "\\\\host\\share",
        "C:/models",
        "C:\\models",
        "org\\name",
        "org/na\0me",
        "org/na\nme",
        "org/na me",
        "org/%2e%2e",
        "%2e%2e/%2e%2e",
        "org/name%00",
        "-org/name",
        "org/-name",
        "org/name.",
        "org/a..b",
        "org/a--b",
        "a--b/c",
        "con/name",
        "org/NUL",
        "org/aux.txt",
        "org/com1",
        "org/LPT9.x",
        "org/name@",
        "org/name@..",
        "org/name@../../x",
        "org/name@/x",
        "org/name@a//b",
        "org/name@a\\b",
        "org/name@-rf",
        "org/name@a@b",
        "org/ñame",
        "org/name?x=1",
        "org/name#f",
        "http://host/name",
        "~/name",
        "$HOME/name",
        &long,
    ];
    for text in hostile {
        let id = text.parse::<ModelId>();
        assert!(id.is_err(), "{text:?} must not be an id");
        let message = id.unwrap_err().to_string();
        assert!(
            message.contains("org/name") && !message.contains('\n') && !message.contains('\0'),
            "{message:?}"
        );
    }
}

#[test]
fn honest_ids_read_back() {
    for text in [
        "sentence-transformers/all-MiniLM-L6-v2",
        "a/b",
        "BAAI/bge-m3@main",
        "o/n@refs/pr/1",
        "o/n@0123abc",
        "01-ai/Yi_1.5",
    ] {
        let id: ModelId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.repo(), format!("{}/{}", id.org(), id.name()));
    }
    assert_eq!("a/b".parse::<ModelId>().unwrap().revision(), "main");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_accepted_id_stays_in_its_folder(text in "[a-z./@%\\\\\\-:~ \\x00]{1,24}") {
        if let Ok(id) = text.parse::<ModelId>() {
            for part in [id.org(), id.name()].into_iter().chain(id.revision().split('/')) {
                let mut components = std::path::Path::new(part).components();
                prop_assert!(matches!(components.next(), Some(std::path::Component::Normal(_))));
                prop_assert!(components.next().is_none());
            }
        }
    }
}

#[test]
fn what_exists_on_disk_wins() {
    let folder =
        folder_of(&[("org/name/model.safetensors", &tiny_weights()), ("m.gguf", b"GGUF"), ("m.txt", b"")]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(path("org/name").parse(), Ok(ModelSource::Folder(folder.path().join("org/name"))));
    assert_eq!(path("m.gguf").parse(), Ok(ModelSource::Gguf(folder.path().join("m.gguf"))));
    assert!(matches!(path("m.txt").parse::<ModelSource>(), Err(SourceError::NotAModel { .. })));
    assert_eq!("org/name@v1".parse(), Ok(ModelSource::Hub("org/name@v1".parse().unwrap())));
    assert!(matches!("../../no/such".parse::<ModelSource>(), Err(SourceError::InvalidModelId(_))));
    assert!(matches!("models/typo.gguf".parse::<ModelSource>(), Err(SourceError::NotFound { .. })));
    let broken = path("m.gguf").parse::<ModelSource>().unwrap().resolve().unwrap_err();
    let WeightsError::Gguf(broken) = broken else { panic!("{broken}") };
    assert!(
        matches!(*broken, GgufError::Invalid { ref file, flaw: GgufFlaw::Truncated { needs: 4, .. } } if file == "m.gguf")
    );
}

#[test]
fn a_gguf_file_resolves_to_itself_and_is_no_folder() {
    let path = crate::gguf_fixture::fixture("blocks.gguf");
    let source: ModelSource = path.to_str().unwrap().parse().unwrap();
    let files = source.resolve().unwrap();
    assert!(matches!(&files, ModelFiles::Gguf(file) if file.path() == path));
    let refused = files.folder().unwrap_err();
    assert!(matches!(refused, WeightsError::Source(SourceError::Gguf { file }) if file == "blocks.gguf"));
}

#[test]
fn formats_that_can_run_code_are_refused_with_the_reason() {
    for name in ["pytorch_model.bin", "m.pt", "m.PTH", "m.ckpt", "m.pkl", "org/name.bin"] {
        let error = name.parse::<ModelSource>().unwrap_err();
        assert!(matches!(error, SourceError::Pickle { .. }), "{name}");
        assert!(error.to_string().contains("run any code"), "{error}");
    }
    for name in ["ggml-model-q4_0.bin", "m.ggml"] {
        assert!(matches!(name.parse::<ModelSource>(), Err(SourceError::LegacyGgml { .. })), "{name}");
    }
}

#[test]
fn a_folder_says_what_it_has_instead_of_weights() {
    let reason = |files: &[(&str, &[u8])]| {
        let folder = folder_of(files);
        match ModelFolder::local(folder.path()).unwrap().weight_files() {
            Err(WeightsError::Source(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(reason(&[("config.json", b"{}")]), SourceError::NoWeights { .. }));
    let pickle = reason(&[("config.json", b"{}"), ("pytorch_model.bin", b"")]);
    assert!(
        pickle.to_string().contains("pytorch_model.bin") && pickle.to_string().contains("convert"),
        "{pickle}"
    );
    assert!(matches!(reason(&[("m.gguf", b"GGUF")]), SourceError::Gguf { .. }));
    assert!(matches!(
        reason(&[("a.safetensors", b""), ("b.safetensors", b"")]),
        SourceError::SeveralWeights { .. }
    ));
    assert!(matches!(
        ModelFolder::local("/no/such/folder"),
        Err(WeightsError::Source(SourceError::NotFound { .. }))
    ));
}

#[test]
fn no_name_leaves_the_folder() {
    let outer = folder_of(&[
        ("secret.json", b"{}"),
        ("model/1_Pooling/config.json", b"{}"),
        ("model/config.json", b"{}"),
    ]);
    let folder = ModelFolder::local(outer.path().join("model")).unwrap();
    let absolute = outer.path().join("secret.json").to_str().unwrap().to_owned();
    for name in [
        "../secret.json",
        "1_Pooling/../../secret.json",
        "./config.json",
        "1_Pooling//config.json",
        "..",
        ".",
        "",
        "/",
        "..\\secret.json",
        "C:secret.json",
        "config.json/",
        "config.json\0",
        &absolute,
        "config.json::$DATA",
        "con",
        "aux.json",
        "config.json ",
        "config.json.",
    ] {
        assert_eq!(folder.file(name), None, "{name:?} must not be reached");
        assert!(folder.subfolder(name).is_none(), "{name:?} must not be entered");
        let error = folder.read_json::<Value>(name).unwrap_err();
        assert!(matches!(error, WeightsError::Source(SourceError::BadFileName { .. })), "{name:?}: {error}");
    }
    assert!(folder.file("1_Pooling/config.json").is_some());
    let pooling = folder.subfolder("1_Pooling").unwrap();
    assert!(pooling.read_json::<Value>("config.json").unwrap().is_some());
    assert!(folder.read_json::<Value>("absent.json").unwrap().is_none());
}

#[test]
fn hostile_configurations_end_in_typed_errors() {
    let deep = "[".repeat(200_000);
    let files: [(&str, &[u8]); 4] = [
        ("empty.json", b""),
        ("deep.json", deep.as_bytes()),
        ("utf8.json", b"{\"a\":\"\xff\"}"),
        ("list.json", b"[1]"),
    ];
    let folder = folder_of(&files);
    // Sparse: costs no disk.
    fs::File::create(folder.path().join("huge.json")).unwrap().set_len(1 << 40).unwrap();
    let model = ModelFolder::local(folder.path()).unwrap();
    for (name, _) in files {
        let error = model.read_json::<std::collections::BTreeMap<String, u32>>(name).unwrap_err();
        assert!(matches!(error, WeightsError::Json(JsonError::Parse { .. })), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let huge = model.read_json::<Value>("huge.json").unwrap_err();
    assert!(matches!(huge, WeightsError::Json(JsonError::TooLarge { .. })), "{huge}");
}

#[test]
fn numbers_no_model_has_are_out_of_range() {
    for (value, ok) in [(0, false), (1, true), (1024, true), (1025, false), (usize::MAX, false)] {
        assert_eq!(check_range("num_hidden_layers", value, 1..=1024).is_ok(), ok, "{value}");
    }
    let error = check_range("num_attention_heads", 0, 1..=512).unwrap_err();
    assert_eq!(error.to_string(), "num_attention_heads is 0, outside 1..=512; correct the configuration");
}
