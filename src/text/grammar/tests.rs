use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::text::tiny_tokenizers::{byte_fallback, byte_level, word_piece};

fn compiler(tokenizer: &PromptTokenizer, end: &str) -> GrammarCompiler {
    GrammarCompiler::new(tokenizer, &[tokenizer.id_of(end).unwrap()]).unwrap()
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

#[test]
fn bombs_give_errors_in_time() {
    let compiler = compiler(&byte_level(), "<|im_end|>");
    let doubled = |n: usize, kind: &str| {
        let definitions: serde_json::Map<String, Value> = (0..n)
            .map(|i| {
                let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
                (format!("d{i}"), json!({ kind: [next, next] }))
            })
            .chain([(format!("d{n}"), json!({"type": "string"}))])
            .collect();
        ResponseFormat::JsonSchema(json!({"$ref": "#/$defs/d0", "$defs": definitions}))
    };
    let bombs = [
        ResponseFormat::Regex("((((a{1,100}){1,100}){1,100}){1,100}){1,100}".to_owned()),
        ResponseFormat::Regex(format!("({})*b", "(a|aa)+".repeat(500))),
        ResponseFormat::JsonSchema(json!({"type": "string", "pattern": "^(.*a.{500}b.*){50}$"})),
        ResponseFormat::JsonSchema(
            json!({"type": "array", "minItems": 1_000_000_000, "items": {"type": "integer"}}),
        ),
        ResponseFormat::JsonSchema(json!({"type": "string", "minLength": 1_000_000, "maxLength": 2_000_000})),
        doubled(24, "allOf"),
        doubled(24, "anyOf"),
        doubled(24, "oneOf"),
        ResponseFormat::Lark(format!("start: {}", "\"a\"? ".repeat(100_000))),
    ];
    for (place, bomb) in bombs.iter().enumerate() {
        let start = Instant::now();
        let outcome = compiler.compile(bomb).map(|constraint| {
            let mut constraint = constraint.unwrap();
            let _ = constraint.allowed();
        });
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{place}: {took:?}, {outcome:?}");
    }
}

#[test]
fn vocabularies_that_cannot_be_held_to_a_form_say_so() {
    assert_eq!(GrammarCompiler::new(&word_piece(), &[0]).unwrap_err(), GrammarError::NoBytes);
    assert_eq!(GrammarCompiler::new(&byte_level(), &[]).unwrap_err(), GrammarError::NoEnd);
    assert_eq!(GrammarCompiler::new(&byte_level(), &[u32::MAX]).unwrap_err(), GrammarError::NoEnd);
}

#[test]
fn one_compiler_serves_many_threads() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<GrammarCompiler>();
    moved::<Constraint>();
}

