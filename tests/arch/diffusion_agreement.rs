//! Pictures equal those of diffusers, the whole way from the prompt, alone and in company.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use millpond::Dtype;
use millpond::arch::{DiffusionWeights, ImageGenerator};
use millpond::capability::{
    DrawRequest, Drawing, DrawnPicture, InitialNoise, JobContext, Model, ModelError, Outbox, Overlong, Slot,
    TextToImage,
};
use serde::Deserialize;

use crate::support::{copied, folder};

/// What was asked of a pipeline, and where its answers are.
#[derive(Deserialize)]
struct Asked {
    prompt: String,
    seed: u64,
    width: u32,
    height: u32,
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize)]
struct Case {
    guidance: f32,
    negative: Option<String>,
    clip_skip: Option<u32>,
    schedule_name: Option<String>,
    schedule: Option<String>,
    picture: String,
}

const PIPELINES: [&str; 8] = ["sd1", "sd2", "turbo", "lcm", "sdxl", "sd3", "flux_dev", "flux_schnell"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diffusion").join(name)
}

fn asked(name: &str) -> Asked {
    serde_json::from_slice(&std::fs::read(fixture(&format!("{name}.json"))).unwrap()).unwrap()
}

fn generator(folder_: &Path) -> ImageGenerator {
    generator_in(folder_, Dtype::F32)
}

fn generator_in(folder_: &Path, dtype: Dtype) -> ImageGenerator {
    let weights = DiffusionWeights::load(&folder(folder_), dtype)
        .unwrap_or_else(|e| panic!("{}: {e}", folder_.display()));
    ImageGenerator::new(Arc::new(weights), NonZeroUsize::MIN)
}

impl Asked {
    /// From the seed, which the reference was given the noise of.
    fn request(&self, case: &Case) -> DrawRequest {
        let mut request = DrawRequest::new(&self.prompt);
        request.negative_prompt.clone_from(&case.negative);
        request.size = Some((self.width, self.height));
        request.steps = Some(4);
        request.guidance = Some(case.guidance);
        request.clip_skip = case.clip_skip.unwrap_or(0);
        request.seed = Some(self.seed);
        request
    }
}

impl Case {
    /// The pipeline called `name`, with the schedule of the case.
    fn generator(&self, name: &str) -> ImageGenerator {
        let Some(schedule) = &self.schedule else { return generator(&fixture(name)) };
        let copy = copied(&fixture(name));
        std::fs::write(copy.path().join("scheduler/scheduler_config.json"), schedule).unwrap();
        generator(copy.path())
    }
}

/// Drives the model by hand until all requests have ended.
fn draw(model: &mut ImageGenerator, requests: Vec<DrawRequest>) -> Vec<Result<Drawing, ModelError>> {
    let mut answers: Vec<_> = requests.iter().map(|_| None).collect();
    for (number, request) in requests.into_iter().enumerate() {
        model.admit(Slot(number as u32), request, &JobContext::detached(number as u64)).unwrap();
    }
    while answers.iter().any(Option::is_none) {
        let mut out = Outbox::<TextToImage>::new();
        model.step(&mut out).unwrap();
        for (slot, answer) in out.take_ended() {
            answers[slot.0 as usize] = Some(answer);
        }
    }
    answers.into_iter().flatten().collect()
}

fn one(model: &mut ImageGenerator, request: DrawRequest) -> DrawnPicture {
    let drawing = draw(model, vec![request]).remove(0).unwrap();
    assert_eq!(drawing.pictures.len(), 1);
    drawing.pictures.into_iter().next().unwrap()
}

/// The mean and the largest difference of two pictures, in levels of 256.
fn difference(one: &[u8], other: &[u8]) -> (f64, u8) {
    assert_eq!(one.len(), other.len());
    let differences = one.iter().zip(other).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = differences.clone().map(u64::from).sum();
    (sum as f64 / one.len() as f64, differences.max().unwrap())
}

fn pictures(name: &str) -> std::collections::HashMap<String, Tensor> {
    candle_core::safetensors::load(fixture(&format!("{name}.safetensors")), &Device::Cpu).unwrap()
}

#[test]
fn every_family_and_schedule_draws_what_the_reference_does() {
    for name in PIPELINES {
        let (asked, pictures) = (asked(name), pictures(name));
        for case in &asked.cases {
            let drawn = one(&mut case.generator(name), asked.request(case));
            let expected = pictures[&case.picture].flatten_all().unwrap().to_vec1::<u8>().unwrap();
            let (mean, largest) = difference(&drawn.rgb, &expected);
            let schedule = case.schedule_name.as_deref().unwrap_or("its own schedule");
            println!("{name}, {schedule}, guidance {}: mean {mean:.3}, largest {largest}", case.guidance);
            assert!(mean <= 0.05 && largest <= 2, "{name}, {schedule}: mean {mean}, largest {largest}");
            for other in asked.cases.iter().filter(|other| other.picture != case.picture) {
                let other = pictures[&other.picture].flatten_all().unwrap().to_vec1::<u8>().unwrap();
                assert!(difference(&other, &expected).0 > 0.1, "{name}, {schedule}: the cases are alike");
            }
        }
    }
}

