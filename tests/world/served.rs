//! The shipped models in one engine, and asking them many things at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millpond::capability::{
    Chat, DescribeRequest, EmbedImageRequest, EmbedRequest, GenerateRequest, ImageSource, Message,
    TextCompletion,
};
use millpond::pool::PoolConfig;
use millpond::{Dtype, Engine, ModelOptions};

/// What the models are held to their cards in.
pub(crate) const DTYPES: [Dtype; 2] = [Dtype::F32, Dtype::Bf16];

/// No answer of these models is longer.
const MOST_TOKENS: usize = 40;

pub(crate) fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny").join(model)
}

/// Serves these models, each under its name, and waits for as long as it takes.
pub(crate) fn serve(models: &[&str], dtype: Dtype) -> Engine {
    let config = PoolConfig::default().workers(1).request_timeout(Duration::MAX).queue_capacity(0);
    let engine = Engine::builder().config(config).build().unwrap();
    for model in models {
        let folder = folder(model);
        let added = engine.add_with(*model, folder.to_str().unwrap(), ModelOptions::default().dtype(dtype));
        added.unwrap_or_else(|error| panic!("{model}: {error}"));
    }
    engine
}

/// The vectors of texts, of length 1.
pub(crate) fn embed(engine: &Engine, model: &str, texts: &[&str]) -> Vec<Vec<f32>> {
    let requests = texts.iter().map(|text| EmbedRequest::new(*text).normalize(true));
    let answers = engine.embed_all(model, requests).unwrap();
    answers.into_iter().map(|embedding| embedding.values).collect()
}

/// The vectors of pictures, of length 1.
pub(crate) fn see(engine: &Engine, model: &str, pictures: &[ImageSource]) -> Vec<Vec<f32>> {
    let requests = pictures.iter().map(|picture| EmbedImageRequest::new(picture.clone()).normalize(true));
    let answers = engine.embed_all_images(model, requests).unwrap();
    answers.into_iter().map(|vector| vector.values).collect()
}

/// A question put to the model's chat template, answered with the likeliest tokens.
fn question(text: &str) -> GenerateRequest {
    GenerateRequest::new(Chat::new(vec![Message::user(text)])).max_tokens(MOST_TOKENS)
}

fn said(answer: &TextCompletion) -> String {
    answer.choices[0].text.trim().to_owned()
}

pub(crate) fn answer(engine: &Engine, model: &str, questions: &[&str]) -> Vec<String> {
    let requests = questions.iter().map(|text| question(text));
    let answers = engine.text_to_text().submit_all(model, requests).unwrap();
    answers.iter().map(said).collect()
}

/// What is said of each picture when that question is asked about it.
pub(crate) fn describe(engine: &Engine, model: &str, asked: &[(ImageSource, &str)]) -> Vec<String> {
    let requests =
        asked.iter().map(|(picture, text)| DescribeRequest::new(vec![picture.clone()], question(text)));
    let answers = engine.vision().submit_all(model, requests).unwrap();
    answers.iter().map(said).collect()
}

/// Which of `vectors` is most like this one.
pub(crate) fn nearest(vector: &[f32], vectors: &[Vec<f32>]) -> usize {
    let likeness = |other: &[f32]| vector.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    let alike = vectors.iter().map(|other| likeness(other)).enumerate();
    alike.max_by(|(_, a), (_, b)| a.total_cmp(b)).expect("there is one").0
}
