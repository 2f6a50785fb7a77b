//! How fast image embedding is: 32 pictures through a network of the shape of CLIP ViT-B/32, with random weights,
//! and how much of that is preparing them.

mod support;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use criterion::Criterion;
use millpond::arch::ImagePlan;
use millpond::capability::{EmbedImageRequest, ImageSource};
use millpond::image::Picture;
use millpond::pool::KeyConfig;
use millpond::weights::ModelFolder;
use millpond::{Dtype, Engine, ModelOptions, threads};
use serde_json::json;

use support::{in_turn, median, print_beside, quick};

/// Pictures at once, and their sides.
const BATCH: usize = 32;
const SIDES: [(u32, u32); 2] = [(224, 224), (640, 480)];

/// A vision transformer's shape.
#[derive(Clone, Copy)]
struct Shape {
    width: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    image: usize,
    patch: usize,
    projection: usize,
}

/// That of CLIP ViT-B/32.
const B32: Shape =
    Shape { width: 768, inner: 3072, layers: 12, heads: 12, image: 224, patch: 32, projection: 512 };
const TINY: Shape =
    Shape { width: 64, inner: 128, layers: 2, heads: 2, image: 224, patch: 32, projection: 32 };

impl Shape {
    fn tokens(self) -> usize {
        (self.image / self.patch).pow(2) + 1
    }

    /// How many floating-point operations a picture takes.
    fn operations(self) -> f64 {
        let (width, inner, tokens) = (self.width as f64, self.inner as f64, self.tokens() as f64);
        let layer = 4.0 * width * width + 2.0 * width * inner + 2.0 * tokens * width;
        let patches = (tokens - 1.0) * width * 3.0 * (self.patch * self.patch) as f64;
        2.0 * (self.layers as f64 * tokens * layer + patches + width * self.projection as f64)
    }

    /// A model folder with random weights.
    fn write(self, folder: &Path) {
        let config = json!({
            "model_type": "clip_vision_model", "architectures": ["CLIPVisionModelWithProjection"],
            "hidden_size": self.width, "intermediate_size": self.inner, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "image_size": self.image, "patch_size": self.patch,
            "projection_dim": self.projection, "hidden_act": "quick_gelu",
        });
        let processor = json!({
            "image_processor_type": "CLIPImageProcessor",
            "size": { "shortest_edge": self.image }, "crop_size": self.image,
        });
        std::fs::write(folder.join("config.json"), config.to_string()).expect("a file");
        std::fs::write(folder.join("preprocessor_config.json"), processor.to_string()).expect("a file");
        candle_core::safetensors::save(&self.tensors(), folder.join("model.safetensors")).expect("a file");
    }

    fn tensors(self) -> HashMap<String, Tensor> {
        let Self { width, inner, .. } = self;
        let random = |shape: &[usize]| Tensor::randn(0f32, 0.02, shape, &Device::Cpu).expect("a tensor");
        let mut tensors = HashMap::new();
        let mut put = |name: String, shape: &[usize]| drop(tensors.insert(name, random(shape)));
        let vision = |name: &str| format!("vision_model.{name}");
        put(vision("embeddings.class_embedding"), &[width]);
        put(vision("embeddings.patch_embedding.weight"), &[width, 3, self.patch, self.patch]);
        put(vision("embeddings.position_embedding.weight"), &[self.tokens(), width]);
        put("visual_projection.weight".to_owned(), &[self.projection, width]);
        let mut layer = |name: String, outputs: usize, inputs: Option<usize>| {
            let shape: Vec<_> = std::iter::once(outputs).chain(inputs).collect();
            put(format!("{name}.weight"), &shape);
            put(format!("{name}.bias"), &[outputs]);
        };
        for i in 0..self.layers {
            let inside = |name: &str| vision(&format!("encoder.layers.{i}.{name}"));
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                layer(inside(&format!("self_attn.{name}")), width, Some(width));
            }
            layer(inside("mlp.fc1"), inner, Some(width));
            layer(inside("mlp.fc2"), width, Some(inner));
            layer(inside("layer_norm1"), width, None);
            layer(inside("layer_norm2"), width, None);
        }
        layer(vision("pre_layrnorm"), width, None);
        layer(vision("post_layernorm"), width, None);
        tensors
    }
}

fn pictures(width: u32, height: u32) -> Vec<EmbedImageRequest> {
    let picture = |seed: usize| {
        let mut rgb = vec![0; 3 * (width * height) as usize];
        fastrand::Rng::with_seed(seed as u64).fill(&mut rgb);
        EmbedImageRequest::new(ImageSource::pixels(width, height, rgb))
    };
    (0..BATCH).map(picture).collect()
}

/// Pictures a second over `span`, after one round that does not count.
fn rate(span: Duration, mut once: impl FnMut()) -> f64 {
    once();
    let began = Instant::now();
    let mut done = 0;
    while began.elapsed() < span {
        once();
        done += BATCH;
    }
    done as f64 / began.elapsed().as_secs_f64()
}

fn embed(engine: &Engine, pictures: &[EmbedImageRequest]) {
    let answers = engine.embed_all_images("model", pictures.iter().cloned()).expect("answers");
    assert_eq!(answers.len(), pictures.len());
}

fn engine(folder: &Path, dtype: Dtype) -> Engine {
    let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let engine = Engine::builder().threads_per_worker(cores).build().expect("threads");
    let config = KeyConfig::of(engine.image_embedding().config()).workers(1);
    let folder = ModelFolder::local(folder).expect("a folder");
    engine.add_folder_with("model", folder, config, ModelOptions::default().dtype(dtype)).expect("a model");
    engine.image_embedding().preload("model").expect("it loads");
    engine
}

fn main() {
    if let Err(error) = threads::configure() {
        eprintln!("{error}");
    }
    let (rounds, span) = if quick() { (1, Duration::from_millis(10)) } else { (5, Duration::from_secs(2)) };
    let shape = if quick() { TINY } else { B32 };
    let folder = tempfile::tempdir().expect("a folder");
    shape.write(folder.path());
    let (full, half) = (engine(folder.path(), Dtype::F32), engine(folder.path(), Dtype::Bf16));
    let plan =
        ImagePlan::read(&ModelFolder::local(folder.path()).expect("a folder"), Dtype::F32).expect("a plan");
    for (width, height) in SIDES {
        let requests = pictures(width, height);
        let raw: Vec<_> = requests
            .iter()
            .map(|request| match &request.image {
                ImageSource::Pixels { rgb, .. } => {
                    Picture::new(width, height, rgb.to_vec()).expect("a picture")
                }
                _ => unreachable!("they are pixels"),
            })
            .collect();
        let names = ["f32, 1 worker with all cores", "bf16, 1 worker", "preparing alone, on 1 core"];
        let figures = in_turn(
            rounds,
            &mut [
                (names[0], &mut || rate(span, || embed(&full, &requests))),
                (names[1], &mut || rate(span, || embed(&half, &requests))),
                (names[2], &mut || {
                    rate(span, || raw.iter().for_each(|p| drop(plan.preprocessor().apply(p))))
                }),
            ],
        );
        print_beside(
            &format!("{BATCH} pictures of {width} x {height}"),
            "pictures a second",
            &names,
            &figures,
        );
        let reached = median(figures[0].clone()) * shape.operations() / 1e9;
        println!("{:<44} {reached:>10.1} GFLOP/s", "reached in f32");
    }
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(3));
    let one = &pictures(224, 224)[..1];
    criterion.bench_function("image/one_picture", |b| b.iter(|| embed(&full, one)));
    criterion.final_summary();
}
