//! What the shipped models compute is what their reference implementations did with the same weights: the
//! `expected.json` in their folders. That of text embedding is among the encoders' tests.

use std::sync::Arc;

use candle_core::Device;
use millpond::Dtype;
use millpond::capability::{
    Chat, ContentPart, DescribeRequest, DrawRequest, GenerateRequest, ImageSource, InitialNoise, Message,
    Prompt, Role, TextCompletion,
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
struct Greedy {
    greedy: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    image: Option<String>,
    #[serde(default)]
    messages: Vec<Said>,
    prompt: String,
    input_ids: Vec<u32>,
    output_ids: Vec<u32>,
    output_text: String,
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Part {
    Text { text: String },
    Image,
}

impl Said {
    fn message(&self) -> Message {
        let role = match self.role.as_str() {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        };
        let text = if let Content::Text(text) = &self.content { text.clone() } else { String::new() };
        Message::new(role, text)
    }

    /// What it says and shows.
    fn parts(&self, image: &ImageSource) -> Vec<ContentPart> {
        match &self.content {
            Content::Text(text) => vec![ContentPart::text(text)],
            Content::Parts(parts) => {
                let part = |part: &Part| match part {
                    Part::Text { text } => ContentPart::text(text),
                    Part::Image => ContentPart::image(image.clone()),
                };
                parts.iter().map(part).collect()
            }
        }
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
    let Greedy { greedy } = expected("shapes-llm");
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

#[test]
fn shapes_llava_says_what_transformers_says() {
    let Greedy { greedy } = expected("shapes-llava");
    let engine = serve(&["shapes-llava"], Dtype::F32);
    let requests = greedy.iter().map(|case| {
        let image = case.image.as_ref().expect("each case has a picture");
        let image = ImageSource::path(folder("shapes-llava").join(image));
        let said = case.messages.iter().map(|said| (said.message(), said.parts(&image)));
        let mut request = DescribeRequest::conversation(said);
        request.generate.max_tokens = case.output_ids.len();
        request
    });
    let answers = engine.vision().submit_all("shapes-llava", requests).unwrap();
    assert!(answers.len() >= 8);
    greedy.iter().zip(&answers).for_each(|(case, answer)| case.agrees(answer));
}

/// Vectors of pictures and texts.
#[derive(Deserialize)]
struct Embedded {
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

#[test]
fn shapes_clip_places_pictures_and_texts_where_transformers_does() {
    let Embedded { images, texts } = expected("shapes-clip");
    let engine = serve(&["shapes-clip"], Dtype::F32);
    let files: Vec<_> =
        images.iter().map(|image| ImageSource::path(folder("shapes-clip").join(&image.file))).collect();
    let captions: Vec<_> = texts.iter().map(|text| text.text.as_str()).collect();
    let mut got = see(&engine, "shapes-clip", &files);
    got.extend(embed(&engine, "shapes-clip", &captions));
    let embeddings = images.into_iter().map(|image| image.embedding);
    let expected: Vec<_> = embeddings.chain(texts.into_iter().map(|text| text.embedding)).collect();
    assert!(expected.len() >= 6 && got.len() == expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got.len(), expected.len());
        let apart = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= 1e-4, "{apart} apart");
    }
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
