//! Captions find their picture, pictures are told by colour, shape and background without having been taught to, and
//! questions about pictures are answered.

use millpond::Engine;
use millpond::capability::ImageSource;

use crate::card::{Score, holds};
use crate::scenes::{Scenes, Single};
use crate::served::{DTYPES, describe, embed, nearest, see, serve};

const COLORS: [&str; 8] = ["red", "green", "blue", "yellow", "purple", "orange", "white", "black"];
const SHAPES: [&str; 6] = ["circle", "square", "triangle", "star", "cross", "ring"];
const BACKGROUNDS: [&str; 4] = ["white", "black", "gray", "pink"];

/// The questions that ask for a description.
const DESCRIBE: [&str; 3] = ["What is in the image?", "Describe the image.", "What do you see?"];

/// Of how many pictures the colour, the shape and the background were told, by which of a few words is nearest.
pub(crate) fn told_apart(engine: &Engine, pictures: &[Vec<f32>], scenes: &[&Single]) -> [Score; 3] {
    let article = |word: &str| if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let score = |words: &[&str], ending: &str, right: fn(&Single) -> &str| {
        let prompts: Vec<_> = words.iter().map(|word| format!("{} {word}{ending}", article(word))).collect();
        let prompts: Vec<_> = prompts.iter().map(String::as_str).collect();
        let prompts = embed(engine, "shapes-clip", &prompts);
        let seen = pictures.iter().map(|picture| words[nearest(picture, &prompts)]);
        Score::of(seen.zip(scenes).map(|(seen, scene)| seen == right(scene)))
    };
    [
        score(&COLORS, " shape", |scene| &scene.color),
        score(&SHAPES, "", |scene| &scene.shape),
        score(&BACKGROUNDS, " background", |scene| &scene.background),
    ]
}

#[test]
fn captions_find_their_picture() {
    for dtype in DTYPES {
        let scenes = Scenes::read();
        let engine = serve(&["shapes-clip"], dtype);
        let singles: Vec<_> = scenes.singles.iter().collect();
        assert_eq!(singles.len(), 500);
        let pictures = see(&engine, "shapes-clip", &scenes.tiles()[..singles.len()]);
        let captions = scenes.paraphrases.iter().take(singles.len());
        let captions: Vec<_> = captions.map(|(caption, _)| caption.as_str()).collect();
        let found = embed(&engine, "shapes-clip", &captions);
        let found = found.iter().map(|caption| nearest(caption, &pictures)).enumerate();
        let found = Score::of(found.map(|(scene, found)| scene == found));
        let [color, shape, background] = told_apart(&engine, &pictures, &singles);
        let scores = [
            ("caption to image, 1 of 500", found),
            ("zero-shot color", color),
            ("zero-shot shape", shape),
            ("zero-shot background", background),
        ];
        holds("shapes-clip", dtype, &scores);
    }
}

#[test]
fn questions_about_pictures_are_answered() {
    for dtype in DTYPES {
        let scenes = Scenes::read();
        let tiles = scenes.tiles();
        let engine = serve(&["shapes-llava"], dtype);
        let asked: Vec<(ImageSource, &str)> = scenes
            .asked_of_pictures
            .iter()
            .map(|(tile, asked, _)| (tiles[*tile].clone(), asked.as_str()))
            .collect();
        let answers = describe(&engine, "shapes-llava", &asked);
        let right: Vec<(bool, bool)> = answers
            .iter()
            .zip(&scenes.asked_of_pictures)
            .map(|(answer, (_, question, right))| (DESCRIBE.contains(&question.as_str()), answer == right))
            .collect();
        let those = |captions: bool| {
            Score::of(right.iter().filter(|(is, _)| *is == captions).map(|(_, right)| *right))
        };
        let scores = [
            ("captions, exact", those(true)),
            ("questions, exact", those(false)),
            ("all, exact", Score::of(right.iter().map(|(_, right)| *right))),
        ];
        holds("shapes-llava", dtype, &scores);
    }
}
