//! From checked files to tensors.

use std::fs;

use candle_core::{DType, Device, Tensor};
use millpond::ByteSize;
use millpond::weights::{ModelFolder, WeightFiles, WeightStore, WeightsError};
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::{f32_bytes, file_of, folder_of, raw_file, tiny_weights, u16_bytes};

fn files_of(weights: &[u8]) -> (TempDir, WeightFiles) {
    let folder = folder_of(&[("model.safetensors", weights)]);
    let files = ModelFolder::local(folder.path()).unwrap().weight_files().unwrap();
    (folder, files)
}

fn load(weights: &[u8], dtype: DType) -> WeightStore {
    let (_folder, files) = files_of(weights);
    WeightStore::open(&files, dtype, &Device::Cpu).unwrap()
}

#[test]
fn every_float_format_loads_as_f32_exactly() {
    let expected = [1.0f32, -2.0, 0.0, 0.5];
    let store = load(
        &file_of(&[
            ("f32", "F32", &[4], f32_bytes(&expected)),
            ("f16", "F16", &[4], u16_bytes(&[0x3C00, 0xC000, 0x0000, 0x3800])),
            ("bf16", "BF16", &[4], u16_bytes(&[0x3F80, 0xC000, 0x0000, 0x3F00])),
            ("f64", "F64", &[4], expected.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect()),
            ("f16 limits", "F16", &[2], u16_bytes(&[0x7BFF, 0x0001])),
            ("f16 infinity", "F16", &[1], u16_bytes(&[0x7C00])),
        ]),
        DType::F32,
    );
    for name in ["f32", "f16", "bf16", "f64"] {
        assert_eq!(store.tensor(name, 4).unwrap().to_vec1::<f32>().unwrap(), expected, "{name}");
    }
    assert_eq!(store.tensor("f16 limits", 2).unwrap().to_vec1::<f32>().unwrap(), [65504.0, 2f32.powi(-24)]);
    assert_eq!(store.tensor("f16 infinity", 1).unwrap().to_vec1::<f32>().unwrap(), [f32::INFINITY]);
}

#[test]
fn weights_load_as_what_was_asked_for() {
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        let store = load(&tiny_weights(), dtype);
        let tensor = store.tensor("embeddings.weight", (2, 2)).unwrap();
        assert_eq!(tensor.dtype(), dtype);
        let back = tensor.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(back, [[1.0, 2.0], [3.0, 4.0]], "{dtype:?}");
    }
    let (_folder, files) = files_of(&tiny_weights());
    let refused = WeightStore::open(&files, DType::U8, &Device::Cpu);
    assert!(matches!(refused, Err(WeightsError::UnsupportedTarget(DType::U8))));
}

#[test]
fn integers_and_empty_tensors_stay_what_they_are() {
    let store = load(
        &file_of(&[
            ("ids", "I64", &[2], [3i64, -4].iter().flat_map(|v| v.to_le_bytes()).collect()),
            ("bytes", "U8", &[3], vec![0, 127, 255]),
            ("empty", "F32", &[0, 7], vec![]),
            ("scalar", "F32", &[], f32_bytes(&[2.5])),
        ]),
        DType::F16,
    );
    assert_eq!(store.tensor("ids", 2).unwrap().to_vec1::<i64>().unwrap(), [3, -4]);
    assert_eq!(store.tensor("bytes", 3).unwrap().to_vec1::<u8>().unwrap(), [0, 127, 255]);
    assert_eq!(store.tensor("empty", (0, 7)).unwrap().elem_count(), 0);
    assert_eq!(store.tensor("scalar", ()).unwrap().dtype(), DType::F16);
}

