//! Drawing through an engine; and folders that are no pipelines.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use millpond::arch::{ArchError, DiffusionPlan};
use millpond::capability::DrawRequest;
use millpond::pool::PoolError;
use millpond::weights::ModelFiles;
use millpond::{Capabilities, Dtype, Engine, Error, ModelOptions};
use serde_json::{Value, json};

use crate::support::{copied, folder, patch};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diffusion").join(name)
}

fn request(seed: u64) -> DrawRequest {
    let mut request = DrawRequest::new("a red circle");
    (request.size, request.steps, request.seed) = (Some((16, 16)), Some(3), Some(seed));
    request
}

#[test]
fn an_engine_draws_many_requests_at_once_and_the_same_as_alone() {
    let engine = Engine::builder().threads_per_worker(NonZeroUsize::MIN).build().unwrap();
    let config = engine.key_config(Capabilities::TextToImage);
    let files = ModelFiles::Folder(folder(&fixture("turbo")));
    let options = ModelOptions::default().dtype(Dtype::F32);
    let does = engine.add_files_with("turbo", files, config, options).unwrap();
    assert_eq!(does, Capabilities::TextToImage);
    let tickets: Vec<_> =
        (0..20).map(|seed| engine.text_to_image().submit("turbo", request(seed)).unwrap()).collect();
    let together: Vec<_> = tickets.into_iter().map(|ticket| ticket.wait().unwrap()).collect();
    for (seed, drawing) in together.iter().enumerate() {
        assert_eq!(drawing.seed, seed as u64);
        assert_eq!(&engine.draw("turbo", request(seed as u64)).unwrap(), drawing);
    }
    assert_ne!(together[0].pictures, together[1].pictures);
    let mut wrong = request(0);
    wrong.size = Some((15, 16));
    let error = engine.draw("turbo", wrong).unwrap_err();
    assert!(matches!(error, Error::Pool(PoolError::InvalidRequest { .. })), "{error}");
}

#[test]
fn parts_that_are_missing_or_do_not_go_together_are_refused_by_name() {
    let refused = |name: &str, change: &dyn Fn(&Path), word: &str| {
        let copy = copied(&fixture(name));
        change(copy.path());
        let error = DiffusionPlan::read(&folder(copy.path()), Dtype::F32).unwrap_err();
        assert!(error.to_string().contains(word), "{name}: {error}");
        error
    };
    let part = |part: &'static str, field: &'static str, value: Value| {
        move |path: &Path| patch(&path.join(part), "config.json", field, value.clone())
    };
    let index = |field: &'static str, value: Value| {
        move |path: &Path| patch(path, "model_index.json", field, value.clone())
    };
    let gone = |part: &'static str| move |path: &Path| std::fs::remove_dir_all(path.join(part)).unwrap();
    for part in ["unet", "vae", "scheduler", "tokenizer", "text_encoder"] {
        let error = refused("sd1", &gone(part), part);
        assert!(matches!(error, ArchError::MissingFile { .. }), "{error}");
    }
    refused("sd1", &index("_class_name", json!("KandinskyPipeline")), "KandinskyPipeline");
    refused("sd1", &index("_class_name", json!("StableDiffusionXLPipeline")), "addition_embed_type");
    refused("sd1", &index("text_encoder", json!(["transformers", "BertModel"])), "BertModel");
    refused("sd1", &index("text_encoder", json!([null, null])), "text encoders");
    refused("sd1", &part("vae", "latent_channels", json!(8)), "latent_channels");
    refused("sd1", &part("unet", "cross_attention_dim", json!(40)), "hidden_size");
    refused("sdxl", &part("text_encoder_2", "projection_dim", json!(13)), "projection_dim");
    refused("sd3", &index("text_encoder", json!([null, null])), "text encoders");
    let shorter =
        |path: &Path| patch(&path.join("tokenizer_2"), "tokenizer_config.json", "model_max_length", json!(9));
    refused("sdxl", &shorter, "model_max_length");
    refused("sd3", &shorter, "model_max_length");
    refused("flux_dev", &part("transformer", "pooled_projection_dim", json!(7)), "projection_dim");
    let schedule = |path: &Path| {
        let ddim = json!({ "_class_name": "DDIMScheduler" }).to_string();
        std::fs::write(path.join("scheduler/scheduler_config.json"), ddim).unwrap();
    };
    refused("flux_dev", &schedule, "flux");
}

#[test]
fn what_a_request_leaves_open_is_what_the_files_say() {
    let plan = |name: &str| DiffusionPlan::read(&folder(&fixture(name)), Dtype::F32).unwrap();
    let of = |name: &str| (plan(name).default_steps(), plan(name).default_guidance());
    let expected = [
        ("sd1", (50, 7.5)),
        ("turbo", (4, 0.0)),
        ("lcm", (4, 8.5)),
        ("sdxl", (50, 5.0)),
        ("sd3", (28, 7.0)),
        ("flux_dev", (28, 3.5)),
        ("flux_schnell", (4, 0.0)),
    ];
    for (name, defaults) in expected {
        assert_eq!(of(name), defaults, "{name}");
        let footprint = plan(name).footprint(NonZeroUsize::MIN).unwrap();
        let disk: u64 =
            plan(name).parts().unwrap().iter().map(|(_, files)| files.bytes_on_disk().bytes()).sum();
        // f16 becomes f32, and the half of the autoencoder that reads pictures stays on disk.
        assert!((disk..=2 * disk).contains(&footprint.weights.bytes()), "{name}: {footprint:?}");
    }
}

#[test]
fn requests_that_ask_in_vain_or_for_too_much_to_be_shown_are_refused() {
    let plan = |name: &str| DiffusionPlan::read(&folder(&fixture(name)), Dtype::F32).unwrap();
    let mut skips = request(0);
    skips.clip_skip = 1;
    assert_eq!(plan("sd1").validate(&skips), Ok(()));
    assert_eq!(plan("flux_dev").validate(&skips).unwrap_err().field, "clip_skip");
    // A picture of 512 x 512 has 3/4 of a MiB.
    let mut shows = request(0);
    (shows.size, shows.n, shows.steps) = (Some((512, 512)), 16, Some(84));
    let answers = [3, 4, 100].map(|every| {
        shows.preview_every = Some(every);
        plan("sd1").validate(&shows).map_err(|error| error.field)
    });
    assert_eq!(answers, [Err("preview_every"), Ok(()), Ok(())]);
}