#[test]
fn narrow_weights_draw_nearly_the_same() {
    for name in PIPELINES {
        let asked = asked(name);
        let request = asked.request(&asked.cases[0]);
        let exact = one(&mut generator(&fixture(name)), request.clone());
        let narrow = one(&mut generator_in(&fixture(name), Dtype::Bf16), request);
        let (mean, largest) = difference(&narrow.rgb, &exact.rgb);
        println!("{name}: mean {mean:.3}, largest {largest}");
        assert!(mean < 0.5 && largest <= 8, "{name}: mean {mean}, largest {largest}");
        assert_ne!(narrow.rgb, exact.rgb, "{name}: it should show");
    }
}

#[test]
fn pictures_are_the_same_from_given_latents_alone_and_in_company() {
    for name in ["sd1", "sdxl", "turbo", "sd3", "flux_dev"] {
        let (asked, pictures) = (asked(name), pictures(name));
        let mut model = generator(&fixture(name));
        let request = asked.request(&asked.cases[0]);
        let latents = &pictures["latents"];
        let mut given = request.clone();
        given.seed = Some(99);
        given.latents = Some(InitialNoise {
            shape: latents.dims4().map(|(n, c, h, w)| [n, c, h, w]).unwrap(),
            values: latents.flatten_all().unwrap().to_vec1().unwrap().into(),
        });
        let mut several = request.clone();
        several.n = 3;
        let mut other = request.clone();
        (other.prompt, other.steps, other.guidance) = ("a mill".to_owned(), Some(7), Some(0.5));
        let mut small = request.clone();
        small.size = Some((12, 8));
        let all = vec![request.clone(), several.clone(), other.clone(), small.clone()];
        let together: Vec<_> =
            draw(&mut model, all).into_iter().map(|drawing| drawing.unwrap().pictures).collect();
        let alone = [request.clone(), several, other, small]
            .map(|request| draw(&mut model, vec![request]).remove(0).unwrap().pictures);
        assert_eq!(together, alone, "{name}");
        assert_eq!(together[1].len(), 3);
        assert_eq!(together[1][0], together[0][0], "{name}: the first of several is the only one");
        assert_ne!(together[1][0], together[1][1]);
        if name != "sd1" {
            continue;
        }
        // Its schedule takes no noise but the first.
        assert_eq!(one(&mut model, given), one(&mut model, request));
    }
}

#[test]
fn steps_are_told_with_previews_and_a_canceled_request_is_not_decoded() {
    let asked = asked("sd1");
    let mut model = generator(&fixture("sd1"));
    let mut request = asked.request(&asked.cases[0]);
    (request.n, request.preview_every) = (2, Some(2));
    let step = |model: &mut ImageGenerator| {
        let mut out = Outbox::<TextToImage>::new();
        model.step(&mut out).unwrap();
        out
    };
    model.admit(Slot(3), request.clone(), &JobContext::detached(1)).unwrap();
    // Five evaluations of four steps, a decoding of each picture after two of them, and in the end.
    let mut told = Vec::new();
    for _ in 0..10 {
        let mut out = step(&mut model);
        told.extend(
            out.take_events().into_iter().map(|(_, event)| (event.step, event.of, event.preview.len())),
        );
        assert!(out.take_ended().is_empty());
    }
    assert_eq!(told, [(1, 5, 0), (2, 5, 2), (3, 5, 0), (4, 5, 2), (5, 5, 0)]);
    assert_eq!(step(&mut model).take_ended().len(), 1);
    model.admit(Slot(3), request, &JobContext::detached(2)).unwrap();
    (0..9).for_each(|_| drop(step(&mut model)));
    model.cancel(Slot(3));
    let mut out = step(&mut model);
    assert!(out.take_events().is_empty() && out.take_ended().is_empty());
}

#[test]
fn a_size_of_its_own_has_its_turn_beside_requests_that_fill_passes() {
    let asked = asked("sd1");
    let mut model = generator(&fixture("sd1"));
    let mut request = asked.request(&asked.cases[0]);
    request.steps = Some(20);
    assert!(request.guidance.unwrap() > 1.0, "four of them fill a pass");
    for slot in 0..5 {
        model.admit(Slot(slot), request.clone(), &JobContext::detached(0)).unwrap();
    }
    request.size = Some((12, 8));
    model.admit(Slot(5), request, &JobContext::detached(0)).unwrap();
    let served = |model: &mut ImageGenerator| {
        let mut out = Outbox::<TextToImage>::new();
        model.step(&mut out).unwrap();
        out.take_events().into_iter().map(|(slot, _)| slot.0).collect::<Vec<_>>()
    };
    // Each reads the prompts of one.
    (0..6).for_each(|_| drop(served(&mut model)));
    let passes: Vec<_> = (0..15).map(|_| served(&mut model)).collect();
    for three in passes.windows(3) {
        assert_eq!(three.iter().filter(|slots| **slots == [5]).count(), 1, "{passes:?}");
    }
    assert!(
        (0..5).all(|slot| passes.iter().filter(|slots| slots.contains(&slot)).count() >= 7),
        "{passes:?}"
    );
}

