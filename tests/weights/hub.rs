//! Models come from the hub once, whole, and are found again without it.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use candle_core::{DType, Device};
use millpond::ByteSize;
use millpond::weights::hub::{Access, HubConfig, HubToken, Retry};
use millpond::weights::{
    DownloadProgress, Hub, HubError, ModelFolder, ModelId, ModelSource, WeightStore, WeightsError,
};
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::{f32_bytes, file_of, tiny_weights};
use crate::hub_server::{COMMIT, Repository, Server};

pub(crate) fn id() -> ModelId {
    "org/tiny".parse().unwrap()
}

/// A hub at `server` that retries at once.
pub(crate) fn config(server: &Server, cache: &TempDir) -> HubConfig {
    let mut config = HubConfig::new(cache.path());
    config.endpoint = server.url();
    config.retry = Retry { attempts: 3, first_wait: Duration::ZERO, max_wait: Duration::ZERO };
    config.stall_timeout = Duration::from_secs(20);
    config
}

pub(crate) fn fetch(config: HubConfig) -> Result<ModelFolder, WeightsError> {
    Hub::new(config).fetch(&id(), &())
}

pub(crate) fn tiny() -> Repository {
    Repository::of(&[
        (".gitattributes", b""),
        ("README.md", b"# tiny"),
        ("config.json", br#"{"hidden_size":2}"#),
        ("model.safetensors", &tiny_weights()),
        ("modeling_tiny.py", b"import os"),
        ("pytorch_model.bin", b"\x80\x02"),
        ("tokenizer.json", b"{}"),
    ])
}

pub(crate) fn serve(repository: Repository) -> Server {
    Server::start(move |request| repository.reply(request))
}

/// Every path under the cache, sorted.
fn tree(cache: &TempDir) -> Vec<String> {
    fn walk(root: &PathBuf, dir: &PathBuf, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                walk(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    let root = cache.path().to_owned();
    walk(&root, &root, &mut found);
    found.sort();
    found
}

#[test]
fn a_model_is_fetched_whole_and_loads() {
    let (server, cache) = (serve(tiny()), TempDir::new().unwrap());
    let source: ModelSource = "org/tiny".parse().unwrap();
    let folder = source.resolve_with(&Hub::new(config(&server, &cache)), &()).unwrap().folder().unwrap();
    assert_eq!(folder.label(), "org/tiny");
    assert_eq!(folder.read_json::<serde_json::Value>("config.json").unwrap().unwrap()["hidden_size"], 2);
    let files = folder.weight_files().unwrap();
    let store = WeightStore::open(&files, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(store.tensor("pooler.bias", 2).unwrap().to_vec1::<f32>().unwrap(), [-1.0, 0.5]);
    for never in ["README.md", "modeling_tiny.py", "pytorch_model.bin"] {
        assert_eq!(server.count(never), 0, "{never} must not be downloaded");
    }
}

#[test]
fn the_cache_has_the_layout_python_reads() {
    let (server, cache) = (serve(tiny()), TempDir::new().unwrap());
    fetch(config(&server, &cache)).unwrap();
    let repo = cache.path().join("models--org--tiny");
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    let link = repo.join("snapshots").join(COMMIT).join("config.json");
    #[cfg(unix)]
    assert!(fs::read_link(&link).unwrap().starts_with("../../blobs"));
    assert_eq!(fs::read(&link).unwrap(), br#"{"hidden_size":2}"#);
    assert!(!tree(&cache).iter().any(|path| path.contains("incomplete")), "{:?}", tree(&cache));
    let cached =
        hf_hub::Cache::new(cache.path().to_owned()).model("org/tiny".to_owned()).get("model.safetensors");
    assert!(cached.is_some(), "hf-hub must find what was fetched");
}

#[test]
fn the_second_time_needs_no_download_and_offline_needs_no_network() {
    let (server, cache) = (serve(tiny()), TempDir::new().unwrap());
    let first = fetch(config(&server, &cache)).unwrap();
    fetch(config(&server, &cache)).unwrap();
    assert_eq!(server.count("model.safetensors"), 1);
    let mut offline = config(&server, &cache);
    offline.access = Access::CacheOnly;
    let asked = server.asked().len();
    let again = fetch(offline.clone()).unwrap();
    assert_eq!((again.path(), server.asked().len()), (first.path(), asked));
    // By commit as well, and nothing that is not there.
    let at = |id: &str| Hub::new(offline.clone()).fetch(&id.parse().unwrap(), &());
    assert_eq!(at(&format!("org/tiny@{COMMIT}")).unwrap().path(), first.path());
    assert!(matches!(at("org/tiny@v2"), Err(WeightsError::Hub(HubError::Offline { .. }))));
    assert!(matches!(at("org/other"), Err(WeightsError::Hub(HubError::Offline { .. }))));
    fs::remove_file(first.path().join("model.safetensors")).unwrap();
    let missing = at("org/tiny").unwrap_err();
    assert!(missing.to_string().contains("(*.safetensors is missing)"), "{missing}");
}

#[cfg(unix)]
#[test]
fn a_cache_that_someone_tidied_is_repaired() {
    let (server, cache) = (serve(tiny()), TempDir::new().unwrap());
    let folder = fetch(config(&server, &cache)).unwrap();
    let link = folder.path().join("model.safetensors");
    fs::remove_file(link.canonicalize().unwrap()).unwrap();
    assert!(!link.exists() && link.is_symlink());
    assert!(fetch(config(&server, &cache)).unwrap().weight_files().is_ok());
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("../../blobs/deleted", &link).unwrap();
    assert!(fetch(config(&server, &cache)).unwrap().weight_files().is_ok());
    assert_eq!(server.count("model.safetensors"), 3);
}

#[test]
fn an_unreachable_hub_leaves_the_cache_in_service() {
    let (server, cache) = (serve(tiny()), TempDir::new().unwrap());
    let config = config(&server, &cache);
    fetch(config.clone()).unwrap();
    drop(server);
    assert!(fetch(config.clone()).is_ok());
    let error = Hub::new(config).fetch(&"org/other".parse().unwrap(), &()).unwrap_err();
    assert!(matches!(&error, WeightsError::Hub(HubError::Unreachable { attempts: 3, .. })), "{error}");
}

#[test]
fn shards_and_module_folders_come_too() {
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let index = json!({ "weight_map": { "a": one, "b": two } }).to_string();
    let modules = json!([
        { "idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer" },
        { "idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
        { "idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense" },
        { "idx": 3, "name": "3", "path": "../3_Evil", "type": "x" },
    ]);
    let dense = file_of(&[("linear.bias", "F32", &[1], f32_bytes(&[3.0]))]);
    let server = serve(Repository::of(&[
        ("config.json", b"{}"),
        ("modules.json", modules.to_string().as_bytes()),
        ("1_Pooling/config.json", br#"{"pooling_mode_mean_tokens":true}"#),
        ("2_Dense/config.json", b"{}"),
        ("2_Dense/model.safetensors", &dense),
        ("onnx/model.onnx", b""),
        ("model.safetensors.index.json", index.as_bytes()),
        (one, &file_of(&[("a", "F32", &[1], f32_bytes(&[1.0]))])),
        (two, &file_of(&[("b", "F32", &[1], f32_bytes(&[2.0]))])),
    ]));
    let cache = TempDir::new().unwrap();
    let folder = fetch(config(&server, &cache)).unwrap();
    let load = |folder: &ModelFolder| {
        WeightStore::open(&folder.weight_files().unwrap(), DType::F32, &Device::Cpu).unwrap()
    };
    assert_eq!(load(&folder).names().collect::<Vec<_>>(), ["a", "b"]);
    assert!(folder.file("1_Pooling/config.json").is_some());
    assert!(load(&folder.subfolder("2_Dense").unwrap()).contains("linear.bias"));
    assert_eq!(server.count(".onnx"), 0);
}

/// As pipelines are published: with a checker of pictures that nobody runs, and all of it once more in one file.
#[test]
fn of_a_pipeline_only_what_is_served_comes() {
    let part = |name: &str| json!(["diffusers", name]);
    let index = json!({
        "_class_name": "StableDiffusionPipeline",
        "unet": part("UNet2DConditionModel"),
        "safety_checker": part("StableDiffusionSafetyChecker"),
        "image_encoder": [null, null],
    });
    let weights = tiny_weights();
    let server = serve(Repository::of(&[
        ("model_index.json", index.to_string().as_bytes()),
        ("sd_tiny.safetensors", &weights),
        ("unet/config.json", b"{}"),
        ("unet/diffusion_pytorch_model.safetensors", &weights),
        ("unet/diffusion_pytorch_model.fp16.safetensors", &weights),
        ("safety_checker/config.json", b"{}"),
        ("safety_checker/model.safetensors", &weights),
    ]));
    let cache = TempDir::new().unwrap();
    let folder = fetch(config(&server, &cache)).unwrap();
    assert!(folder.subfolder("unet").unwrap().weight_files().is_ok());
    for never in
        ["sd_tiny.safetensors", "fp16.safetensors", "/model.safetensors", "safety_checker/config.json"]
    {
        assert_eq!(server.count(never), 0, "{never} must not be downloaded");
    }
    let bytes = index.to_string().len() + 2 + weights.len();
    assert_eq!(folder.size_on_disk(), ByteSize::new(bytes as u64), "links count what they lead to");
    let hub = Hub::new(config(&server, &cache));
    drop(server);
    assert_eq!(hub.cached(&id()).unwrap().path(), folder.path());
    assert!(hub.cached(&"org/other".parse().unwrap()).is_none());
}

/// Of some parts the weights were deleted, or another program never fetched them.
#[test]
fn half_a_pipeline_is_not_in_the_cache() {
    let index = json!({
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    });
    let weights = tiny_weights();
    let server = serve(Repository::of(&[
        ("model_index.json", index.to_string().as_bytes()),
        ("scheduler/scheduler_config.json", b"{}"),
        ("unet/config.json", b"{}"),
        ("unet/diffusion_pytorch_model.safetensors", &weights),
        ("vae/config.json", b"{}"),
        ("vae/diffusion_pytorch_model.safetensors", &weights),
    ]));
    let cache = TempDir::new().unwrap();
    let folder = fetch(config(&server, &cache)).unwrap();
    let mut offline = config(&server, &cache);
    offline.access = Access::CacheOnly;
    let hub = Hub::new(offline);
    let halves: [fn(PathBuf); 2] = [
        |part| fs::remove_file(part.join("diffusion_pytorch_model.safetensors")).unwrap(),
        |part| fs::remove_dir_all(part).unwrap(),
    ];
    for halve in halves {
        assert!(hub.cached(&id()).is_some(), "what has no weights needs none");
        halve(folder.path().join("vae"));
        assert!(hub.cached(&id()).is_none());
        let refused = hub.fetch(&id(), &()).unwrap_err().to_string();
        assert!(refused.contains("(vae/*.safetensors is missing)"), "{refused}");
        fetch(config(&server, &cache)).unwrap();
    }
}

#[test]
fn eight_threads_download_each_file_once() {
    let (server, cache) = (serve(tiny()), TempDir::new().unwrap());
    let hub = Hub::new(config(&server, &cache));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| hub.fetch(&id(), &()).unwrap())).collect();
        for thread in threads {
            assert!(thread.join().unwrap().weight_files().is_ok());
        }
    });
    for file in ["/config.json", "/model.safetensors", "/tokenizer.json"] {
        assert_eq!(server.count(file), 1, "{file}");
    }
}

#[test]
fn two_processes_worth_of_hubs_download_each_blob_once_or_agree() {
    let (server, cache) = (serve(tiny()), TempDir::new().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fetch(config(&server, &cache)).unwrap().weight_files().unwrap());
        }
    });
    let weights = fs::read(fetch(config(&server, &cache)).unwrap().path().join("model.safetensors")).unwrap();
    assert_eq!(weights, tiny_weights());
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl DownloadProgress for Heard {
    fn started(&self, file: &str, total: ByteSize) {
        self.0.lock().unwrap().push(format!("started {file} {}", total.bytes()));
    }
    fn advanced(&self, file: &str, done: ByteSize) {
        self.0.lock().unwrap().push(format!("advanced {file} {}", done.bytes()));
    }
    fn finished(&self, file: &str) {
        self.0.lock().unwrap().push(format!("finished {file}"));
    }
}

#[test]
fn progress_is_told_from_start_to_finish() {
    let (server, cache) = (serve(tiny()), TempDir::new().unwrap());
    let heard = Heard::default();
    Hub::new(config(&server, &cache)).fetch(&id(), &heard).unwrap();
    let heard = heard.0.into_inner().unwrap();
    let of_weights: Vec<&String> = heard.iter().filter(|line| line.contains("model.safetensors")).collect();
    let len = tiny_weights().len();
    assert_eq!(of_weights[0], &format!("started model.safetensors {len}"));
    assert_eq!(of_weights[of_weights.len() - 2], &format!("advanced model.safetensors {len}"));
    assert_eq!(of_weights[of_weights.len() - 1], "finished model.safetensors");
}

#[test]
fn the_environment_is_read_as_python_reads_it() {
    let config = |vars: &[(&str, &str)]| {
        HubConfig::from_vars(|name| {
            let found = vars.iter().find(|(known, _)| *known == name);
            // No test may see this machine's own token.
            let default = (name == "HF_TOKEN_PATH").then(|| "/no/such/token".to_owned());
            found.map(|(_, value)| (*value).to_owned()).or(default)
        })
    };
    assert!(config(&[]).cache_dir.ends_with(".cache/huggingface/hub"));
    assert_eq!(config(&[("HF_HOME", "/h")]).cache_dir, PathBuf::from("/h/hub"));
    assert_eq!(config(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]).cache_dir, PathBuf::from("/c"));
    assert_eq!(config(&[("XDG_CACHE_HOME", "/x")]).cache_dir, PathBuf::from("/x/huggingface/hub"));
    assert_eq!(config(&[("HF_ENDPOINT", "http://mirror")]).endpoint, "http://mirror");
    assert_eq!(config(&[("HF_ENDPOINT", "")]).endpoint, "https://huggingface.co");
    assert_eq!(config(&[("HF_TOKEN", " hf_x\n")]).token, HubToken::new("hf_x"));
    assert_eq!(config(&[("HF_TOKEN", "a\r\nHost: b")]).token, None, "a token must not smuggle headers");
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("token"), "hf_file\n").unwrap();
    let path = home.path().join("token").to_str().unwrap().to_owned();
    assert_eq!(config(&[("HF_TOKEN_PATH", &path)]).token, HubToken::new("hf_file"));
    for (value, access) in [("1", Access::CacheOnly), ("TRUE", Access::CacheOnly), ("0", Access::Online)] {
        assert_eq!(config(&[("HF_HUB_OFFLINE", value)]).access, access);
    }
    assert!(!format!("{:?}", config(&[("HF_TOKEN", "hf_secret")])).contains("secret"));
}
