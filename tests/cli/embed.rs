//! `millpond embed`: the right vectors, in order, as they come.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use millpond::Engine;
use millpond::capability::EmbedRequest;

use crate::support::{
    Case, MODEL, Run, Started, cases, command, fixture, length, millpond, millpond_reading, same,
};

/// The command's vectors against the reference's: of texts given as lines where they can be lines, and as
/// arguments otherwise.
fn agrees(model: &str, prompt_name: Option<&str>, cases: Vec<Case>) {
    let (arguments, lines): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|case| case.text.contains('\n') || case.text.ends_with('\r'));
    assert!(!lines.is_empty());
    // On some processors the default is not what the reference computes in.
    let mut args = vec!["embed", "-m", model, "--dtype", "f32", "--json"];
    args.extend(prompt_name.into_iter().flat_map(|name| ["--prompt-name", name]));
    let input: String = lines.iter().flat_map(|case| [case.text.as_str(), "\n"]).collect();
    compare(&millpond_reading(args.iter().chain(&["-"]), input.as_bytes()), &lines);
    if !arguments.is_empty() {
        let texts = arguments.iter().map(|case| case.text.as_str());
        compare(&millpond(args.into_iter().chain(["--"]).chain(texts)), &arguments);
    }
}

fn compare(run: &Run, cases: &[Case]) {
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let lines = run.embeddings();
    assert_eq!(lines.len(), cases.len());
    for (index, (line, case)) in lines.iter().zip(cases).enumerate() {
        assert_eq!((line.index, line.tokens), (index, case.tokens), "{:?}", case.text);
        same(&line.embedding, &case.embedding, 1e-4);
    }
}

#[test]
fn vectors_agree_with_the_reference() {
    agrees(MODEL, None, cases("shapes-embed"));
}

#[test]
fn a_prompt_is_chosen_by_name() {
    let (named, _): (Vec<_>, Vec<_>) =
        cases("max-f16").into_iter().partition(|case| case.prompt_name.as_deref() == Some("query"));
    agrees(fixture("max-f16").to_str().unwrap(), Some("query"), named);
}

#[derive(serde::Deserialize)]
struct Texts {
    texts: Vec<String>,
    tokens: Vec<usize>,
}

/// Where `MILLPOND_MINILM_DIR` names a folder with all-MiniLM-L6-v2: the 50 texts of its fixture.
#[test]
fn all_minilm_l6_v2_agrees() {
    let Ok(model) = std::env::var("MILLPOND_MINILM_DIR") else {
        println!("skipped: MILLPOND_MINILM_DIR is not set");
        return;
    };
    let file = std::fs::read(fixture("minilm.json")).unwrap();
    let Texts { texts, tokens } = serde_json::from_slice(&file).unwrap();
    let vectors =
        candle_core::safetensors::load(fixture("minilm.safetensors"), &candle_core::Device::Cpu).unwrap();
    let vectors = vectors["embeddings"].to_vec2::<f32>().unwrap();
    assert_eq!(texts.len(), 50);
    let case = |((text, tokens), embedding)| Case { text, prompt_name: None, tokens, embedding };
    agrees(&model, None, texts.into_iter().zip(tokens).zip(vectors).map(case).collect());
}

#[test]
fn as_text_there_is_one_vector_per_line() {
    let texts = ["a red circle", "a blue square"];
    let text = millpond(["embed", "-m", "shapes-embed"].into_iter().chain(texts)).ok();
    let json = millpond(["embed", "-m", "shapes-embed", "--json"].into_iter().chain(texts)).ok();
    let read = |line: &str| line.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<f32>>();
    let lines: Vec<_> = text.stdout.lines().map(read).collect();
    assert_eq!(lines, json.embeddings().into_iter().map(|line| line.embedding).collect::<Vec<_>>());
}

#[test]
fn length_and_dimensions_are_as_asked() {
    let embed = |options: &[&str]| {
        let mean = fixture("mean");
        let args = ["embed", "-m", mean.to_str().unwrap(), "--json", "the mill on the river"];
        millpond(args.iter().chain(options)).ok().embeddings().remove(0).embedding
    };
    let (raw, scaled) = (embed(&["--normalize", "false"]), embed(&["--normalize", "true"]));
    assert!((length(&raw) - 1.0).abs() > 0.01 && (length(&scaled) - 1.0).abs() < 1e-5);
    assert_eq!(embed(&[]), scaled, "as the model's files say");
    assert_eq!(embed(&["--normalize", "false", "--dimensions", "8"]), raw[..8]);
    let short = embed(&["--dimensions", "8"]);
    assert!(short.len() == 8 && (length(&short) - 1.0).abs() < 1e-5);
}

