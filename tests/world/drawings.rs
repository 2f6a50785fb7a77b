//! What is drawn is what was asked for: one model draws fifty combinations that it was never shown, others say what
//! they see.

use millpond::capability::{DrawRequest, ImageSource};
use millpond::{Dtype, Engine};

use crate::card::{Score, holds};
use crate::pictures::told_apart;
use crate::scenes::{Scenes, Single};
use crate::served::{describe, embed, nearest, see, serve};

/// How often colour, shape and background must all be right.
const FLOOR: f64 = 0.85;

/// As the card's figures were measured.
const STEPS: u32 = 20;
const GUIDANCE: f32 = 4.0;

/// A picture for each prompt.
fn draw(engine: &Engine, prompts: &[(usize, String)]) -> Vec<ImageSource> {
    let requests = prompts.iter().map(|(number, prompt)| {
        let mut request = DrawRequest::new(prompt);
        (request.steps, request.guidance) = (Some(STEPS), Some(GUIDANCE));
        request.seed = Some(*number as u64);
        request
    });
    let drawings = engine.text_to_image().submit_all("shapes-diffusion", requests).unwrap();
    let pictures = drawings.into_iter().flat_map(|drawing| drawing.pictures);
    pictures.map(|drawn| ImageSource::pixels(drawn.width, drawn.height, drawn.rgb)).collect()
}

/// Whether a description, such as "a small red ring on the left on a pink background", names the scene's colour, shape
/// and background.
fn names(description: &str, scene: &Single) -> bool {
    let Single { color, shape, background, .. } = scene;
    description.contains(&format!(" {color} {shape} "))
        && description.ends_with(&format!(" on a {background} background"))
}

/// Draws the first `count` of the fixture's fifty prompts, each of another held-out combination.
fn drawings_are_what_they_were_asked_to_be(dtype: Dtype, count: usize) {
    let mut scenes = Scenes::read();
    assert_eq!(scenes.drawn.len(), 50);
    scenes.drawn.truncate(count);
    let engine = serve(&["shapes-diffusion", "shapes-clip", "shapes-llava"], dtype);
    let asked: Vec<&Single> = scenes.drawn.iter().map(|(number, _)| &scenes.singles[*number]).collect();
    let drawn = draw(&engine, &scenes.drawn);

    let shown: Vec<_> = drawn.iter().map(|picture| (picture.clone(), "What is in the image?")).collect();
    let described = describe(&engine, "shapes-llava", &shown);
    for (description, (_, prompt)) in described.iter().zip(&scenes.drawn) {
        println!("asked for: {prompt}\ndescribed: {description}");
    }
    let named = Score::of(described.iter().zip(&asked).map(|(description, scene)| names(description, scene)));

    let seen = see(&engine, "shapes-clip", &drawn);
    let [color, shape, background] = told_apart(&engine, &seen, &asked);
    let captions: Vec<_> = scenes.singles.iter().map(|single| single.caption.as_str()).collect();
    let captions = embed(&engine, "shapes-clip", &captions);
    let whole =
        seen.iter().zip(&scenes.drawn).map(|(picture, (number, _))| nearest(picture, &captions) == *number);
    let scores = [
        ("drawn color, seen by shapes-clip", color),
        ("drawn shape, seen by shapes-clip", shape),
        ("drawn background, seen by shapes-clip", background),
        ("whole scene, seen by shapes-clip", Score::of(whole)),
        ("color, shape and background, told by shapes-llava", named),
    ];
    println!("shapes-diffusion in {dtype}: {:.0} % told right of {count} drawings", 100.0 * named.share());
    holds("shapes-diffusion", dtype, &scores);
    assert!(named.share() >= FLOOR, "only {:.0} % of the drawings are told right", 100.0 * named.share());
}

#[test]
fn drawings_are_what_they_were_asked_to_be_in_f32() {
    drawings_are_what_they_were_asked_to_be(Dtype::F32, 50);
}

#[test]
fn drawings_are_what_they_were_asked_to_be_in_bf16() {
    drawings_are_what_they_were_asked_to_be(Dtype::Bf16, 20);
}

#[test]
fn a_description_must_name_all_three() {
    let single = |[color, shape, background]: [&str; 3]| {
        Single::from((color.to_owned(), shape.to_owned(), background.to_owned(), String::new()))
    };
    let description = "a small red ring on the left on a pink background";
    assert!(names(description, &single(["red", "ring", "pink"])));
    for wrong in [["pink", "ring", "pink"], ["red", "circle", "pink"], ["red", "ring", "red"]] {
        assert!(!names(description, &single(wrong)), "{wrong:?}");
    }
}
