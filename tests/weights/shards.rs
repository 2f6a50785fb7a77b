//! Sharded weights: the index is a file like any other, and believed as little.

use std::fs;

use candle_core::{DType, Device};
use millpond::weights::{JsonError, ModelFolder, ShardError, WeightStore, WeightsError};
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::{f32_bytes, file_of, folder_of};

const INDEX: &str = "model.safetensors.index.json";
const ONE: &str = "model-00001-of-00002.safetensors";
const TWO: &str = "model-00002-of-00002.safetensors";

fn shard(name: &str, value: f32) -> Vec<u8> {
    file_of(&[(name, "F32", &[1], f32_bytes(&[value]))])
}

fn sharded(index: &serde_json::Value) -> TempDir {
    folder_of(&[(INDEX, index.to_string().as_bytes()), (ONE, &shard("a", 1.0)), (TWO, &shard("b", 2.0))])
}

fn refusal(folder: &TempDir) -> WeightsError {
    ModelFolder::local(folder.path()).unwrap().weight_files().unwrap_err()
}

#[test]
fn shards_load_as_one_model() {
    let folder = sharded(&json!({ "metadata": { "total_size": 8 }, "weight_map": { "a": ONE, "b": TWO } }));
    let files = ModelFolder::local(folder.path()).unwrap().weight_files().unwrap();
    let store = WeightStore::open(&files, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(store.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(store.tensor("b", 1).unwrap().to_vec1::<f32>().unwrap(), [2.0]);
    assert_eq!(files.paths().count(), 2);
}

#[test]
fn shard_names_cannot_leave_the_folder() {
    let outside = folder_of(&[("evil.safetensors", &shard("a", 6.0))]);
    let absolute = outside.path().join("evil.safetensors").to_str().unwrap().to_owned();
    for name in [
        "../evil.safetensors",
        "../../evil.safetensors",
        "sub/evil.safetensors",
        "./x.safetensors",
        "..",
        "",
        ".safetensors/..",
        "..\\evil.safetensors",
        "C:evil.safetensors",
        "x\0.safetensors",
        "nul.safetensors",
        "model.bin",
        "config.json",
        &absolute,
    ] {
        let error = refusal(&sharded(&json!({ "weight_map": { "a": name, "b": TWO } })));
        assert!(matches!(error, WeightsError::Shard(ShardError::BadName { .. })), "{name:?}: {error}");
    }
}

#[test]
fn an_index_that_does_not_fit_its_shards_is_refused() {
    let missing = refusal(&sharded(&json!({ "weight_map": { "a": ONE, "b": "model-3.safetensors" } })));
    assert!(
        matches!(&missing, WeightsError::Shard(ShardError::Missing { shard, .. }) if shard == "model-3.safetensors")
    );
    let swapped = refusal(&sharded(&json!({ "weight_map": { "a": TWO, "b": ONE } })));
    assert!(matches!(swapped, WeightsError::Shard(ShardError::NotInShard { .. })), "{swapped}");
    let absent = refusal(&sharded(&json!({ "weight_map": { "a": ONE, "b": TWO, "c": ONE } })));
    assert!(
        matches!(&absent, WeightsError::Shard(ShardError::NotInShard { tensor, .. }) if tensor == "c"),
        "{absent}"
    );
    let empty = refusal(&sharded(&json!({ "weight_map": {} })));
    assert!(matches!(empty, WeightsError::Shard(ShardError::Empty { .. })), "{empty}");
    let many: serde_json::Map<_, _> =
        (0..2000).map(|i| (i.to_string(), json!(format!("{i}.safetensors")))).collect();
    let many = refusal(&sharded(&json!({ "weight_map": many })));
    assert!(matches!(many, WeightsError::Shard(ShardError::TooMany { shards: 2000, .. })), "{many}");
    for index in [json!([]), json!({}), json!({ "weight_map": [] }), json!({ "weight_map": { "a": 1 } })] {
        let error = refusal(&sharded(&index));
        assert!(matches!(error, WeightsError::Json(JsonError::Parse { .. })), "{index}: {error}");
    }
}

#[test]
fn one_tensor_in_two_shards_is_refused() {
    let folder = sharded(&json!({ "weight_map": { "a": ONE, "b": TWO } }));
    let both = file_of(&[("a", "F32", &[1], f32_bytes(&[9.0])), ("b", "F32", &[1], f32_bytes(&[2.0]))]);
    fs::write(folder.path().join(TWO), both).unwrap();
    let error = refusal(&folder);
    assert!(
        matches!(&error, WeightsError::Shard(ShardError::Duplicate { tensor, .. }) if tensor == "a"),
        "{error}"
    );
}

#[test]
fn a_hostile_shard_is_named() {
    let folder = sharded(&json!({ "weight_map": { "a": ONE, "b": TWO } }));
    fs::write(folder.path().join(TWO), b"\xff\xff\xff\xff\xff\xff\xff\xff{}").unwrap();
    let error = refusal(&folder);
    assert!(matches!(&error, WeightsError::Invalid { file, .. } if file.ends_with(TWO)), "{error}");
}
