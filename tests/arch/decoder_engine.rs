//! Engines serve text generation: which pool a model gets to, and what comes back.

use millpond::arch::{DecoderOptions, DecoderPlan};
use millpond::capability::{Chat, FinishReason, GenerateRequest, Message, Prompt};
use millpond::memory::MemoryBudget;
use millpond::pool::SubmitOptions;
use millpond::weights::{ModelFiles, ModelFolder};
use millpond::{ByteSize, Capabilities, Engine};

use crate::decoder_agreement::fixture;
use crate::support::shapes_embed;

fn engine() -> Engine {
    Engine::builder().budget(MemoryBudget::fixed(ByteSize::new(1 << 30))).build().unwrap()
}

fn raw(text: &str) -> GenerateRequest {
    GenerateRequest::new(Prompt::Raw(text.to_owned())).max_tokens(8)
}

#[test]
fn a_model_gets_to_the_pool_of_what_it_can_do() {
    let engine = engine();
    let add = |key: &str, path: std::path::PathBuf| engine.add(key, path.to_str().unwrap()).unwrap();
    assert_eq!(add("embeds", shapes_embed()), Capabilities::TextEmbedding);
    assert_eq!(add("folder", fixture("qwen3")), Capabilities::TextToText);
    assert_eq!(engine.key_config(Capabilities::TextToText).max_workers, 1);
    assert!(engine.generate("embeds", raw("x")).is_err());
    assert!(engine.embed("folder", "x").is_err());
    let said = engine.generate("folder", raw("the mill on the river")).unwrap();
    assert_eq!(said.choices.len(), 1);
    let choice = &said.choices[0];
    assert_eq!((choice.token_ids.len(), choice.finish_reason), (8, FinishReason::Length));
    assert_eq!(engine.generate("folder", raw("the mill on the river")).unwrap().choices, said.choices);
}

#[test]
fn a_gguf_file_brings_its_tokenizer_and_its_template() {
    let engine = engine();
    engine.add("gguf", fixture("qwen3-chat.gguf").to_str().unwrap()).unwrap();
    let asked = GenerateRequest::new(Chat::new(vec![Message::user("where is the mill?")])).max_tokens(8);
    let said = engine.generate("gguf", asked).unwrap();
    assert_eq!(said.completion_tokens(), 8);
    assert!(said.prompt_tokens() > 4, "the template is around what was asked");
}

#[test]
fn the_next_turn_of_a_conversation_reads_only_what_is_new() {
    let engine = engine();
    engine.add("gguf", fixture("qwen3-chat.gguf").to_str().unwrap()).unwrap();
    let ask = |messages: &[Message]| {
        let asked = GenerateRequest::new(Chat::new(messages.to_vec())).max_tokens(8);
        let options = SubmitOptions::new().session("visitor");
        engine.text_to_text().submit_with("gguf", asked, options).unwrap().wait().unwrap()
    };
    let mut messages = vec![Message::user("the mill on the river and the stones in the water ".repeat(4))];
    let first = ask(&messages);
    assert_eq!(first.cached_prompt_tokens, 0);
    messages.push(Message::assistant(first.choices[0].text.clone()));
    messages.push(Message::user("and then?"));
    let second = ask(&messages);
    let known = second.cached_prompt_tokens;
    // Whole blocks of sixteen tokens, up to where the template goes on otherwise.
    assert!(known >= first.prompt_tokens() / 16 * 16 - 16, "{known} of {}", first.prompt_tokens());
    assert!(known < second.prompt_tokens());
}

#[test]
fn weights_caches_and_steps_are_on_the_account() {
    let engine = engine();
    engine.add("folder", fixture("qwen3").to_str().unwrap()).unwrap();
    assert_eq!(engine.status().memory.reserved, ByteSize::ZERO);
    engine.generate("folder", raw("the mill on the river")).unwrap();
    let files = ModelFiles::Folder(ModelFolder::local(fixture("qwen3")).unwrap());
    let plan = DecoderPlan::of(&files, DecoderOptions::default()).unwrap();
    let footprint =
        plan.footprint(engine.threads_per_worker(&engine.key_config(Capabilities::TextToText))).unwrap();
    assert_eq!(engine.status().memory.reserved, footprint.with_workers(1));
}