#[test]
fn tensors_longer_than_a_piece_arrive_whole() {
    let values: Vec<f32> = (0..100_003u32).map(|i| i as f32 - 5e4).collect();
    let halves: Vec<u16> = (0..100_003u32).map(|i| (i % 0x7C00) as u16).collect();
    let len = values.len();
    let store = load(
        &file_of(&[("f32", "F32", &[len], f32_bytes(&values)), ("f16", "F16", &[len], u16_bytes(&halves))]),
        DType::F32,
    );
    assert_eq!(store.tensor("f32", len).unwrap().to_vec1::<f32>().unwrap(), values);
    let reference = Tensor::from_raw_buffer(&u16_bytes(&halves), DType::F16, &[len], &Device::Cpu).unwrap();
    let reference = reference.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(store.tensor("f16", len).unwrap().to_vec1::<f32>().unwrap(), reference);
}

#[test]
fn several_threads_may_read_at_once() {
    let values = |from: u32| -> Vec<f32> { (from..from + 70_000).map(|i| i as f32).collect() };
    let tensor = |name, from| (name, "F32", &[70_000usize][..], f32_bytes(&values(from)));
    let store = load(&file_of(&[tensor("a", 0), tensor("b", 70_000)]), DType::F32);
    std::thread::scope(|scope| {
        for (name, from) in [("a", 0), ("b", 70_000), ("a", 0), ("b", 70_000)] {
            let (store, expected) = (&store, values(from));
            scope.spawn(move || {
                assert_eq!(store.tensor(name, 70_000).unwrap().to_vec1::<f32>().unwrap(), expected, "{name}");
            });
        }
    });
}

