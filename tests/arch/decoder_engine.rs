//! Engines serve text generation: which pool a model gets to, and what comes back.

use millpond::capability::{FinishReason, GenerateRequest, Prompt};
use millpond::memory::MemoryBudget;
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
