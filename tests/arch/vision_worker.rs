//! The model that a worker owns, and the pool that serves it: pictures are read once, and only pictures are.

use std::num::NonZeroUsize;

use millpond::capability::{
    Chat, ContentPart, DescribeRequest, GenerateRequest, ImagePlace, ImagePlaces, ImageSource, Message,
    Model, ModelError, Prompt, Slot,
};
use millpond::pool::PoolError;
use millpond::weights::ModelFiles;
use millpond::{Capabilities, Dtype, Engine, Error, ModelOptions};
use serde_json::{Value, json};

use crate::pictures::{picture, pictures};
use crate::support::{copied, folder, patch};
use crate::vision_agreement::{Bench, FAMILIES, cases, fixture, load};

fn image(name: &str) -> ImageSource {
    ImageSource::path(picture(name))
}

fn asked(images: &[&str], question: &str) -> DescribeRequest {
    let generate = GenerateRequest::new(Chat::new(vec![Message::user(question)])).max_tokens(6);
    DescribeRequest::new(images.iter().map(|name| image(name)).collect(), generate)
}

fn raw(images: &[&str], prompt: &str, places: ImagePlaces) -> DescribeRequest {
    let generate = GenerateRequest::new(Prompt::Raw(prompt.to_owned())).max_tokens(6);
    DescribeRequest::new(images.iter().map(|name| image(name)).collect(), generate).places(places)
}

#[test]
fn a_question_about_the_same_picture_does_not_have_it_read_again() {
    for (name, _) in FAMILIES.iter().filter(|(name, _)| !["paligemma", "blip"].contains(name)) {
        let weights = load(&fixture(name), 512);
        let mut bench = Bench::new(&weights);
        let first = bench.answer(asked(&["odd.png"], "What is it?")).unwrap();
        assert_eq!((bench.model.pictures_read(), first.cached_prompt_tokens), (1, 0), "{name}");
        let said = [
            (Message::user(""), vec![ContentPart::image(image("odd.png")), ContentPart::text("What is it?")]),
            (Message::assistant(""), vec![ContentPart::text(&first.choices[0].text)]),
            (Message::user(""), vec![ContentPart::text("And now?")]),
        ];
        let mut request = DescribeRequest::conversation(said);
        request.generate.max_tokens = 6;
        let next = bench.answer(request.clone()).unwrap();
        assert_eq!(bench.model.pictures_read(), 1, "{name}");
        assert!(next.cached_prompt_tokens >= first.prompt_tokens() / 16 * 16 - 16, "{name}: {next:?}");
        let anew = Bench::new(&weights).answer(request).unwrap();
        assert_eq!(anew.choices, next.choices, "{name}: what is known changes nothing");
    }
}

#[test]
fn the_same_bytes_are_the_same_picture_wherever_they_come_from() {
    let weights = load(&fixture("llava"), 512);
    let mut bench = Bench::new(&weights);
    let bytes = std::fs::read(picture("rgb.png")).unwrap();
    let mut request = asked(&["rgb.png", "rgb.png"], "Alike?");
    request.images[1] = ImageSource::encoded(bytes);
    bench.answer(request).unwrap();
    assert_eq!(bench.model.pictures_read(), 1);
    bench.answer(asked(&["odd.png", "rgb.png"], "Alike?")).unwrap();
    assert_eq!(bench.model.pictures_read(), 2);
}

#[test]
fn rows_of_no_picture_in_a_raw_prompt_are_the_callers_fault() {
    let weights = load(&fixture("gemma3"), 512);
    let mut bench = Bench::new(&weights);
    for images in [&[][..], &["rgb.png"]] {
        let request = raw(images, "a <image_soft_token> b", ImagePlaces::First);
        let error = bench.answer(request).unwrap_err();
        assert!(matches!(error, ModelError::Invalid(_)), "{error}");
    }
    bench.answer(raw(&["rgb.png"], "a b", ImagePlaces::First)).unwrap();
}

#[test]
fn placeholders_in_a_users_text_are_text() {
    for (name, marks) in
        [("llava", &["<image>"][..]), ("qwen2-vl", &["<|image_pad|>", "<|vision_start|>", "<|im_end|>"])]
    {
        let weights = load(&fixture(name), 512);
        let mut bench = Bench::new(&weights);
        let mut ids = |request| bench.answer(request).unwrap().prompt_token_ids;
        let special = |ids: &[u32]| ids.iter().filter(|id| **id >= 246).count();
        for mark in marks {
            let (plain, tricky) = ("What is xx it?", format!("What is {mark} it?"));
            assert_eq!(
                special(&ids(asked(&["rgb.png"], &tricky))),
                special(&ids(asked(&["rgb.png"], plain)))
            );
            assert_eq!(special(&ids(asked(&[], &tricky))), special(&ids(asked(&[], plain))));
        }
        let mark = marks[0];
        let first = |prompt: &str| raw(&["rgb.png"], prompt, ImagePlaces::First);
        assert_eq!(
            special(&ids(first(&format!("a {mark} b")))),
            special(&ids(first("a b"))),
            "{name}: nobody said that it is marked"
        );
    }
}

