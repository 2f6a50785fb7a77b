//! Captions find their scene in other words, and questions about described scenes are answered.

use millpond::Dtype;

use crate::card::{Score, holds};
use crate::scenes::Scenes;
use crate::served::{answer, embed, nearest, serve};

fn paraphrases_find_their_scene(dtype: Dtype) {
    let scenes = Scenes::read();
    let engine = serve(&["shapes-embed"], dtype);
    let (captions, queries): (Vec<&str>, Vec<&str>) =
        scenes.paraphrases.iter().map(|(caption, query)| (caption.as_str(), query.as_str())).unzip();
    assert_eq!(captions.len(), 1000);
    let captions = embed(&engine, "shapes-embed", &captions);
    let found = embed(&engine, "shapes-embed", &queries).into_iter().map(|query| nearest(&query, &captions));
    let score = Score::of(found.enumerate().map(|(scene, found)| scene == found));
    holds("shapes-embed", dtype, &[("paraphrase retrieval, 1 of 1,000", score)]);
}

fn questions_about_described_scenes_are_answered(dtype: Dtype) {
    let asked = Scenes::read().asked_of_texts;
    let engine = serve(&["shapes-llm"], dtype);
    let questions: Vec<_> = asked.iter().map(|(question, _)| question.as_str()).collect();
    let answers = answer(&engine, "shapes-llm", &questions);
    let score = Score::of(answers.iter().zip(&asked).map(|(answer, (_, right))| answer == right));
    holds("shapes-llm", dtype, &[("scene questions, exact", score)]);
}

#[test]
fn paraphrases_find_their_scene_in_f32() {
    paraphrases_find_their_scene(Dtype::F32);
}

#[test]
fn paraphrases_find_their_scene_in_bf16() {
    paraphrases_find_their_scene(Dtype::Bf16);
}

#[test]
fn questions_about_described_scenes_are_answered_in_f32() {
    questions_about_described_scenes_are_answered(Dtype::F32);
}

#[test]
fn questions_about_described_scenes_are_answered_in_bf16() {
    questions_about_described_scenes_are_answered(Dtype::Bf16);
}
