//! `millpond generate`, `run` and `bench generate`: with a decoder of random weights, whose answers mean
//! nothing and are the same every time.

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{MODEL as ENCODER, Run, Started, command, interrupt, millpond, millpond_reading};

/// It reads 256 tokens and has a chat template.
const MODEL: &str = "tests/fixtures/decoder/qwen3";

/// The same in one file.
const GGUF: &str = "tests/fixtures/decoder/qwen3-chat.gguf";

fn generate(options: &[&str]) -> Run {
    millpond(["generate", "-m", MODEL].iter().chain(options))
}

#[track_caller]
fn answer(options: &[&str]) -> Value {
    let mut lines = generate(&[options, &["--json"]].concat()).ok().json();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

fn tokens(answer: &Value) -> usize {
    answer["token_ids"].as_array().unwrap().len()
}

#[test]
fn the_likeliest_answer_is_the_same_every_time_and_in_every_form() {
    let asked = ["--max-tokens", "24", "the mill"];
    let first = answer(&asked);
    assert_eq!(first, answer(&asked));
    assert_eq!(generate(&asked).ok().stdout, format!("{}\n", first["text"].as_str().unwrap()));
    let fields: Vec<&String> = first.as_object().unwrap().keys().collect();
    let documented =
        ["text", "token_ids", "prompt_token_ids", "prompt_tokens", "completion_tokens", "finish_reason"];
    assert_eq!(fields, documented);
    assert_eq!(first["completion_tokens"], tokens(&first));
    assert_eq!(first["prompt_tokens"], first["prompt_token_ids"].as_array().unwrap().len());
    assert!(!first["text"].as_str().unwrap().is_empty(), "there is something to compare");
}

#[test]
fn the_template_is_used_unless_the_prompt_is_raw() {
    let raw = answer(&["--raw", "--max-tokens", "2", "hi"]);
    let chat = answer(&["--max-tokens", "2", "hi"]);
    let system = answer(&["--max-tokens", "2", "--system", "be brief", "hi"]);
    let length = |answer: &Value| answer["prompt_tokens"].as_u64().unwrap();
    assert!(length(&raw) < length(&chat) && length(&chat) < length(&system), "{raw} {chat} {system}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.json");
    let said = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]);
    std::fs::write(&file, said.to_string()).unwrap();
    let from_file = answer(&["--max-tokens", "2", "--messages", file.to_str().unwrap()]);
    assert_eq!(from_file, system);
}

/// A copy of the model to change, without its template.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(format!("{MODEL}/{name}"), copy.path().join(name)).unwrap();
    }
    copy
}

#[test]
fn a_model_without_a_template_takes_the_prompt_as_it_is() {
    let copy = copy();
    let model = copy.path().to_str().unwrap();
    let ask = |option: &[&str]| {
        let asked = ["generate", "-m", model, "--max-tokens", "2", "--json", "hi"];
        millpond(asked.iter().chain(option))
    };
    assert_eq!(ask(&[]).ok().stdout, ask(&["--raw"]).ok().stdout);
    ask(&["--system", "be brief"]).failed("no chat template");
}

#[test]
fn a_gguf_file_answers_as_its_folder_does() {
    let asked = ["--max-tokens", "12", "--json", "the mill"];
    let file = millpond(["generate", "-m", GGUF].iter().chain(&asked)).ok().json();
    assert_eq!(file, generate(&asked).ok().json());
}

#[test]
fn prompts_come_from_standard_input_too() {
    let asked = ["generate", "-m", MODEL, "--max-tokens", "8", "--json", "-"];
    let piped = millpond_reading(asked, b"the mill").ok().json();
    assert_eq!(piped, [answer(&["--max-tokens", "8", "the mill"])]);
    millpond_reading(asked, b"one\nt\xffo").failed("line 2 of standard input is not valid UTF-8 from byte 2");
}

#[test]
fn answers_end_where_they_are_told_to() {
    let long = answer(&["--raw", "--max-tokens", "24", "the mill"]);
    assert_eq!((&long["finish_reason"], tokens(&long)), (&json!("length"), 24));
    let text = long["text"].as_str().unwrap();
    // A stop text from the middle: three characters, so that it spans tokens.
    let characters: Vec<char> = text.chars().collect();
    let stop: String = characters[characters.len() / 2..][..3].iter().collect();
    let (before, _) = text.split_once(&stop).unwrap();
    let short = ["--raw", "--max-tokens", "24", "--stop", stop.as_str(), "the mill"];
    let stopped = answer(&short);
    assert_eq!((&stopped["finish_reason"], &stopped["text"]), (&json!("stop"), &json!(before)));
    assert!(tokens(&stopped) < 24);
    assert_eq!(generate(&short).ok().stdout, format!("{before}\n"), "and nothing of it was printed");
}

