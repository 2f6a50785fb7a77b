//! The model that a worker owns, driven by hand: every request ends once, and the cache is whole afterwards.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use millpond::arch::{DecoderOptions, DecoderPlan, DecoderWeights, TextGenerator};
use millpond::capability::{
    Chat, FinishReason, GenerateRequest, JobContext, Message, Model, ModelError, Outbox, Prompt, Slot,
    TextCompletion, TextToText, ToolCall,
};
use millpond::weights::{ModelFiles, ModelFolder};

use crate::decoder_agreement::fixture;

fn weights(cache_tokens: usize) -> Arc<DecoderWeights> {
    let folder = ModelFolder::local(fixture("qwen3")).unwrap();
    let mut options = DecoderOptions::default();
    options.cache_tokens = Some(cache_tokens);
    let files = ModelFiles::Folder(folder);
    let plan = DecoderPlan::of(&files, options).unwrap();
    Arc::new(DecoderWeights::load(plan).unwrap())
}

/// A generator and its outbox.
struct Bench {
    model: TextGenerator,
    out: Outbox<TextToText>,
    ended: BTreeMap<Slot, Result<TextCompletion, ModelError>>,
}

impl Bench {
    fn new(weights: &Arc<DecoderWeights>) -> Self {
        let model = TextGenerator::new(weights.clone(), NonZeroUsize::MIN, || 1_700_000_000);
        Self { model, out: Outbox::new(), ended: BTreeMap::new() }
    }

    fn admit(&mut self, slot: u32, request: GenerateRequest) -> Result<(), ModelError> {
        self.model.admit(Slot(slot), request, &JobContext::detached(u64::from(slot)))
    }

    fn step(&mut self) {
        self.model.step(&mut self.out).unwrap();
        for (slot, ended) in self.out.take_ended() {
            assert!(self.ended.insert(slot, ended).is_none(), "{slot:?} ends once");
        }
    }

    fn finish(&mut self, slot: u32) -> TextCompletion {
        while !self.ended.contains_key(&Slot(slot)) {
            self.step();
        }
        self.ended.remove(&Slot(slot)).unwrap().unwrap()
    }

    fn answer(&mut self, request: GenerateRequest) -> TextCompletion {
        self.admit(0, request).unwrap();
        self.finish(0)
    }
}

fn raw(text: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest::new(Prompt::Raw(text.to_owned())).max_tokens(max_tokens)
}

#[test]
fn an_answer_is_its_tokens_as_text() {
    let weights = weights(256);
    let got = Bench::new(&weights).answer(raw("the mill on the river", 20));
    let choice = &got.choices[0];
    assert_eq!((choice.token_ids.len(), choice.finish_reason), (20, FinishReason::Length));
    assert!(!choice.text.is_empty() && got.prompt_tokens() > 10);
    assert_eq!(got.completion_tokens(), 20);
}

#[test]
fn a_conversation_goes_through_the_models_own_template() {
    let weights = weights(256);
    let mut bench = Bench::new(&weights);
    let said = bench.answer(GenerateRequest::new(Chat::new(vec![Message::user("hi")])).max_tokens(4));
    let rendered = bench.answer(raw("<s>user\nhi</s><s>assistant\n", 4));
    assert_eq!(said.prompt_token_ids, rendered.prompt_token_ids);
    assert_eq!(said.choices, rendered.choices);
    // What a user writes does not end a turn.
    let tricky = bench.answer(GenerateRequest::new(Chat::new(vec![Message::user("</s>")])).max_tokens(1));
    assert_eq!(tricky.prompt_token_ids.iter().filter(|id| **id == 2).count(), 1);
}

#[test]
fn stop_texts_and_stop_tokens_end_an_answer() {
    let weights = weights(256);
    let mut bench = Bench::new(&weights);
    let whole = bench.answer(raw("water", 24)).choices.remove(0);
    let third = whole.token_ids[2];
    let mut request = raw("water", 24);
    request.stop_token_ids = vec![third];
    let cut = bench.answer(request).choices.remove(0);
    let end = whole.token_ids.iter().position(|id| *id == third).unwrap();
    assert_eq!((&cut.token_ids[..], cut.finish_reason), (&whole.token_ids[..=end], FinishReason::Stop));
    assert!(whole.text.starts_with(&cut.text) && cut.text.len() < whole.text.len());
}

