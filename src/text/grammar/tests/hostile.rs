//! Forms made to take time, memory or stack. Each kind is tried in a process of its own, which a form that
//! is let in by mistake would end.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Map;

use super::*;
use crate::text::lone_test::{peak_kb, run_alone, to_try};

/// How long compiling a form and 20 tokens of its answer may take together.
const SLOW: Duration = Duration::from_secs(5);

/// The most memory that a child may have taken, in KB: some 12 MB are its own.
const PEAK_KB: u64 = 256 << 10;

/// More addresses than a child needs, in KB.
const ADDRESSES_KB: u64 = 2 << 20;

/// Named forms.
type Forms = Vec<(&'static str, ResponseFormat)>;

fn kind(name: &str) -> Forms {
    match name {
        "regexes" => regexes(),
        "larks" => larks(),
        "nested larks" => nested_larks(),
        "references" => references(),
        "schemas" => schemas(),
        "combined schemas" => combined_schemas(),
        _ => panic!("there is no kind {name:?}"),
    }
}

fn regex(text: impl Into<String>) -> ResponseFormat {
    ResponseFormat::Regex(text.into())
}

fn lark(text: impl Into<String>) -> ResponseFormat {
    ResponseFormat::Lark(text.into())
}

/// As much of `part`, again and again, as fits into `bytes`.
fn filled(part: &str, bytes: usize) -> String {
    part.repeat(bytes / part.len())
}

fn regexes() -> Forms {
    vec![
        ("groups past any stack", regex("(".repeat(500_000) + "a" + &")".repeat(500_000))),
        ("200 groups", regex("(".repeat(200) + "a" + &")".repeat(200))),
        ("a million ?", regex("a".to_owned() + &"?".repeat(1_000_000))),
        ("32,000 optional letters", regex("a?".repeat(32_000))),
        ("optional letters", regex(filled("a?", 8 << 10))),
        ("500 optional characters", regex(".?".repeat(500) + &filled(r"\w", 7_000))),
        ("500 optional words", regex(r"\w*".repeat(500) + &filled(r"\w", 6_000))),
        ("250 empty alternatives", regex(r"(|\w)".repeat(250) + &filled(r"\w", 6_000))),
        ("counted letters", regex(filled(r"\w{1,9}", 8 << 10))),
        ("500 counted letters", regex(r"\w{1,9}".repeat(500))),
        ("counts of counts", regex("((((a{1,100}){1,100}){1,100}){1,100}){1,100}")),
        ("counts of words", regex(r"(\w{1,50}\s?){1,1000}")),
        ("counts of optional letters", regex(r"((\w?.?){30}a?){30}".repeat(60))),
        ("a million letters", regex("a{1,1000000}")),
        ("what was long ago", regex("(a|b)*a(a|b){1000}")),
        ("ambiguous repetitions", regex(format!("({})*b", "(a|aa)+".repeat(240)))),
        ("alternatives", regex(filled(r"\w|", 8 << 10) + "a")),
        ("letters", regex(filled(r"\w", 8 << 10))),
        ("a class of classes", regex(format!("[{}]", filled(r"\pL", 8_000)))),
    ]
}

fn larks() -> Forms {
    let letters = filled(r"\w", 26 << 10);
    vec![
        ("groups past any stack", lark(format!("start: {}\"a\"{}", "(".repeat(9_000), ")".repeat(9_000)))),
        ("optional texts in a rule", lark(format!("start: {}", "\"a\"? ".repeat(6_000)))),
        ("500 optional texts in a rule", lark(format!("start: {}", "\"a\"? ".repeat(500)))),
        ("optional texts in a terminal", lark(format!("start: A\nA: {}", "\"a\"? ".repeat(6_000)))),
        ("500 optional words", lark(format!("start: /{}{letters}/", r"\w*".repeat(500)))),
        ("480 empty alternatives", lark(format!("start: /{}{letters}/", r"(|\w)".repeat(480)))),
        ("alternatives in a rule", lark(format!("start: \"a\"{}", "|\"b\"".repeat(8_000)))),
        ("alternatives in a terminal", lark(format!("start: A\nA: \"a\"{}", "|\"b\"".repeat(8_000)))),
        ("expressions", lark(format!("start: /a/ {}", r"|/\w/ ".repeat(5_000)))),
        ("alternatives, too long", lark(format!("start: \"a\"{}", "|\"b\"".repeat(32_000)))),
        ("expressions that all hold", lark(format!("start: A\nA: /a/{}", r"&(/.?b/|/\w+/)".repeat(240)))),
        ("12 expressions that all hold", lark(format!("start: A\nA: /.*a/{}", "&/.*b.*/".repeat(12)))),
        ("complements of complements", lark(format!("start: A\nA: {}\"a\"", "~".repeat(20_000)))),
        ("counts of counts", lark("start: ((((\"a\"{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}")),
        ("counts in a terminal", lark("start: A\nA: ((((\"a\"{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}")),
        (
            "parts of a text",
            lark(format!("start: %regex {{\"substring_chars\": \"{}\"}}", filled("abc", 32_000))),
        ),
        ("ambiguous rules", lark("start: start start | \"a\" | ")),
        (
            "ambiguous rules that begin with themselves",
            lark("start: start \"a\" | start start start | \"a\"?"),
        ),
    ]
}

/// A chain of `n` rules called `name` and a number.
fn chain(name: &str, n: usize) -> ResponseFormat {
    let mut text = format!("start: {name}0\n{name}{n}: \"a\"\n");
    for i in 0..n {
        writeln!(text, "{name}{i}: {name}{} \"x\"", i + 1).unwrap();
    }
    lark(text)
}

fn nested_larks() -> Forms {
    let groups: String = (0..9)
        .map(|i| format!("r{i}: {}r{}{}\n", "(".repeat(50), i + 1, ")".repeat(50)))
        .chain(["start: r0\nr9: \"a\"\n".to_owned()])
        .collect();
    let json = |schema: &Value| lark(format!("start: %json {schema}"));
    let ResponseFormat::JsonSchema(references) = links(160, reference) else { unreachable!() };
    vec![
        ("2,000 rules", chain("r", 2_000)),
        ("490 rules", chain("r", 490)),
        ("2,000 terminals", chain("T", 2_000)),
        ("490 terminals", chain("T", 490)),
        ("groups in rules", lark(groups)),
        ("brackets", lark(format!("start: %json {}1{}", "[".repeat(9_000), "]".repeat(9_000)))),
        ("400 brackets", lark(format!("start: %json {}1{}", "[".repeat(400), "]".repeat(400)))),
        ("references in a schema", json(&references)),
        ("a prime divisor in a schema", json(&json!({"type": "integer", "multipleOf": 999_983}))),
        ("patterns that all hold", json(&json!({"allOf": patterns(40)}))),
    ]
}

/// A schema of `n` definitions, each made by `link` of where the next one is, and a text at the end.
fn links(n: usize, link: impl Fn(usize, &str) -> Value) -> ResponseFormat {
    let definitions: Map<String, Value> = (0..n)
        .map(|i| (format!("d{i}"), link(i, &format!("#/$defs/d{}", i + 1))))
        .chain([(format!("d{n}"), json!({"type": "string"}))])
        .collect();
    ResponseFormat::JsonSchema(json!({"$ref": "#/$defs/d0", "$defs": definitions}))
}

fn reference(_: usize, next: &str) -> Value {
    json!({"$ref": next})
}

fn array(_: usize, next: &str) -> Value {
    json!({"type": "array", "items": {"$ref": next}})
}

/// What lets in the next definition twice.
fn twice(keyword: &'static str) -> impl Fn(usize, &str) -> Value {
    move |_, next: &str| json!({ keyword: [{"$ref": next}, {"$ref": next}] })
}

fn references() -> Forms {
    let pattern =
        |i: usize, next: &str| json!({"$ref": next, "type": "string", "pattern": format!("a{i}.*b")});
    vec![
        ("2,000 references", links(2_000, reference)),
        ("195 references", links(195, reference)),
        ("2,000 arrays", links(2_000, array)),
        ("130 arrays", links(130, array)),
        ("allOf doubled", links(24, twice("allOf"))),
        ("anyOf doubled", links(24, twice("anyOf"))),
        ("oneOf doubled", links(24, twice("oneOf"))),
        ("100 patterns by reference", links(100, pattern)),
        ("11 patterns by reference", links(11, pattern)),
        ("a definition of itself", ResponseFormat::JsonSchema(json!({"$ref": "#"}))),
    ]
}

/// `n` schemas of texts.
fn patterns(n: usize) -> Vec<Value> {
    (0..n).map(|i| json!({"type": "string", "pattern": format!("a{i}.*b")})).collect()
}

/// An object with `n` properties, each made of its number.
fn object(n: usize, property: impl Fn(usize) -> Value) -> Value {
    let properties: Map<String, Value> = (0..n).map(|i| (format!("property{i}"), property(i))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn schemas() -> Forms {
    let nested =
        (0..100).fold(json!({"type": "string"}), |items, _| json!({"type": "array", "items": items}));
    let required: Vec<String> = (0..1_000).map(|i| format!("p{i}")).collect();
    let names = |n: usize, end: &str| -> Map<String, Value> {
        (0..n).map(|i| (format!("^{i}.*a{i}{end}$"), json!({"type": "string"}))).collect()
    };
    let words = |i: usize| json!({"type": "string", "pattern": format!("{}{i}", r"\w*".repeat(490))});
    let multiple = |i: usize| json!({"type": "integer", "multipleOf": 9_973, "minimum": i});
    let count = |n: usize| json!({"type": "array", "minItems": n, "items": {"type": "array", "minItems": n}});
    let forms = vec![
        ("nested arrays", nested),
        ("10,000 properties", object(10_000, |_| json!({}))),
        ("1,000 properties with patterns", object(1_000, |i| json!({"pattern": format!("^a{i}+b*$")}))),
        ("20 properties with long patterns", object(20, words)),
        ("a long pattern", json!({"type": "string", "pattern": "a?".repeat(32_000)})),
        ("counts in a pattern", json!({"type": "string", "pattern": "^(.*a.{500}b.*){50}$"})),
        ("1,000 required names", json!({"type": "object", "required": required})),
        ("5,000 patterns of names", json!({"type": "object", "patternProperties": names(5_000, "")})),
        ("64 patterns of names", json!({"type": "object", "patternProperties": names(64, ".*")})),
        ("many items", count(100_000)),
        ("a long text", json!({"type": "string", "minLength": 1_000_000, "maxLength": 2_000_000})),
        ("a long constant", json!({"const": "x".repeat(900_000)})),
        ("9,000 constants", json!({"enum": (0..9_000).map(|i| format!("x{i}")).collect::<Vec<_>>()})),
        ("900 items in order", json!({"type": "array", "prefixItems": vec![json!({"type": "string"}); 900]})),
        ("a prime divisor", json!({"type": "integer", "multipleOf": 999_983})),
        ("a divisor with a fraction", json!({"type": "number", "multipleOf": 9.99983})),
        ("the least divisor", json!({"type": "number", "multipleOf": f64::from_bits(1)})),
        ("no divisor", json!({"type": "integer", "multipleOf": 0})),
        ("200 numbers with a divisor", object(200, multiple)),
    ];
    forms.into_iter().map(|(name, schema)| (name, ResponseFormat::JsonSchema(schema))).collect()
}

fn combined_schemas() -> Forms {
    let around = |n: usize| {
        patterns(n).into_iter().fold(json!({"type": "string"}), |within, mut around| {
            around["anyOf"] = json!([within]);
            around
        })
    };
    let crossed = |n: usize, of: usize| {
        let alternatives =
            |i| (0..of).map(move |j| json!({"type": "string", "pattern": format!("a{i}_{j}.*b")}));
        json!({"allOf": (0..n).map(|i| json!({"anyOf": alternatives(i).collect::<Vec<_>>()})).collect::<Vec<_>>()})
    };
    let objects: Vec<Value> = (0..900).map(|i| object(1, |_| json!({"const": i}))).collect();
    let divided = |divisors: [u32; 2]| divisors.map(|n| json!({"type": "integer", "multipleOf": n}));
    let forms = vec![
        ("2,000 patterns that all hold", json!({"allOf": patterns(2_000)})),
        ("12 patterns that all hold", json!({"allOf": patterns(12)})),
        ("30 patterns around alternatives", around(30)),
        ("12 patterns around alternatives", around(12)),
        ("12 pairs of alternatives", crossed(12, 2)),
        ("12 times 10 alternatives", crossed(12, 10)),
        ("900 alternative patterns", json!({"anyOf": patterns(900)})),
        ("900 alternative objects", json!({"anyOf": objects})),
        ("4,000 alternatives", json!({"anyOf": (0..4_000).map(|i| json!({"const": i})).collect::<Vec<_>>()})),
        ("alternative divisors", json!({"anyOf": divided([7_919, 7_927])})),
        ("divisors that all hold", json!({"allOf": divided([9_240, 4_620])})),
    ];
    forms.into_iter().map(|(name, schema)| (name, ResponseFormat::JsonSchema(schema))).collect()
}

/// What became of the first 20 tokens of an answer to `format`.
fn outcome(compiler: &GrammarCompiler, format: &ResponseFormat) -> Result<(), String> {
    format.validate().map_err(|error| error.to_string())?;
    let constraint = compiler.compile(format).map_err(|error| error.to_string())?;
    let mut constraint = constraint.expect("these are no plain text");
    for _ in 0..20 {
        let mask = constraint.allowed().map_err(|error| error.to_string())?;
        let allowed = (0..32 * mask.len() as u32).find(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1);
        constraint.commit(allowed.ok_or("nothing may come next")?).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[test]
fn one_kind_in_a_child() {
    let Some(name) = to_try() else { return };
    let compiler = compiler(&byte_level(), "<|im_end|>");
    for (name, form) in kind(&name) {
        println!("form: {name}");
        let start = Instant::now();
        let outcome = outcome(&compiler, &form).map_err(|error| error.chars().take(80).collect::<String>());
        let took = start.elapsed();
        let peak = peak_kb();
        println!("took {took:?}, {peak} KB by now: {outcome:?}");
        assert!(took < SLOW, "{name}: {took:?}");
        assert!(peak <= PEAK_KB, "{name}: {peak} KB");
    }
    println!("all answered");
}

/// Runs the test above for the forms of `kind`.
fn answered_soon(kind: &str) {
    let output = run_alone("text::grammar::tests::hostile::one_kind_in_a_child", kind, ADDRESSES_KB);
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{:?}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("all answered"), "the child ran no forms");
}

#[test]
fn hostile_regexes_are_answered_soon() {
    answered_soon("regexes");
}

#[test]
fn hostile_grammars_are_answered_soon() {
    answered_soon("larks");
    answered_soon("nested larks");
}

#[test]
fn hostile_schemas_are_answered_soon() {
    answered_soon("references");
    answered_soon("schemas");
    answered_soon("combined schemas");
}