#[test]
fn bad_numbers_of_one_request_end_it_alone_and_at_once() {
    let asked = asked("sd1");
    let mut model = generator(&fixture("sd1"));
    let good = asked.request(&asked.cases[0]);
    let shape = pictures("sd1")["latents"].dims4().map(|(n, c, h, w)| [n, c, h, w]).unwrap();
    let mut bad = good.clone();
    bad.preview_every = Some(1);
    bad.latents = Some(InitialNoise { shape, values: vec![f32::MAX; shape.iter().product()].into() });
    model.admit(Slot(0), good.clone(), &JobContext::detached(0)).unwrap();
    model.admit(Slot(1), bad, &JobContext::detached(1)).unwrap();
    let mut ended = Vec::new();
    for step in 0..20 {
        let mut out = Outbox::<TextToImage>::new();
        model.step(&mut out).unwrap();
        ended.extend(out.take_ended().into_iter().map(|(slot, answer)| (step, slot, answer)));
    }
    // The second step reads its prompts and is its first.
    assert!(matches!(ended[0], (1, Slot(1), Err(ModelError::Numeric(_)))), "{ended:?}");
    let (_, Slot(0), Ok(drawing)) = &ended[1] else { panic!("{ended:?}") };
    assert_eq!(drawing.pictures[0], one(&mut model, good));
}

#[test]
fn a_long_prompt_is_cut_and_said_to_be_or_refused() {
    let asked = asked("sd1");
    let mut model = generator(&fixture("sd1"));
    let mut request = asked.request(&asked.cases[0]);
    request.prompt = "a red circle ".repeat(60);
    assert!(draw(&mut model, vec![request.clone()]).remove(0).unwrap().truncated);
    request.overlong = Overlong::Refuse;
    let mut short = request.clone();
    short.prompt = "a red circle".to_owned();
    let answers = draw(&mut model, vec![request, short]);
    let Err(ModelError::Invalid(refused)) = &answers[0] else { panic!("{:?}", answers[0]) };
    assert_eq!(refused.field, "prompt");
    assert!(!answers[1].as_ref().unwrap().truncated);
}

#[test]
fn a_thousand_odd_requests_are_refused_by_their_fields_or_drawn() {
    let asked = asked("lcm");
    let mut model = generator(&fixture("lcm"));
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut refused, mut drawn) = (0, 0);
    for _ in 0..1000 {
        let request = odd(&mut rng, asked.request(&asked.cases[0]));
        match model.admit(Slot(0), request.clone(), &JobContext::detached(0)) {
            Ok(()) if rng.u8(..) < 24 => {
                model.cancel(Slot(0));
                let answer = draw(&mut model, vec![request]).remove(0);
                assert!(matches!(answer, Ok(_) | Err(ModelError::Numeric(_) | ModelError::Invalid(_))));
                drawn += 1;
            }
            Ok(()) => model.cancel(Slot(0)),
            Err(ModelError::Invalid(_)) => refused += 1,
            Err(other) => panic!("{other}: {request:?}"),
        }
    }
    println!("{refused} refused, {drawn} drawn");
    assert!(refused > 300 && drawn > 3, "{refused} refused, {drawn} drawn");
}

/// A request with one to three fields as nobody should write them, or nearly so.
fn odd(rng: &mut fastrand::Rng, mut request: DrawRequest) -> DrawRequest {
    let floats = [f32::NAN, f32::INFINITY, -1.0, 0.0, 1.0, 100.0, 1e30, f32::MIN_POSITIVE];
    let counts = [0, 1, 2, 3, 50, 51, 1000, 1001, u32::MAX];
    for _ in 0..rng.u8(1..4) {
        let count = counts[rng.usize(..counts.len())];
        match rng.u8(0..10) {
            0 => request.prompt = "\u{0}!\u{fffd}<|endoftext|>".repeat(rng.usize(0..6000)),
            1 => request.negative_prompt = Some(String::new()),
            2 => request.size = Some((count, rng.u32(..))),
            3 => request.size = Some((rng.u32(0..40), rng.u32(0..40))),
            4 => request.steps = Some(count),
            5 => request.guidance = Some(floats[rng.usize(..floats.len())]),
            6 => request.n = count,
            7 => request.clip_skip = rng.u32(0..70),
            8 => request.preview_every = Some(count),
            _ => {
                let side = rng.usize(0..13);
                let values = vec![floats[rng.usize(..floats.len())]; rng.usize(0..500)];
                let shape = [rng.usize(0..2), 4, side, rng.usize(..)];
                request.latents = Some(InitialNoise { shape, values: values.into() });
            }
        }
    }
    request
}