#[test]
fn tokens_that_frame_pictures_are_no_text_whatever_the_tokenizer_calls_them() {
    for (name, marks) in [
        ("gemma3", &["<start_of_image>", "<end_of_image>", "<image_soft_token>"][..]),
        ("qwen2-vl", &["<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]),
        ("idefics3", &["<fake_token_around_image>", "<global-img>", "<row_1_col_2>", "<image>"]),
    ] {
        let copy = copied(&fixture(name));
        let text = std::fs::read(copy.path().join("tokenizer.json")).unwrap();
        let mut added = serde_json::from_slice::<Value>(&text).unwrap()["added_tokens"].take();
        let mut ids = Vec::new();
        for token in added.as_array_mut().unwrap() {
            if marks.contains(&token["content"].as_str().unwrap()) {
                token["special"] = json!(false);
                ids.push(u32::try_from(token["id"].as_u64().unwrap()).unwrap());
            }
        }
        assert_eq!(ids.len(), marks.len(), "{name}");
        patch(copy.path(), "tokenizer.json", "added_tokens", added);
        let weights = load(copy.path(), 512);
        let mut bench = Bench::new(&weights);
        let mut framing = |question: &str| {
            let answer = bench.answer(asked(&["rgb.png"], question)).unwrap();
            answer.prompt_token_ids.into_iter().filter(|id| ids.contains(id)).collect::<Vec<_>>()
        };
        let plain = framing("What is it?");
        for mark in marks {
            assert_eq!(framing(&format!("What is {mark} it?")), plain, "{name}: {mark}");
        }
    }
}

#[test]
fn a_request_waits_until_others_let_go_of_rows() {
    // Room for four pictures of sixteen rows.
    let weights = load(&fixture("llava"), 64);
    let names = pictures();
    let shown = |names: &[String], tokens: usize| {
        let mut request = raw(&[], "?", ImagePlaces::First);
        request.images = names.iter().map(|name| image(name)).collect();
        request.generate.max_tokens = tokens;
        request
    };
    let mut bench = Bench::new(&weights);
    let alone = bench.answer(shown(&names[2..5], 3)).unwrap();
    let mut bench = Bench::new(&weights);
    bench.admit(0, shown(&names[..2], 16)).unwrap();
    bench.admit(1, shown(&names[2..5], 3)).unwrap();
    let mut waited = 0;
    while !bench.ended.contains_key(&Slot(0)) {
        bench.step();
        waited += usize::from(bench.model.pictures_read() == 4 && bench.model.held_rows() == 64);
    }
    assert!(waited > 1, "its third picture finds no room");
    assert!(!bench.ended.contains_key(&Slot(1)));
    assert_eq!(bench.finish(1).unwrap().choices, alone.choices);
    assert_eq!(bench.model.pictures_read(), 5);
    bench.ended.clear();
    assert!(bench.is_whole());
}

#[test]
fn raw_prompts_show_pictures_where_they_are_told_to() {
    let weights = load(&fixture("llava"), 512);
    let mut bench = Bench::new(&weights);
    let mut ids = |request| bench.answer(request).unwrap().prompt_token_ids;
    let place = |at| ImagePlace { message: 0, at };
    let marked = ids(raw(&["rgb.png"], "a <image> b", ImagePlaces::Marked));
    assert_eq!(marked, ids(raw(&["rgb.png"], "a  b", ImagePlaces::At(vec![place(2)]))));
    let first = ids(raw(&["rgb.png"], "a b", ImagePlaces::First));
    assert_eq!(first, ids(raw(&["rgb.png"], "<image>a b", ImagePlaces::Marked)));
    for (images, prompt) in [(1, "a b"), (1, "<image> <image>"), (2, "<image>"), (0, "<image>")] {
        let error = bench.answer(raw(&["rgb.png"; 2][..images], prompt, ImagePlaces::Marked)).unwrap_err();
        assert!(matches!(&error, ModelError::Invalid(invalid) if invalid.field == "images"), "{error}");
    }
}

#[test]
fn a_prompt_that_is_read_at_once_has_a_limit_of_its_own() {
    let copy = copied(&fixture("paligemma"));
    let config: Value =
        serde_json::from_slice(&std::fs::read(copy.path().join("config.json")).unwrap()).unwrap();
    let mut text = config["text_config"].clone();
    text["max_position_embeddings"] = json!(4096);
    patch(copy.path(), "config.json", "text_config", text);
    let weights = load(copy.path(), 4096);
    let mut bench = Bench::new(&weights);
    // Of 1056 tokens 16 are the picture's, one begins the text and one ends its line.
    assert_eq!(
        bench.answer(raw(&["rgb.png"], &"x".repeat(1038), ImagePlaces::First)).unwrap().prompt_tokens(),
        1056
    );
    let error = bench.answer(raw(&["rgb.png"], &"x".repeat(1039), ImagePlaces::First)).unwrap_err();
    assert!(matches!(&error, ModelError::Invalid(invalid) if invalid.field == "prompt"), "{error}");
}

#[test]
fn what_the_caller_is_told_has_the_models_own_tokens_only() {
    let weights = load(&fixture("llava"), 512);
    let mut bench = Bench::new(&weights);
    let mut request = asked(&["rgb.png"], "What is it?");
    request.generate.sampling.repetition_penalty = 1.3;
    request.generate.n = 3;
    request.generate.sampling.temperature = 1.0;
    request.generate.sampling.seed = Some(5);
    let got = bench.answer(request).unwrap();
    assert!(got.prompt_token_ids.iter().all(|id| *id <= 246), "{:?}", got.prompt_token_ids);
    assert_eq!(got.prompt_token_ids.iter().filter(|id| **id == 246).count(), 16);
    assert_eq!(got.choices.len(), 3);
    assert!(bench.is_whole());
}

#[test]
fn a_canceled_request_leaves_nothing_behind() {
    for (name, _) in FAMILIES {
        let (weights, cases) = (load(&fixture(name), 512), cases(name));
        let mut bench = Bench::new(&weights);
        for steps in 0..8 {
            bench.admit(0, cases[1].request()).unwrap();
            bench.admit(1, cases[0].request()).unwrap();
            (0..steps).for_each(|_| bench.step());
            bench.model.cancel(Slot(0));
            cases[0].agrees(name, &bench.finish(1).unwrap());
            assert!(bench.is_whole() && bench.ended.is_empty(), "{name} after {steps} steps");
        }
    }
}

#[test]
fn pictures_give_way_to_others_and_are_read_again() {
    // Room for four pictures of sixteen rows.
    let weights = load(&fixture("llava"), 64);
    let mut bench = Bench::new(&weights);
    let shown = |name: &str| {
        let mut request = raw(&[], "?", ImagePlaces::First);
        request.images = vec![image(name)];
        request
    };
    let names: Vec<_> = pictures().into_iter().take(7).collect();
    let first = bench.answer(shown(&names[0])).unwrap();
    for name in &names[1..] {
        bench.answer(shown(name)).unwrap();
    }
    assert_eq!(bench.model.pictures_read(), 7);
    assert_eq!(bench.answer(shown(&names[0])).unwrap().choices, first.choices);
    assert_eq!(bench.model.pictures_read(), 8);
    bench.answer(shown(&names[6])).unwrap();
    assert_eq!(bench.model.pictures_read(), 8, "the last ones are still there");
}

#[test]
fn looking_at_pictures_keeps_nobody_waiting() {
    let weights = load(&fixture("idefics3"), 512);
    let mut bench = Bench::new(&weights);
    let mut text = asked(&[], "hello");
    text.generate.max_tokens = 12;
    bench.admit(0, text).unwrap();
    bench.step();
    // Three pictures of five views each, and no room in a step for more than one of them.
    bench.admit(1, asked(&["rgb.png", "odd.png", "large.png"], "What?")).unwrap();
    let mut steps = 1;
    while !bench.ended.contains_key(&Slot(0)) {
        bench.step();
        steps += 1;
    }
    assert_eq!((steps, bench.model.pictures_read()), (12, 2), "a token in every step");
    assert!(bench.finish(1).is_ok() && bench.model.pictures_read() == 3);
}

fn engine(name: &str) -> Engine {
    let engine = Engine::builder().threads_per_worker(NonZeroUsize::MIN).build().unwrap();
    let files = ModelFiles::Folder(folder(&fixture(name)));
    let options = ModelOptions::default().dtype(Dtype::F32).cache_tokens(512);
    let config = engine.key_config(Capabilities::Vision);
    engine.add_files_with(name, files, config, options).unwrap();
    engine
}

#[test]
fn an_engine_describes_and_tells_tokens_as_they_come() {
    let (engine, case) = (engine("llava"), &cases("llava")[0]);
    case.agrees("llava", &engine.describe("llava", case.request()).unwrap());
    let mut ticket = engine.vision().submit("llava", case.request()).unwrap();
    let told: Vec<u32> = ticket.events().map(|token| token.id).collect();
    assert_eq!(told, case.tokens);
    let whole = engine.status().pools.iter().map(|pool| pool.keys.len()).sum::<usize>();
    assert_eq!(whole, 1);
}

#[test]
fn gemma_3_writes_as_well() {
    let engine = engine("gemma3");
    let request = GenerateRequest::new(Prompt::Raw("hello".to_owned())).max_tokens(3);
    assert_eq!(engine.generate("gemma3", request).unwrap().completion_tokens(), 3);
    let files = ModelFiles::Folder(folder(&fixture("gemma3")));
    let both = (Capabilities::TextToText, Some(Capabilities::Vision));
    assert_eq!(Capabilities::all(&files).unwrap(), both);
}

#[test]
fn a_thousand_strange_requests_fail_alone_and_the_pool_serves_on() {
    for name in ["llava", "gemma3"] {
        strange_requests_fail_alone(name);
    }
}

fn strange_requests_fail_alone(name: &str) {
    let (engine, case) = (engine(name), &cases(name)[0]);
    let mut draw = fastrand::Rng::with_seed(17);
    let originals: Vec<Vec<u8>> =
        pictures().iter().map(|name| std::fs::read(picture(name)).unwrap()).collect();
    let (mut tickets, mut refused, mut answered) = (Vec::new(), 0, 0);
    for number in 0..1000 {
        match engine.vision().submit(name, strange(&mut draw, &originals, number)) {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => {
                refused += 1;
                let error = PoolError::from(error);
                assert!(matches!(error, PoolError::InvalidRequest { .. }), "{number}: {error}");
            }
        }
        if tickets.len() >= 24 || number == 999 {
            for ticket in tickets.drain(..) {
                match ticket.wait() {
                    Ok(_) => answered += 1,
                    Err(PoolError::InvalidRequest { .. }) => refused += 1,
                    Err(other) => panic!("{name}, {number}: {other}"),
                }
            }
        }
    }
    assert!(refused > 300 && answered > 100, "{name}: {refused} refused, {answered} answered");
    case.agrees(name, &engine.describe(name, case.request()).unwrap());
    let bad = asked(&["rgb.png"; 200], "?");
    let Err(Error::Pool(PoolError::InvalidRequest { source, .. })) = engine.describe(name, bad) else {
        panic!("there is no room for so many");
    };
    assert!(source.field == "images" && source.reason.contains("fewer"), "{source}");
}

/// A request that something may be wrong with.
fn strange(draw: &mut fastrand::Rng, originals: &[Vec<u8>], number: usize) -> DescribeRequest {
    let mut bytes = originals[number % originals.len()].clone();
    for _ in 0..draw.usize(..3) {
        let reach = if draw.bool() { 64 } else { usize::MAX };
        let at = draw.usize(..bytes.len().min(reach));
        match draw.u8(..4) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << draw.u8(..8),
            2 => bytes[at] = draw.u8(..),
            _ => drop(bytes.splice(at..at, std::iter::repeat_n(draw.u8(..), draw.usize(1..9)))),
        }
        if bytes.is_empty() {
            break;
        }
    }
    let source = match draw.u8(..12) {
        0 => ImageSource::data_url("data:image/png;base64,!!!"),
        1 => ImageSource::pixels(draw.u32(..9), draw.u32(..9), vec![7; draw.usize(..200)]),
        2 => ImageSource::path("/no/such/picture.png"),
        _ => ImageSource::encoded(bytes),
    };
    let text = ["<image>", "a <image> b", "", "\u{F0000}<image>", "</s>", "What?"][draw.usize(..6)];
    let prompt = match draw.u8(..3) {
        0 => Prompt::Raw(text.to_owned()),
        _ => Prompt::Chat(Chat::new(vec![Message::user(text); draw.usize(..3)])),
    };
    let images = vec![source; draw.usize(..4)];
    let place = |draw: &mut fastrand::Rng| ImagePlace { message: draw.usize(..3), at: draw.usize(..9) };
    let places = match draw.u8(..6) {
        0 => ImagePlaces::Marked,
        1 => ImagePlaces::At((0..draw.usize(..4)).map(|_| place(draw)).collect()),
        _ => ImagePlaces::First,
    };
    let mut generate = GenerateRequest::new(prompt).max_tokens(draw.usize(..4));
    if draw.u8(..10) == 0 {
        generate.max_tokens = draw.usize(..1 << 20);
    }
    DescribeRequest::new(images, generate).places(places)
}
