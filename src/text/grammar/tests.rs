#[cfg(target_os = "linux")]
mod hostile;

use serde_json::{Value, json};

use super::*;
use crate::text::tiny_tokenizers::{byte_fallback, byte_level, byte_level_library, word_piece};

fn compiler(tokenizer: &PromptTokenizer, end: &str) -> GrammarCompiler {
    let ends = [tokenizer.id_of(end).unwrap()];
    GrammarCompiler::new(tokenizer, &ends, tokenizer.vocabulary_size()).unwrap()
}

/// An answer of random tokens, each of those that may come next; the ending ones as soon as they may.
fn answer(
    tokenizer: &PromptTokenizer,
    compiler: &GrammarCompiler,
    format: &ResponseFormat,
    seed: u64,
) -> String {
    let mut constraint = compiler.compile(format).unwrap().unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut ids = Vec::new();
    while ids.len() < 2_000 {
        if constraint.may_end().unwrap() && random.bool() {
            break;
        }
        let mask = constraint.allowed().unwrap();
        let allowed: Vec<u32> = (0..tokenizer.vocabulary_size() as u32)
            .filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1)
            .collect();
        let id = *random.choice(&allowed).expect("something may come next");
        constraint.commit(id).unwrap();
        if tokenizer.is_control(id) {
            break;
        }
        ids.push(id);
    }
    tokenizer.decode(&ids).unwrap()
}

#[test]
fn answers_follow_their_schema() {
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["unit", "days"],
        "properties": {"unit": {"enum": ["c", "f"]}, "days": {"type": "integer", "minimum": 1, "maximum": 99},
                       "ok": {"$ref": "#/$defs/flag"}},
        "$defs": {"flag": {"type": "boolean"}}});
    for (tokenizer, end) in [(byte_level(), "<|im_end|>"), (byte_fallback(), "</s>")] {
        let compiler = compiler(&tokenizer, end);
        for seed in 0..20 {
            let text = answer(&tokenizer, &compiler, &ResponseFormat::JsonSchema(schema.clone()), seed);
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(["c", "f"].contains(&value["unit"].as_str().unwrap()), "{text}");
            assert!((1..=99).contains(&value["days"].as_u64().unwrap()), "{text}");
        }
    }
}

#[test]
fn answers_follow_their_expression_or_grammar() {
    let tokenizer = byte_level();
    let compiler = compiler(&tokenizer, "<|im_end|>");
    for seed in 0..20 {
        let text =
            answer(&tokenizer, &compiler, &ResponseFormat::Regex("(yes|no) [0-9]{2}".to_owned()), seed);
        let rest = text.strip_prefix("yes ").or(text.strip_prefix("no ")).unwrap_or_else(|| panic!("{text}"));
        assert!(rest.len() == 2 && rest.bytes().all(|b| b.is_ascii_digit()), "{text}");
        let grammar = "start: \"<\" inner \">\"\ninner: \"a\" | \"(\" inner \")\"".to_owned();
        let text = answer(&tokenizer, &compiler, &ResponseFormat::Lark(grammar), seed);
        assert_eq!(text.matches('(').count(), text.matches(')').count(), "{text}");
    }
    assert!(compiler.compile(&ResponseFormat::Text).unwrap().is_none());
}

#[test]
fn a_form_that_is_complete_allows_only_the_end() {
    let tokenizer = byte_level();
    let end = tokenizer.id_of("<|im_end|>").unwrap();
    let compiler = compiler(&tokenizer, "<|im_end|>");
    let mut constraint = compiler.compile(&ResponseFormat::Regex("a".to_owned())).unwrap().unwrap();
    let a = tokenizer.id_of("a").unwrap();
    assert!(!constraint.may_end().unwrap());
    let other = constraint.clone();
    constraint.commit(a).unwrap();
    assert!(constraint.may_end().unwrap());
    let mask = constraint.allowed().unwrap().to_vec();
    assert_eq!(mask.iter().map(|word| word.count_ones()).sum::<u32>(), 1);
    assert_eq!(mask[end as usize / 32] >> (end % 32) & 1, 1);
    constraint.commit(end).unwrap();
    assert!(constraint.is_complete());
    assert!(!other.is_complete(), "a copy goes its own way");
    let mut wrong = other;
    assert!(wrong.commit(end).is_err(), "what was not allowed is refused");
}