#[test]
fn choices_share_their_prompt_and_differ_by_chance() {
    let weights = weights(512);
    let mut bench = Bench::new(&weights);
    let mut request = raw(&"grain and flour ".repeat(5), 12);
    request.n = 3;
    request.sampling.temperature = 1.5;
    request.sampling.seed = Some(7);
    let got = bench.answer(request.clone());
    let ids = |i: usize| got.choices[i].token_ids.clone();
    assert_eq!(got.choices.len(), 3);
    assert!(ids(0) != ids(1) || ids(1) != ids(2));
    request.n = 1;
    assert_eq!(bench.answer(request.clone()).choices[0].token_ids, ids(0), "the same seed, the same answer");
    assert!(bench.answer(request).cached_prompt_tokens >= 64);
    let (free, all) = bench.model.free_blocks();
    assert_eq!(free, all);
}

#[test]
fn what_cannot_be_served_is_refused_before_any_work() {
    let weights = weights(64);
    let mut bench = Bench::new(&weights);
    let mut refused = |request| match bench.admit(0, request).unwrap_err() {
        ModelError::Invalid(invalid) => invalid.field,
        other => panic!("{other}"),
    };
    assert_eq!(refused(raw("x", 64)), "max_tokens");
    assert_eq!(refused(raw(&"x".repeat(60), 8)), "max_tokens");
    assert_eq!(refused(raw("", 8)), "prompt");
    let mut strange = raw("x", 8);
    strange.stop_token_ids = vec![256];
    assert_eq!(refused(strange), "stop_token_ids");
    assert_eq!(bench.model.free_blocks(), (4, 4));
}

#[test]
fn a_thousand_requests_end_once_with_the_right_tokens_and_no_block_is_lost() {
    let weights = weights(320);
    let mut random = fastrand::Rng::with_seed(11);
    let texts: Vec<String> =
        (0..12).map(|i| "the miller grinds the corn ".repeat(1 + i % 4) + &"abc".repeat(i)).collect();
    let expected: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| Bench::new(&weights).answer(raw(text, 24)).choices.remove(0).token_ids)
        .collect();
    let mut bench = Bench::new(&weights);
    let mut under_way: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    let (mut begun, mut done, mut canceled, mut refused) = (0, 0, 0, 0);
    while begun < 1000 || !under_way.is_empty() {
        while begun < 1000 && under_way.len() < 16 && random.u8(..) < 200 {
            begun += 1;
            let slot = (0..16).find(|slot| !under_way.contains_key(slot)).unwrap();
            let (which, tokens) = (random.usize(..texts.len()), random.usize(1..=24));
            // One of twenty is too long for the cache.
            let long = random.u8(..20) == 0;
            let text = if long { "z".repeat(400) } else { texts[which].clone() };
            match bench.admit(slot, raw(&text, tokens)) {
                Ok(()) => assert!(under_way.insert(slot, (which, tokens)).is_none()),
                Err(ModelError::Invalid(_)) if long => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        if random.u8(..10) == 0
            && let Some(slot) = under_way.keys().copied().nth(random.usize(..16))
        {
            bench.model.cancel(Slot(slot));
            under_way.remove(&slot);
            canceled += 1;
        }
        bench.step();
        for (slot, ended) in std::mem::take(&mut bench.ended) {
            let (which, tokens) = under_way.remove(&slot.0).expect("only what is under way ends");
            let choice = ended.unwrap().choices.remove(0);
            let whole = &expected[which];
            let expected = &whole[..tokens.min(whole.len())];
            assert_eq!(choice.token_ids, expected, "{tokens} tokens after {:?}", texts[which]);
            done += 1;
        }
    }
    assert_eq!(done + canceled + refused, 1000);
    assert!(done > 500 && canceled > 20 && refused > 20, "{done} {canceled} {refused}");
    assert_eq!(bench.model.free_blocks(), (20, 20));
}

#[test]
fn a_request_costs_all_text_of_its_chat() {
    let plan = weights(8192).plan().clone();
    let cost = |chat: &Chat| plan.cost(&GenerateRequest::new(chat.clone()).max_tokens(1));
    let short = Chat::new(vec![Message::user("and then?")]);
    let text = "x".repeat(4_000);
    let mut thought = short.clone();
    thought.messages[0].reasoning = Some(text.clone());
    let mut called = short.clone();
    let arguments = serde_json::json!({ "text": text });
    called.messages[0].tool_calls = vec![ToolCall { id: None, name: "say".to_owned(), arguments }];
    let mut told = short.clone();
    told.tools = vec![serde_json::json!({ "description": text })];
    for chat in [thought, called, told] {
        let more = cost(&chat) - cost(&short);
        assert!((1_000..1_050).contains(&more), "{more} tokens for 4,000 bytes");
    }
}
