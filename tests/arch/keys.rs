//! Models that come, change and go while an engine runs, what it tells of them, and tokens given as tokens.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use millpond::capability::{EmbedRequest, GenerateRequest, Prompt};
use millpond::memory::MemoryBudget;
use millpond::pool::{KeyConfig, NoWorkers, PoolConfig, PoolError};
use millpond::weights::ModelFiles;
use millpond::{ByteSize, Capabilities, Engine, Error, ModelFacts, ModelOptions};
use tokenizers::Tokenizer;

use crate::support::{Agreement, copied, fixture, folder};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny").join(name)
}

fn files(name: &str) -> ModelFiles {
    ModelFiles::Folder(folder(&shipped(name)))
}

fn engine() -> Engine {
    let config = PoolConfig::default().workers(1);
    Engine::builder().config(config).budget(MemoryBudget::fixed(ByteSize::gib(4))).build().unwrap()
}

fn add(engine: &Engine, name: &str) {
    engine.add(name, shipped(name).to_str().unwrap()).unwrap();
}

fn facts(engine: &Engine, key: &str, capability: Capabilities) -> ModelFacts {
    engine.facts(key).into_iter().find(|facts| facts.capability == capability).unwrap()
}

fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::Pool(PoolError::NoWorkers { reason: NoWorkers::Unregistered, .. }))
}

/// Nothing is reserved any more, soon.
fn is_given_back(engine: &Engine) {
    let until = Instant::now() + Duration::from_secs(30);
    while engine.budget().reserved() > ByteSize::ZERO {
        assert!(Instant::now() < until, "{:?} is still reserved", engine.budget().status());
        std::thread::yield_now();
    }
}

#[test]
fn an_engine_tells_of_models_what_their_files_say_and_loads_none() {
    let engine = engine();
    ["shapes-embed", "shapes-llm", "shapes-clip", "shapes-llava", "shapes-diffusion"]
        .iter()
        .for_each(|name| add(&engine, name));
    let names: Vec<_> = engine.keys().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["shapes-clip", "shapes-diffusion", "shapes-embed", "shapes-llava", "shapes-llm"]);
    assert_eq!(
        engine.capabilities("shapes-clip"),
        [Capabilities::TextEmbedding, Capabilities::ImageEmbedding]
    );

    let embeds = facts(&engine, "shapes-embed", Capabilities::TextEmbedding);
    let embedding = engine.embed("shapes-embed", "a red circle").unwrap();
    assert_eq!((embeds.architecture.as_str(), embeds.dimensions), ("bert", Some(embedding.values.len())));
    assert_eq!(embeds.context_length, engine.context_length("shapes-embed"));
    let weights = embeds.footprint.unwrap().weights;
    assert_eq!(engine.text_embedding().reserved_memory(), embeds.footprint.unwrap().with_workers(1));
    assert!(weights > ByteSize::ZERO);

    let writes = facts(&engine, "shapes-llm", Capabilities::TextToText);
    assert!(writes.has_chat_template && writes.dimensions.is_none());
    let most = engine.context_length("shapes-llm").unwrap();
    let longer = GenerateRequest::new(Prompt::Raw("a".to_owned())).max_tokens(most);
    assert!(engine.generate("shapes-llm", longer).is_err(), "no more than that");

    let pictures = facts(&engine, "shapes-clip", Capabilities::ImageEmbedding);
    assert_eq!((pictures.architecture.as_str(), pictures.context_length), ("clip", None));
    assert!(facts(&engine, "shapes-llava", Capabilities::Vision).context_length.is_some());
    assert!(facts(&engine, "shapes-diffusion", Capabilities::TextToImage).footprint.is_some());
    for key in engine.keys() {
        for facts in engine.facts(&key) {
            let json = serde_json::to_string(&facts).unwrap();
            assert_eq!(serde_json::from_str::<ModelFacts>(&json).unwrap(), facts, "{json}");
        }
    }
    let loaded: Vec<_> = engine.status().pools.iter().map(|pool| pool.totals.workers_spawned).collect();
    assert_eq!(loaded, [1, 0, 0, 0, 0], "only what was asked");
}

#[test]
fn prompts_and_templates_are_told_of() {
    let engine = engine();
    let config = KeyConfig::of(&PoolConfig::default());
    let nomic = ModelFiles::Folder(folder(&fixture("nomic")));
    engine.add_files_with("nomic", nomic, config, ModelOptions::default()).unwrap();
    let told = facts(&engine, "nomic", Capabilities::TextEmbedding);
    assert!(told.prompts.contains(&"query".to_owned()), "{:?}", told.prompts);
    assert!(!told.has_chat_template && !told.knows_tools);

    let copy = copied(&shipped("shapes-llm"));
    let template = "{% if tools %}{{ tools | tojson }}{% endif %}{{ messages[0].content }}";
    for (text, knows) in [(template, true), ("{{ messages[0].content }}", false)] {
        std::fs::write(copy.path().join("chat_template.jinja"), text).unwrap();
        let files = ModelFiles::Folder(folder(copy.path()));
        engine.replace_files_with("writes", files, config, ModelOptions::default()).unwrap();
        let told = facts(&engine, "writes", Capabilities::TextToText);
        assert_eq!((told.has_chat_template, told.knows_tools), (true, knows));
    }
}

#[test]
fn a_model_that_is_taken_off_is_gone_from_all_its_pools_and_gives_back_its_memory() {
    let engine = engine();
    add(&engine, "shapes-clip");
    engine.embed("shapes-clip", "a red circle").unwrap();
    engine.remove("shapes-clip").unwrap();
    assert!(engine.keys().is_empty() && engine.facts("shapes-clip").is_empty());
    assert!(engine.capabilities("shapes-clip").is_empty());
    assert!(is_unknown(&engine.embed("shapes-clip", "a red circle").unwrap_err()));
    assert!(is_unknown(&engine.remove("shapes-clip").unwrap_err()));
    is_given_back(&engine);
    add(&engine, "shapes-clip");
    engine.embed("shapes-clip", "a red circle").unwrap();
}