#[test]
fn five_hundred_lines_come_back_in_their_order() {
    let text = |n: usize| match n % 5 {
        0 => String::new(),
        1 => "a red circle ".repeat(n % 17),
        _ => format!("circle {n} left of square {}", n * 7),
    };
    let texts: Vec<String> = (0..500).map(text).collect();
    let engine = Engine::new().unwrap();
    engine.add("here", MODEL).unwrap();
    let expected = engine.embed_all("here", texts.iter().map(EmbedRequest::new)).unwrap();
    for workers in ["1", "3"] {
        let args = ["embed", "-m", MODEL, "--json", "--workers", workers, "--threads", "1", "-"];
        let lines = millpond_reading(args, (texts.join("\n") + "\n").as_bytes()).ok().embeddings();
        assert_eq!(lines.len(), 500, "{workers} workers");
        for (index, (line, expected)) in lines.iter().zip(&expected).enumerate() {
            assert_eq!((line.index, line.tokens), (index, expected.tokens));
            same(&line.embedding, &expected.values, 1e-5);
        }
    }
}

#[test]
fn each_line_is_answered_before_the_next_is_there() {
    let mut child = command(["embed", "-m", MODEL, "--json", "-"]);
    let mut child = Started(child.stdin(Stdio::piped()).spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    let mut answers = BufReader::new(child.0.stdout.take().unwrap()).lines();
    for index in 0..3 {
        writeln!(stdin, "circle {index}").unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["index"], index);
    }
    drop(stdin);
    assert!(answers.next().is_none());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

#[test]
fn lines_may_end_as_they_like() {
    let args = || ["embed", "-m", MODEL, "--json", "-"];
    let expected = millpond_reading(args(), b"a red circle\na blue square\n").ok().stdout;
    assert_eq!(millpond_reading(args(), b"a red circle\r\na blue square").ok().stdout, expected);
    assert_eq!(millpond_reading(args(), b"").ok().stdout, "");
}

#[test]
fn what_is_cut_is_told() {
    let run = millpond_reading(["embed", "-m", MODEL, "--json", "-"], "red ".repeat(100_000).as_bytes());
    assert_eq!(run.code, Some(0));
    let cut = &run.embeddings()[0];
    assert_eq!((cut.tokens, cut.truncated), (64, true));
    assert!(run.stderr.starts_with("warning: 1 of 1 texts"), "{}", run.stderr);
}

#[test]
fn truncated_is_said_where_it_is_so() {
    let long = "red ".repeat(63);
    let run =
        |truncate: &[&str]| millpond([&["embed", "-m", MODEL, "--json", "red", &long], truncate].concat());
    for run in [run(&[]), run(&["--truncate", "true"])] {
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert!(lines[0].ends_with(",\"tokens\":3}"), "{}", lines[0]);
        assert!(lines[1].ends_with(",\"tokens\":64,\"truncated\":true}"), "{}", lines[1]);
    }
    let refused = run(&["--truncate", "false"]);
    assert_eq!((refused.code, refused.embeddings().len()), (Some(1), 1), "{refused:?}");
    let first = refused.stderr.lines().next().unwrap();
    assert!(first.starts_with("error: text 2: ") && first.contains("has 65 tokens"), "{first}");
    assert!(first.ends_with("the model reads at most 64"), "{first}");
}

#[test]
fn a_line_of_too_many_bytes_is_told_by_its_number() {
    let run = millpond_reading(
        ["embed", "-m", MODEL, "--json", "-"],
        &[b"red\n", &b"x".repeat(5 << 20)[..]].concat(),
    );
    assert_eq!((run.code, run.embeddings().len()), (Some(1), 1), "{}", run.stderr);
    assert!(run.stderr.starts_with("error: text 2: "), "{}", run.stderr);
    assert!(
        run.stderr.contains("has 5242880 bytes, and no text may have more than 4194304"),
        "{}",
        run.stderr
    );
}

#[test]
fn before_a_line_that_is_no_text_all_is_answered() {
    let run = millpond_reading(["embed", "-m", MODEL, "--json", "-"], b"one\ntwo\nth\xffree\nfour\n");
    assert_eq!(run.code, Some(1));
    assert_eq!(run.embeddings().iter().map(|line| line.index).collect::<Vec<_>>(), [0, 1]);
    let first = "error: line 3 of standard input is not valid UTF-8 from byte 3 on\nhint: ";
    assert!(run.stderr.starts_with(first), "{}", run.stderr);
}