#[test]
fn the_footprint_is_known_before_anything_is_read() {
    let weights = file_of(&[
        ("a", "BF16", &[100, 3], vec![0; 600]),
        ("ids", "I64", &[4], vec![0; 32]),
        ("mask", "BOOL", &[5], vec![0; 5]),
    ]);
    let (_folder, files) = files_of(&weights);
    assert_eq!(WeightStore::predicted_bytes(&files, DType::F32), ByteSize::new(300 * 4 + 32));
    assert_eq!(files.predicted_bytes(DType::BF16), ByteSize::new(300 * 2 + 32));
    assert_eq!(files.bytes_on_disk(), ByteSize::new(weights.len() as u64));
    let store = WeightStore::open(&files, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(store.bytes(), files.predicted_bytes(DType::F32));
}

#[test]
fn a_wrong_question_gets_a_helpful_answer() {
    let weights = file_of(&[
        ("encoder.layer.0.attention.query.weight", "F32", &[2, 2], vec![0; 16]),
        ("mask", "BOOL", &[5], vec![0; 5]),
    ]);
    let store = load(&weights, DType::F32);
    let missing = store.tensor("encoder.layer.0.attention.querry.weight", (2, 2)).unwrap_err();
    assert!(
        matches!(&missing, WeightsError::MissingTensor { near, .. } if near == &["encoder.layer.0.attention.query.weight"])
    );
    assert!(
        missing.to_string().contains("the nearest are \"encoder.layer.0.attention.query.weight\""),
        "{missing}"
    );
    let far = store.tensor("visual.proj", 1).unwrap_err();
    assert!(matches!(far, WeightsError::MissingTensor { near, .. } if near.is_empty()));
    let wrong = store.tensor("encoder.layer.0.attention.query.weight", (2, 3)).unwrap_err();
    assert!(
        matches!(&wrong, WeightsError::WrongShape { expected, found, .. } if expected.dims() == [2, 3] && found.dims() == [2, 2])
    );
    let unsupported = store.tensor("mask", 5).unwrap_err();
    assert!(matches!(unsupported, WeightsError::UnsupportedDtype { .. }), "{unsupported}");
    assert!(!store.contains("mask") && store.contains("encoder.layer.0.attention.query.weight"));
}

#[test]
fn a_file_that_changed_since_it_was_checked_is_refused() {
    let (folder, files) = files_of(&tiny_weights());
    let path = folder.path().join("model.safetensors");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(64).unwrap();
    let error = WeightStore::open(&files, DType::F32, &Device::Cpu).unwrap_err();
    assert!(matches!(error, WeightsError::Changed { found: 64, .. }), "{error}");
    fs::remove_file(&path).unwrap();
    let error = WeightStore::open(&files, DType::F32, &Device::Cpu).unwrap_err();
    assert!(matches!(error, WeightsError::Read { .. }), "{error}");
}

/// Counts this test's own files only: other tests run beside it.
#[cfg(target_os = "linux")]
#[test]
fn a_thousand_failed_loads_leave_no_file_open() {
    let (one, two) = ("1.safetensors", "2.safetensors");
    let index = json!({ "weight_map": { "a": one, "b": two } }).to_string();
    let folder = folder_of(&[
        ("model.safetensors.index.json", index.as_bytes()),
        (one, &file_of(&[("a", "F32", &[1], vec![0; 4])])),
        (two, &file_of(&[("b", "F32", &[64], vec![0; 256])])),
    ]);
    let files = ModelFolder::local(folder.path()).unwrap().weight_files().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let open = || {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap();
        descriptors
            .filter(|d| fs::read_link(d.as_ref().unwrap().path()).is_ok_and(|to| to.starts_with(&root)))
            .count()
    };
    let held = fs::File::open(folder.path().join(two)).unwrap();
    assert_eq!(open(), 1, "the count must see an open file");
    drop(held);
    fs::OpenOptions::new().write(true).open(folder.path().join(two)).unwrap().set_len(100).unwrap();
    for _ in 0..1000 {
        assert!(matches!(
            WeightStore::open(&files, DType::F32, &Device::Cpu),
            Err(WeightsError::Changed { .. })
        ));
        assert!(ModelFolder::local(folder.path()).unwrap().weight_files().is_err());
    }
    assert_eq!(open(), 0, "a failed load must close what it opened");
}

/// The peak is measured in a process that does nothing else: this test runs itself again.
#[cfg(target_os = "linux")]
#[test]
fn loading_needs_little_more_than_the_weights() {
    const FOLDER: &str = "MILLPOND_TEST_PEAK_FOLDER";
    let bytes = 96 << 20;
    if let Some(folder) = std::env::var_os(FOLDER) {
        let resident = |field: &str| -> u64 {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with(field)).unwrap().to_owned();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
        };
        let files = ModelFolder::local(folder).unwrap().weight_files().unwrap();
        let before = resident("VmRSS");
        let store = WeightStore::open(&files, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(store.bytes(), ByteSize::new(2 * bytes));
        let tensor = store.tensor_of_any_shape("a").unwrap();
        assert_eq!(tensor.elem_count() as u64 * 4, 2 * bytes);
        let peak = resident("VmHWM") - before;
        assert!(peak <= 2 * bytes * 13 / 10, "peak of {peak} bytes for {} bytes of weights", 2 * bytes);
        assert!(peak >= 2 * bytes, "the measurement must see the weights");
        return;
    }
    let len = bytes as usize / 2;
    let (folder, _) = files_of(&file_of(&[("a", "BF16", &[len], vec![1; bytes as usize])]));
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::loading_needs_little_more_than_the_weights"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
}

/// Sparse: 4 TiB that cost no disk. Says nothing on a system that promises memory it does not have.
#[test]
fn a_claim_larger_than_memory_is_an_error_not_an_abort() {
    let bytes = 1usize << 42;
    if std::hint::black_box(Vec::<u8>::new()).try_reserve_exact(bytes).is_ok() {
        return;
    }
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{bytes}]}}}}"#, bytes / 4);
    let folder = folder_of(&[("model.safetensors", &raw_file(&header, 0))]);
    let file = fs::OpenOptions::new().write(true).open(folder.path().join("model.safetensors")).unwrap();
    file.set_len((8 + header.len() + bytes) as u64).unwrap();
    let files = ModelFolder::local(folder.path()).unwrap().weight_files().unwrap();
    let error = WeightStore::open(&files, DType::F32, &Device::Cpu).unwrap_err();
    assert!(
        matches!(error, WeightsError::OutOfMemory { needed, .. } if needed.bytes() == bytes as u64),
        "{error}"
    );
}