#[test]
fn a_model_takes_anothers_place_with_all_that_it_can_do_and_no_more() {
    let engine = engine();
    let config = KeyConfig::of(&PoolConfig::default().workers(1));
    let threads = NonZeroUsize::new(3).unwrap();
    let options = ModelOptions::default().threads(threads);
    let put = |name: &str| engine.replace_files_with("model", files(name), config, options).unwrap();
    assert_eq!(put("shapes-clip"), Capabilities::ImageEmbedding);
    let clip = engine.embed("model", "a red circle").unwrap();
    assert_eq!(facts(&engine, "model", Capabilities::TextEmbedding).threads, 3);
    assert_eq!(put("shapes-embed"), Capabilities::TextEmbedding);
    assert_eq!(engine.capabilities("model"), [Capabilities::TextEmbedding]);
    assert_eq!(engine.facts("model").len(), 1);
    let own = engine.embed("model", "a red circle").unwrap();
    assert_ne!(clip.values, own.values);
    let empty = tempfile::tempdir().unwrap();
    let broken = ModelFiles::Folder(folder(empty.path()));
    assert!(engine.replace_files_with("model", broken, config, options).is_err());
    assert_eq!(engine.embed("model", "a red circle").unwrap(), own, "what cannot be read changes nothing");
}

#[test]
fn the_tokens_of_a_text_have_its_embedding() {
    let engine = engine();
    for key in ["shapes-embed", "shapes-clip"] {
        add(&engine, key);
        let tokenizer = tokenizer_of(key);
        for text in ["a red circle", "a small blue square above a green ring"] {
            let ids = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
            let ids: Vec<u32> = ids.into_iter().take(engine.context_length(key).unwrap()).collect();
            let tokens = ids.len();
            let pool = engine.text_embedding();
            let told = pool.submit_wait(key, EmbedRequest::tokens(ids)).unwrap();
            let said = engine.embed(key, text).unwrap();
            assert_eq!((told.tokens, told.truncated), (tokens, false));
            assert_eq!(told.tokens, said.tokens);
            assert!(Agreement::PERFECT.with(&told.values, &said.values).max_difference <= 1e-6, "{key}");
        }
    }
    let bare = tokenizer_of("shapes-embed").encode("a red circle", false).unwrap().get_ids().to_vec();
    let told = engine.text_embedding().submit_wait("shapes-embed", EmbedRequest::tokens(bare)).unwrap();
    assert_eq!(told.tokens, 3, "nothing comes around them");
}

fn tokenizer_of(name: &str) -> Tokenizer {
    Tokenizer::from_file(shipped(name).join("tokenizer.json")).unwrap()
}

#[test]
fn tokens_that_are_none_of_the_models_are_refused_before_they_wait() {
    let engine = engine();
    add(&engine, "shapes-embed");
    add(&engine, "shapes-llm");
    let most = engine.context_length("shapes-embed").unwrap();
    let embed = |request: EmbedRequest| {
        let refused = engine.text_embedding().submit("shapes-embed", request).map(drop);
        match refused.map_err(|refused| refused.error) {
            Err(PoolError::InvalidRequest { source, .. }) => source.field,
            Err(error) => panic!("{error}"),
            Ok(()) => "nothing",
        }
    };
    assert_eq!(embed(EmbedRequest::tokens(vec![1; most])), "nothing");
    assert_eq!(embed(EmbedRequest::tokens(vec![1; most + 1])), "input");
    assert_eq!(embed(EmbedRequest::tokens(Vec::new())), "input");
    assert_eq!(embed(EmbedRequest::tokens([1, u32::MAX])), "input");
    assert_eq!(embed(EmbedRequest::tokens([1]).prompt_name("query")), "prompt_name");

    let room = engine.context_length("shapes-llm").unwrap();
    let write = |ids: Vec<u32>| {
        let request = GenerateRequest::new(Prompt::Tokens(ids)).max_tokens(2);
        match engine.generate("shapes-llm", request) {
            Err(Error::Pool(PoolError::InvalidRequest { source, .. })) => source.field,
            Err(error) => panic!("{error}"),
            Ok(_) => "nothing",
        }
    };
    assert_eq!(write(vec![5; 3]), "nothing");
    assert_eq!(write(Vec::new()), "prompt");
    assert_eq!(write(vec![5, 1 << 30]), "prompt");
    assert_eq!(write(vec![5; room]), "prompt");
}

#[test]
fn the_tokens_of_a_prompt_have_its_continuation_and_are_counted() {
    let engine = engine();
    add(&engine, "shapes-llm");
    let ask =
        |prompt: Prompt| engine.generate("shapes-llm", GenerateRequest::new(prompt).max_tokens(6)).unwrap();
    let said = ask(Prompt::Raw("a red circle is".to_owned()));
    let told = ask(Prompt::Tokens(said.prompt_token_ids.clone()));
    assert_eq!((&told.choices, &told.prompt_token_ids), (&said.choices, &said.prompt_token_ids));
    let status = engine.text_to_text().key_status("shapes-llm").unwrap();
    assert_eq!(status.prompt_tokens, 2 * said.prompt_tokens() as u64);
    assert_eq!(status.completion_tokens, 2 * said.completion_tokens() as u64);
    engine.remove("shapes-llm").unwrap();
    is_given_back(&engine);
    let totals = engine.text_to_text().metrics();
    assert_eq!(totals.prompt_tokens, status.prompt_tokens, "what is gone still counts");
}