#[test]
fn one_form_in_a_child() {
    let Ok(which) = std::env::var("MILLPOND_HOSTILE_FORM") else { return };
    let which: usize = which.parse().unwrap();
    let compiler = compiler(&byte_level(), "<|im_end|>");
    let lark = |text: String| ResponseFormat::Lark(text);
    let regex = |text: String| ResponseFormat::Regex(text);
    let chain = |n: usize| (0..n).map(|i| format!("r{i}: r{} \"x\"\n", i + 1)).collect::<String>();
    let terms = |n: usize| (0..n).map(|i| format!("T{i}: T{} \"x\"\n", i + 1)).collect::<String>();
    let schema_text = |n: usize| {
        let properties: serde_json::Map<String, Value> = (0..n)
            .map(|i| (format!("property{i}"), json!({"type": "string", "pattern": format!("^a{i}+b*$")})))
            .collect();
        ResponseFormat::JsonSchema(
            json!({"type": "object", "properties": properties, "additionalProperties": false}),
        )
    };
    let refs = |n: usize| {
        let definitions: serde_json::Map<String, Value> = (0..n)
            .map(|i| (format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)})))
            .chain([(format!("d{n}"), json!({"type": "string"}))])
            .collect();
        ResponseFormat::JsonSchema(json!({"$ref": "#/$defs/d0", "$defs": definitions}))
    };
    let arrays = |n: usize| {
        let definitions: serde_json::Map<String, Value> = (0..n)
            .map(|i| {
                (format!("d{i}"), json!({"type": "array", "items": {"$ref": format!("#/$defs/d{}", i + 1)}}))
            })
            .chain([(format!("d{n}"), json!({"type": "string"}))])
            .collect();
        ResponseFormat::JsonSchema(json!({"$ref": "#/$defs/d0", "$defs": definitions}))
    };
    let mut nested = json!({"type": "string"});
    for _ in 0..100 {
        nested = json!({"type": "array", "items": nested});
    }
    let probes = [
        ("regex (", regex("(".repeat(500_000) + "a" + &")".repeat(500_000))),
        ("regex ((((200", regex("(".repeat(200) + "a" + &")".repeat(200))),
        ("regex a???", regex("a".to_owned() + &"?".repeat(1_000_000))),
        ("regex a|", regex("a|".repeat(500_000) + "a")),
        ("regex class", regex(format!("[{}]", "a-z".repeat(300_000)))),
        ("regex rep", regex("a{1,1000000}".to_owned())),
        ("regex rep2", regex("(a|b)*a(a|b){1000}".to_owned())),
        ("regex uni", regex("(\\w{1,50}\\s?){1,1000}".to_owned())),
        ("regex long", regex("abc".repeat(300_000))),
        ("lark (", lark(format!("start: {}\"a\"{}", "(".repeat(400_000), ")".repeat(400_000)))),
        ("lark (5000", lark(format!("start: {}\"a\"{}", "(".repeat(5_000), ")".repeat(5_000)))),
        ("lark rules", lark(format!("start: r0\n{}r10000: \"a\"\n", chain(10_000)))),
        ("lark rules 45000", lark(format!("start: r0\n{}r45000: \"a\"\n", chain(45_000)))),
        ("lark terms", lark(format!("start: T0\n{}T10000: \"a\"\n", terms(10_000)))),
        ("lark terms 45000", lark(format!("start: T0\n{}T45000: \"a\"\n", terms(45_000)))),
        ("lark ?", lark(format!("start: \"a\"{}", "?".repeat(500_000)))),
        ("lark ~", lark(format!("start: A\nA: {}\"a\"", "~".repeat(500_000)))),
        ("lark |", lark(format!("start: \"a\"{}", "|\"b\"".repeat(200_000)))),
        ("lark &", lark(format!("start: A\nA: \"a\"{}", "&\"b\"".repeat(200_000)))),
        ("lark rep", lark("start: \"a\"{1,1000000}".to_owned())),
        ("lark rep2", lark("start: ((((\"a\"{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}".to_owned())),
        (
            "lark T rep2",
            lark("start: A\nA: ((((\"a\"{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}".to_owned()),
        ),
        ("lark json", lark(format!("start: %json {}1{}", "[".repeat(400_000), "]".repeat(400_000)))),
        (
            "lark json items",
            lark(format!("start: %json {}{{}}{}", "{\"items\":".repeat(100_000), "}".repeat(100_000))),
        ),
        (
            "lark substring",
            lark(format!("start: %regex {{\"substring_chars\": \"{}\"}}", "ab".repeat(450_000))),
        ),
        (
            "lark substring r",
            lark(format!(
                "start: %regex {{\"substring_words\": \"{}\"}}",
                (0..150_000).map(|i| format!("{i} ")).collect::<String>()
            )),
        ),
        ("lark ambig", lark("start: start start | \"a\" | ".to_owned())),
        ("lark left", lark("start: start \"a\" | start start start | \"a\"?".to_owned())),
        ("schema", schema_text(10_000)),
        ("schema s", schema_text(1_000)),
        ("refs", refs(25_000)),
        ("refs 2000", refs(2_000)),
        ("arrays", arrays(15_000)),
        ("arrays 2000", arrays(2_000)),
        ("nested", ResponseFormat::JsonSchema(nested)),
        ("minlen", ResponseFormat::JsonSchema(json!({"type":"string","minLength":100000000}))),
        (
            "multiple",
            ResponseFormat::JsonSchema(json!({"type":"integer","multipleOf":999999937, "minimum": 1})),
        ),
        (
            "minitems",
            ResponseFormat::JsonSchema(
                json!({"type":"array","minItems":100000,"items":{"type":"array","minItems":100000, "items": {"type":"array","minItems":100000}}}),
            ),
        ),
        (
            "required",
            ResponseFormat::JsonSchema(
                json!({"type":"object","required": (0..50_000).map(|i| format!("p{i}")).collect::<Vec<_>>()}),
            ),
        ),
        ("enum", ResponseFormat::JsonSchema(json!({"enum": (0..100_000).collect::<Vec<_>>()}))),
        ("const", ResponseFormat::JsonSchema(json!({"const": "x".repeat(900_000)}))),
        (
            "patternprops",
            ResponseFormat::JsonSchema(
                json!({"type":"object","patternProperties": (0..5_000).map(|i| (format!("^{i}.*a{i}$"), json!({}))).collect::<serde_json::Map<_, _>>()}),
            ),
        ),
        ("refs 195", refs(195)),
        ("refs 390", refs(390)),
        ("arrays 130", arrays(130)),
        ("rules 240", lark(format!("start: r0\n{}r490: \"a\"\n", chain(490)))),
        ("terms 240", lark(format!("start: T0\n{}T490: \"a\"\n", terms(490)))),
        (
            "groups",
            lark(
                (0..9)
                    .map(|i| format!("r{i}: {}r{}{}\n", "(".repeat(50), i + 1, ")".repeat(50)))
                    .collect::<String>()
                    + "start: r0\nr9: \"a\"\n",
            ),
        ),
        (
            "lark refs",
            lark(format!(
                "start: %json {{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{}\"d160\":{{}}}}}}",
                (0..160)
                    .map(|i| format!("\"d{i}\":{{\"$ref\":\"#/$defs/d{}\"}},", i + 1))
                    .collect::<String>()
            )),
        ),
        ("properties 1000", schema_text(1_000)),
        (
            "required 1000",
            ResponseFormat::JsonSchema(
                json!({"type":"object","required": (0..1_000).map(|i| format!("p{i}")).collect::<Vec<_>>()}),
            ),
        ),
        (
            "pp 64",
            ResponseFormat::JsonSchema(
                json!({"type":"object","patternProperties": (0..64).map(|i| (format!("^{i}.*a{i}$"), json!({}))).collect::<serde_json::Map<_, _>>()}),
            ),
        ),
        (
            "pp 64 open",
            ResponseFormat::JsonSchema(
                json!({"type":"object","patternProperties": (0..64).map(|i| (format!("^.*{i}.*a{i}.*$"), json!({"type":"string"}))).collect::<serde_json::Map<_, _>>()}),
            ),
        ),
        (
            "allof 16",
            ResponseFormat::JsonSchema(
                json!({"allOf": (0..16).map(|i| json!({"type":"string","pattern": format!("a{i}.*b")})).collect::<Vec<_>>()}),
            ),
        ),
        (
            "anyof 4000",
            ResponseFormat::JsonSchema(
                json!({"anyOf": (0..4_000).map(|i| json!({"const": i})).collect::<Vec<_>>()}),
            ),
        ),
        (
            "oneof objects",
            ResponseFormat::JsonSchema(
                json!({"anyOf": (0..900).map(|i| json!({"type": "object", "properties": {"k": {"const": i}}})).collect::<Vec<_>>()}),
            ),
        ),
        (
            "enum 9000",
            ResponseFormat::JsonSchema(
                json!({"enum": (0..9_000).map(|i| format!("x{i}")).collect::<Vec<_>>()}),
            ),
        ),
        (
            "prefix 900",
            ResponseFormat::JsonSchema(
                json!({"type":"array","prefixItems": (0..900).map(|_| json!({"type":"string"})).collect::<Vec<_>>()}),
            ),
        ),
        ("regex 64k (|", regex("a|".repeat(32_000) + "a")),
        ("regex 64k", regex("abcd".repeat(16_000))),
        ("regex 64k ?", regex("a?".repeat(32_000))),
        ("regex 64k uni", regex("\\w{1,9}".repeat(8_000))),
        ("lark 128k |", lark(format!("start: \"a\"{}", "|\"b\"".repeat(32_000)))),
        ("lark 128k terms", lark(format!("start: A\nA: \"a\"{}", "|\"b\"".repeat(32_000)))),
        (
            "lark sub 128k",
            lark(format!("start: %regex {{\"substring_chars\": \"{}\"}}", "abc".repeat(43_000))),
        ),
        (
            "allof pattern",
            ResponseFormat::JsonSchema(
                json!({"allOf": (0..2_000).map(|i| json!({"type":"string","pattern": format!("a{i}.*b")})).collect::<Vec<_>>()}),
            ),
        ),
    ];
    let Some((name, format)) = probes.get(which) else { std::process::exit(77) };
    let valid = format.validate();
    let start = Instant::now();
    let outcome = compiler.compile(format);
    let took = start.elapsed();
    let start = Instant::now();
    let next = outcome.map(|constraint| {
        let mut constraint = constraint.unwrap();
        for _ in 0..20 {
            let Ok(mask) = constraint.allowed() else { return "mask failed".to_owned() };
            let Some(id) = (0..300_u32).find(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1) else {
                return "none".to_owned();
            };
            if constraint.commit(id).is_err() {
                return "commit failed".to_owned();
            }
        }
        "fine".to_owned()
    });
    let stepped = start.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB").trim().to_owned();
    let said = match next {
        Ok(said) => said,
        Err(error) => error.reason.chars().take(70).collect(),
    };
    println!(
        "\nform {name}: {} {took:?} +{stepped:?} {peak} {said:?}",
        if valid.is_ok() { "let in" } else { "refused" }
    );
    assert!(took < Duration::from_secs(5) && stepped < Duration::from_secs(5), "{name}");
}

/// Each form in a process of its own, since what this is about would end the process.
#[cfg(target_os = "linux")]
#[test]
fn hostile_forms_are_answered_soon_and_overflow_no_stack() {
    for which in 0.. {
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 4194304 && ulimit -t 30 && exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "text::grammar::tests::one_form_in_a_child", "--nocapture", "--test-threads=1"])
            .env("MILLPOND_HOSTILE_FORM", which.to_string())
            .output()
            .unwrap();
        if output.status.code() == Some(77) {
            assert!(which > 50, "there are forms");
            break;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{}", text.lines().find(|line| line.starts_with("form ")).unwrap_or_default());
        assert!(output.status.success(), "{which}: {output:?}");
    }
}