#[test]
fn draws_are_repeated_by_their_seed() {
    let drawn = |seed: &str| answer(&["--temperature", "1.5", "--top-k", "50", "--seed", seed, "the mill"]);
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1")["text"], drawn("2")["text"]);
    let penalized = answer(&["--repeat-penalty", "5", "--presence-penalty", "-2", "the mill"]);
    assert_ne!(penalized["text"], answer(&["the mill"])["text"]);
}

#[test]
fn several_answers_are_told_apart() {
    let asked = ["--n", "3", "--temperature", "1", "--seed", "7", "--max-tokens", "6", "the mill"];
    let lines = generate(&[&asked[..], &["--json"]].concat()).ok().json();
    let indices: Vec<&Value> = lines.iter().map(|line| &line["index"]).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert!(lines[0]["text"] != lines[1]["text"] && lines[1]["text"] != lines[2]["text"]);
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(generate(&asked).ok().stdout, texts.join("\n") + "\n");
}

#[test]
fn probabilities_are_told_where_they_are_asked_for() {
    let told = answer(&["--logprobs", "2", "--max-tokens", "3", "the mill"]);
    let logprobs = told["logprobs"].as_array().unwrap();
    assert_eq!(logprobs.len(), tokens(&told));
    for (token, id) in logprobs.iter().zip(told["token_ids"].as_array().unwrap()) {
        assert_eq!((&token["id"], token["top"].as_array().unwrap().len()), (id, 2));
        assert_eq!(token["top"][0]["id"], *id, "the likeliest is taken");
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
    }
}

#[test]
fn wrong_usage_of_generation_exits_with_2() {
    let table: [&[&str]; 13] = [
        &[],
        &["--temperature", "-1", "hi"],
        &["--top-p", "1.5", "hi"],
        &["--top-k", "0", "hi"],
        &["--n", "0", "hi"],
        &["--max-tokens", "0", "hi"],
        &["--stop", "", "hi"],
        &["--logprobs", "2", "hi"],
        &["--raw", "--system", "be brief", "hi"],
        &["--messages", "chat.json", "hi"],
        &["--template-arg", "enable_thinking", "hi"],
        &["--template-arg", "messages=[]", "hi"],
        &["one", "two"],
    ];
    for options in table {
        let run = generate(options);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{options:?}: {run:?}");
        assert!(!run.stderr.is_empty(), "{options:?}");
    }
    let run = generate(&["--template-arg", "enable_thinking=no", "hi"]);
    assert_eq!((run.code, run.stderr.contains("\"no\" is no JSON")), (Some(2), true), "{run:?}");
}

#[test]
fn what_cannot_be_served_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    generate(&["--messages", "./nowhere.json"]).failed("./nowhere.json cannot be read");
    generate(&["--messages", &file("a", "{")]).failed("does not hold the JSON");
    generate(&["--messages", &file("b", "[{\"role\": \"owl\"}]")]).failed("does not hold the JSON");
    generate(&["--json-schema", &file("c", "{\"type\": 7}"), "hi"]).failed("response_format");
    generate(&["--max-tokens", "5000", "hi"]).failed("256");
    generate(&[&"word ".repeat(300)]).failed("256");
    millpond(["generate", "-m", ENCODER, "hi"]).failed("text-embedding");
    millpond(["embed", "-m", MODEL, "hi"]).failed("text-to-text");
}

/// Its answer would be a list of thousands of numbers.
#[test]
fn ctrl_c_ends_generating_with_130_after_what_was_printed() {
    let copy = copy();
    let path = |name: &str| copy.path().join(name).to_str().unwrap().to_owned();
    let mut config: Value = serde_json::from_slice(&std::fs::read(path("config.json")).unwrap()).unwrap();
    config["max_position_embeddings"] = 8192.into();
    std::fs::write(path("config.json"), config.to_string()).unwrap();
    let schema = json!({"type": "array", "items": {"type": "integer"}, "minItems": 8000});
    std::fs::write(path("schema.json"), schema.to_string()).unwrap();
    let model = copy.path().to_str().unwrap();
    let args = ["generate", "-m", model, "--raw", "--max-tokens", "8100", "hi", "--json-schema"];
    let mut child = Started(command(args.into_iter().chain([path("schema.json").as_str()])).spawn().unwrap());
    let mut stdout = child.0.stdout.take().unwrap();
    let mut first = [0; 8];
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(first[0], b'[');
    interrupt(&child);
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    let mut stderr = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "error: interrupted\n");
}