#[test]
fn what_is_no_grammar_is_refused() {
    let compiler = compiler(&byte_level(), "<|im_end|>");
    let formats = [
        ResponseFormat::Regex("(".to_owned()),
        ResponseFormat::Lark("start: missing".to_owned()),
        ResponseFormat::Lark("%%%".to_owned()),
        ResponseFormat::JsonSchema(json!({"type": "nonsense"})),
        ResponseFormat::JsonSchema(json!({"type": "string", "pattern": "("})),
        ResponseFormat::JsonSchema(json!({"$ref": "https://example.com/schema.json"})),
        ResponseFormat::JsonSchema(json!({"$ref": "#/$defs/none"})),
        ResponseFormat::JsonSchema(json!(3)),
    ];
    for format in formats {
        let error = compiler.compile(&format).expect_err(&format!("{format:?}"));
        assert_eq!(error.field, "response_format");
    }
}

/// The bounds are for strangers: nothing that schemas in use have comes near them.
#[test]
fn forms_in_use_are_within_bounds() {
    let compiler = compiler(&byte_level(), "<|im_end|>");
    let dates: serde_json::Map<String, Value> = (0..100)
        .map(|i| {
            let pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$";
            (format!("day{i}"), json!({"type": "string", "pattern": pattern, "description": "a (day)?"}))
        })
        .collect();
    let maybe: serde_json::Map<String, Value> = (0..100)
        .map(|i| {
            let item = json!({"$ref": "#/$defs/item", "description": "one"});
            (format!("item{i}"), json!({"anyOf": [item, {"type": "null"}], "default": null, "title": "x"}))
        })
        .collect();
    let prices = [json!(0.01), json!(0.25), json!(5), json!(100), json!(1000)]
        .map(|multiple| json!({"type": "number", "multipleOf": multiple}));
    let item = json!({"type": "object", "properties": {"price": {"anyOf": prices}}});
    let forms = [
        ResponseFormat::JsonSchema(json!({"type": "object", "properties": dates})),
        ResponseFormat::JsonSchema(json!({"type": "object", "properties": maybe, "$defs": {"item": item}})),
        ResponseFormat::Regex((0..1_000).map(|i| format!("word{i}")).collect::<Vec<_>>().join("|")),
        ResponseFormat::Lark(
            "start: \"a\" %json {\"type\": \"integer\", \"multipleOf\": 5} \"b\"".to_owned(),
        ),
    ];
    for form in forms {
        let made = compiler.compile(&form);
        assert!(made.is_ok(), "{:?}", made.unwrap_err());
    }
}

#[test]
fn vocabularies_that_cannot_be_held_to_a_form_say_so() {
    let error = |tokenizer, ends: &[u32]| GrammarCompiler::new(&tokenizer, ends, 1_000).unwrap_err();
    assert_eq!(error(word_piece(), &[0]), GrammarError::NoBytes);
    assert_eq!(error(byte_level(), &[]), GrammarError::NoEnd);
    assert_eq!(error(byte_level(), &[u32::MAX]), GrammarError::NoEnd);
}

/// A file may give a token any number: room is made for the network's, and others are left out.
#[test]
fn a_vocabulary_is_no_larger_than_the_networks() {
    const FAR: u32 = 4_000_000_000;
    let mut parts: Value = serde_json::from_str(&byte_level_library().to_string(false).unwrap()).unwrap();
    parts["model"]["vocab"]["<far>"] = json!(FAR);
    let mut token = parts["added_tokens"][0].clone();
    token["content"] = json!("<far>");
    token["id"] = json!(FAR);
    parts["added_tokens"].as_array_mut().unwrap().push(token);
    let library = tokenizers::Tokenizer::from_bytes(parts.to_string()).unwrap();
    let tokenizer = PromptTokenizer::new(library, &[]).unwrap();
    assert_eq!(tokenizer.id_of("<far>"), Some(FAR));
    assert!(tokenizer.vocabulary_size() > FAR as usize);
    let (end, network) = (tokenizer.id_of("<|im_end|>").unwrap(), byte_level().vocabulary_size());
    let compiler = GrammarCompiler::new(&tokenizer, &[FAR, end], network).unwrap();
    let mut constraint = compiler.compile(&ResponseFormat::Regex("a".to_owned())).unwrap().unwrap();
    assert_eq!(constraint.allowed().unwrap().len(), network.div_ceil(32));
    let far = GrammarCompiler::new(&tokenizer, &[FAR], network);
    assert_eq!(far.unwrap_err(), GrammarError::NoEnd, "what is never sampled ends nothing");
    let tiny = GrammarCompiler::new(&tokenizer, &[end], 3);
    assert_eq!(tiny.unwrap_err(), GrammarError::NoEnd);
}

#[test]
fn one_compiler_serves_many_threads() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<GrammarCompiler>();
    moved::<Constraint>();
}
