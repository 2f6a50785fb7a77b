//! Captions find their scene in other words, and questions about described scenes are answered.

use crate::card::{Score, holds};
use crate::scenes::Scenes;
use crate::served::{DTYPES, answer, embed, nearest, serve};

#[test]
fn paraphrases_find_their_scene() {
    for dtype in DTYPES {
        let scenes = Scenes::read();
        let engine = serve(&["shapes-embed"], dtype);
        let (captions, queries): (Vec<&str>, Vec<&str>) =
            scenes.paraphrases.iter().map(|(caption, query)| (caption.as_str(), query.as_str())).unzip();
        assert_eq!(captions.len(), 1000);
        let captions = embed(&engine, "shapes-embed", &captions);
        let found =
            embed(&engine, "shapes-embed", &queries).into_iter().map(|query| nearest(&query, &captions));
        let score = Score::of(found.enumerate().map(|(scene, found)| scene == found));
        holds("shapes-embed", dtype, &[("paraphrase retrieval, 1 of 1,000", score)]);
    }
}

#[test]
fn questions_about_described_scenes_are_answered() {
    for dtype in DTYPES {
        let asked = Scenes::read().asked_of_texts;
        let engine = serve(&["shapes-llm"], dtype);
        let questions: Vec<_> = asked.iter().map(|(question, _)| question.as_str()).collect();
        let answers = answer(&engine, "shapes-llm", &questions);
        let score = Score::of(answers.iter().zip(&asked).map(|(answer, (_, right))| answer == right));
        holds("shapes-llm", dtype, &[("scene questions, exact", score)]);
    }
}