#[test]
fn a_conversation_remembers_what_was_said() {
    let talk = |input: &[u8]| {
        let args = ["run", "-m", MODEL, "--max-tokens", "4"];
        millpond_reading(args, input).ok().stdout
    };
    let alone = talk(b"hi\n");
    assert_eq!(alone, generate(&["--max-tokens", "4", "hi"]).ok().stdout);
    let twice = talk(b"hi\nhi\n");
    assert!(twice.starts_with(&alone) && twice != alone.repeat(2), "{twice:?}");
    assert_eq!(talk(b"hi\n/clear\n\nhi\n/bye\nhi\n"), alone.repeat(2));
}

#[test]
fn ctrl_c_at_the_prompt_ends_a_conversation() {
    let mut child = command(["run", "-m", MODEL, "--max-tokens", "4"]);
    let mut child = Started(child.stdin(Stdio::piped()).spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    stdin.write_all(b"hi\n").unwrap();
    let mut answer = generate(&["--max-tokens", "4", "hi"]).ok().stdout.into_bytes();
    let expected = answer.clone();
    child.0.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
    assert_eq!(answer, expected);
    interrupt(&child);
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
}

#[test]
fn bench_measures_generation() {
    let args = ["--concurrency", "2", "--requests", "8", "--tokens", "12", "--prompt-tokens", "40"];
    let bench = |options: &[&str]| {
        millpond(["bench", "generate", "-m", MODEL].iter().chain(&args).chain(options)).ok()
    };
    let figures = bench(&["--json"]).json().remove(0);
    let number = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {figures}"));
    assert!((number("tokens_per_second") / number("requests_per_second") - 12.0).abs() < 1e-6);
    for (low, high) in [
        ("p50_ms", "p99_ms"),
        ("first_token_p50_ms", "first_token_p99_ms"),
        ("between_tokens_p50_ms", "between_tokens_p99_ms"),
        ("first_token_p50_ms", "p50_ms"),
    ] {
        assert!(number(low) > 0.0 && number(low) <= number(high), "{low}: {figures}");
    }
    assert!(number("peak_rss_bytes") > 1e6);
    let table = bench(&[]).stdout;
    assert!(table.contains("8 requests of 12 tokens") && table.contains("between tokens"), "{table}");
}

#[test]
fn inspect_says_what_a_decoder_is_and_takes() {
    let folder = millpond(["inspect", "-m", MODEL, "--json"]).ok().json().remove(0);
    let gguf = millpond(["inspect", "-m", GGUF, "--json"]).ok().json().remove(0);
    for (report, family, dtype) in [(&folder, "qwen3", "bf16"), (&gguf, "qwen3", "bf16")] {
        assert_eq!(report["capability"], "text-to-text");
        assert_eq!((&report["architecture"], &report["dtype"]), (&json!(family), &json!(dtype)));
        assert_eq!((&report["context_length"], &report["fits"]), (&json!(256), &json!(true)));
        assert!(report["footprint"]["weights"].as_u64().unwrap() > 10_000, "{report}");
    }
    // Two layers, two heads of sixteen numbers, keys and values, four bytes each.
    assert_eq!(folder["kv_bytes_per_token"], 2 * 2 * 16 * 2 * 4);
    assert_eq!((&folder["kv_format"], &gguf["kv_format"]), (&json!("f32"), &json!("f32")));
    let halved = millpond(["inspect", "-m", MODEL, "--kv-cache", "f16", "--json"]).ok().json().remove(0);
    assert_eq!(
        (&halved["kv_format"], &halved["kv_bytes_per_token"]),
        (&json!("f16"), &json!(2 * 2 * 16 * 2 * 2))
    );
    assert_eq!(folder["chat_template"], true);
    let text = millpond(["inspect", "-m", MODEL]).ok().stdout;
    for word in ["qwen3", "context       256 tokens", "for each token", "fits          yes"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
