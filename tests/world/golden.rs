//! What the shipped models compute is what their reference implementations did with the same weights: the
//! `expected.json` in their folders.

use std::sync::Arc;

use candle_core::Device;
use millpond::Dtype;
use millpond::capability::{
    Chat, DescribeRequest, DrawRequest, GenerateRequest, ImageSource, InitialNoise, Message, Prompt, Role,
    TextCompletion,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::served::{embed, folder, see, serve};

fn expected<T: DeserializeOwned>(model: &str) -> T {
    let file = std::fs::read(folder(model).join("expected.json")).expect("it ships with the model");
    serde_json::from_slice(&file).unwrap_or_else(|error| panic!("{model}: {error}"))
}

/// The likeliest tokens after a text or a conversation.
#[derive(Deserialize)]
struct Greedy<T> {
    greedy: Vec<T>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    messages: Vec<Said>,
    prompt: String,
    input_ids: Vec<u32>,
    output_ids: Vec<u32>,
    output_text: String,
}

#[derive(Deserialize)]
struct Said {
    role: SaidRole,
    content: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SaidRole {
    System,
    User,
    Assistant,
}

impl Said {
    fn message(&self) -> Message {
        let role = match self.role {
            SaidRole::System => Role::System,
            SaidRole::User => Role::User,
            SaidRole::Assistant => Role::Assistant,
        };
        Message::new(role, self.content.clone())
    }
}

impl Written {
    fn agrees(&self, answer: &TextCompletion) {
        assert_eq!(answer.prompt_token_ids, self.input_ids, "{:?}", self.prompt);
        assert_eq!(answer.choices[0].token_ids, self.output_ids, "{:?}", self.prompt);
        assert_eq!(answer.choices[0].text, self.output_text, "{:?}", self.prompt);
    }
}

#[test]
fn shapes_llm_writes_what_transformers_writes() {
    let Greedy::<Written> { greedy } = expected("shapes-llm");
    let engine = serve(&["shapes-llm"], Dtype::F32);
    let requests = greedy.iter().map(|case| {
        let prompt = if case.messages.is_empty() {
            Prompt::Raw(case.prompt.clone())
        } else {
            Prompt::Chat(Chat::new(case.messages.iter().map(Said::message).collect()))
        };
        GenerateRequest::new(prompt).max_tokens(case.output_ids.len())
    });
    let answers = engine.text_to_text().submit_all("shapes-llm", requests).unwrap();
    assert!(answers.len() >= 4);
    greedy.iter().zip(&answers).for_each(|(case, answer)| case.agrees(answer));
}

/// What was said of a picture, and what is right.
#[derive(Deserialize)]
struct Seen {
    image: String,
    question: String,
    right: String,
    #[serde(flatten)]
    written: Written,
}

#[test]
fn shapes_llava_says_what_transformers_says_and_what_is_right() {
    let Greedy::<Seen> { greedy } = expected("shapes-llava");
    let engine = serve(&["shapes-llava"], Dtype::F32);
    let requests = greedy.iter().map(|case| {
        let image = ImageSource::path(folder("shapes-llava").join(&case.image));
        let question = GenerateRequest::new(Chat::new(vec![Message::user(&case.question)]));
        DescribeRequest::new(vec![image], question.max_tokens(case.written.output_ids.len()))
    });
    let answers = engine.vision().submit_all("shapes-llava", requests).unwrap();
    assert!(answers.len() >= 12);
    for (case, answer) in greedy.iter().zip(&answers) {
        case.written.agrees(answer);
        assert_eq!(case.right, answer.choices[0].text, "{}: {}", case.image, case.question);
    }
}

/// Vectors of pictures and texts.
#[derive(Deserialize)]
struct Embedded {
    #[serde(default)]
    images: Vec<Picture>,
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Picture {
    file: String,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    embedding: Vec<f32>,
}

/// Every vector is where the reference has it.
fn places(model: &str, least: usize) {
    let Embedded { images, texts } = expected(model);
    let engine = serve(&[model], Dtype::F32);
    let files: Vec<_> =
        images.iter().map(|image| ImageSource::path(folder(model).join(&image.file))).collect();
    let captions: Vec<_> = texts.iter().map(|text| text.text.as_str()).collect();
    let mut got = if files.is_empty() { Vec::new() } else { see(&engine, model, &files) };
    got.extend(embed(&engine, model, &captions));
    let embeddings = images.into_iter().map(|image| image.embedding);
    let expected: Vec<_> = embeddings.chain(texts.into_iter().map(|text| text.embedding)).collect();
    assert!(expected.len() >= least && got.len() == expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got.len(), expected.len());
        let apart = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= 1e-4, "{apart} apart");
    }
}

#[test]
fn shapes_clip_places_pictures_and_texts_where_transformers_does() {
    places("shapes-clip", 8);
}

#[test]
fn shapes_embed_places_texts_where_sentence_transformers_does() {
    places("shapes-embed", 5);
}

/// A picture that diffusers drew.
#[derive(Deserialize)]
struct Drawn {
    prompt: String,
    steps: u32,
    guidance_scale: f32,
    tensors: String,
}

#[test]
fn shapes_diffusion_draws_what_diffusers_draws() {
    let Drawn { prompt, steps, guidance_scale, tensors } = expected("shapes-diffusion");
    let path = folder("shapes-diffusion").join(tensors);
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let numbers = |name: &str| tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (pictures, channels, height, width) = tensors["initial_latents"].dims4().unwrap();
    let mut request = DrawRequest::new(prompt);
    (request.steps, request.guidance) = (Some(steps), Some(guidance_scale));
    let values: Arc<[f32]> = numbers("initial_latents").into();
    request.latents = Some(InitialNoise { shape: [pictures, channels, height, width], values });
    let engine = serve(&["shapes-diffusion"], Dtype::F32);
    let drawing = engine.draw("shapes-diffusion", request).unwrap();
    let (got, expected) = (&drawing.pictures[0].rgb, numbers("image"));
    assert_eq!(got.len(), expected.len());
    let apart = got.iter().zip(&expected).map(|(got, expected)| (f32::from(*got) - 255.0 * expected).abs());
    let largest = apart.fold(0.0, f32::max);
    println!("{largest} levels of 256 apart at most");
    assert!(largest <= 2.0, "{largest} levels apart");
}
