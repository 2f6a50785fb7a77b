//! What is in a GGUF file, against the reference implementations.

use std::fs;

use millpond::ByteSize;
use millpond::weights::gguf::{GgmlType, Quantization, Texts, quantize_rows};
use millpond::weights::{GgufError, GgufFile};

use crate::gguf_fixture::{Written, fixture};

fn floats(name: &str) -> Vec<f32> {
    let bytes = fs::read(fixture(name)).unwrap();
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

#[test]
fn every_format_reads_as_the_package_gguf_reads_it() {
    let file = GgufFile::open(fixture("blocks.gguf")).unwrap();
    let golden = floats("blocks.f32");
    let formats = ["BF16", "F16", "F32", "Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0"];
    assert_eq!(golden.len(), formats.len() * 512);
    for (name, golden) in formats.iter().zip(golden.chunks_exact(512)) {
        let tensor = file.tensor(&name.to_lowercase()).unwrap();
        assert_eq!((tensor.stored.to_string().as_str(), tensor.shape.as_slice()), (*name, &[2, 256][..]));
        let numbers = file.read_f32(&tensor.name, (2, 256)).unwrap();
        let same = numbers.iter().zip(golden).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{name} differs: {:?} is not {:?}", &numbers[..8], &golden[..8]);
        let raw = file.read_raw(&tensor.name).unwrap();
        assert_eq!(ByteSize::new(raw.len() as u64), tensor.bytes(), "{name}");
        assert_eq!(raw.len(), 2 * tensor.row_bytes().unwrap(), "{name}");
        assert_eq!(tensor.bytes_as_f32(), ByteSize::new(2048));
    }
    for name in ["Q4_1", "Q5_0", "Q5_1", "IQ4_NL"] {
        let error = file.read_f32(&name.to_lowercase(), (2, 256)).unwrap_err();
        assert!(matches!(&error, GgufError::UnsupportedTensor { stored, .. } if stored == name), "{error}");
    }
}

#[test]
fn metadata_of_every_type_read_back() {
    let file = GgufFile::open(fixture("blocks.gguf")).unwrap();
    assert_eq!(file.architecture().unwrap(), "millpond-test");
    for key in ["test.uint8", "test.uint16", "test.uint32", "test.uint64"] {
        assert_eq!(file.require::<u32>(key).unwrap(), 200, "{key}");
        assert_eq!(file.require::<usize>(key).unwrap(), 200, "{key}");
    }
    for key in ["test.int8", "test.int16", "test.int32", "test.int64"] {
        assert_eq!(file.require::<i32>(key).unwrap(), -100, "{key}");
        assert!(matches!(file.require::<u32>(key), Err(GgufError::Metadata { .. })), "{key}");
    }
    assert_eq!(file.get::<f32>("test.float32").unwrap(), Some(0.5));
    assert_eq!(file.get::<f32>("test.float64").unwrap(), Some(-0.25));
    assert!(file.require::<bool>("test.bool").unwrap());
    assert_eq!(file.require::<&str>("test.string").unwrap(), "mill 水車");
    let texts: &Texts = file.require("test.texts").unwrap();
    assert_eq!(texts.iter().collect::<Vec<_>>(), ["", "wheel", "水"]);
    assert_eq!((texts.get(1), texts.get(3)), (Some("wheel"), None));
    assert_eq!(file.require::<Vec<i32>>("test.numbers").unwrap(), [1, -2, 3]);
    assert_eq!(file.require::<Vec<f32>>("test.floats").unwrap(), [0.5, -1.5]);
    assert_eq!(file.get::<u32>("test.absent").unwrap(), None);
    let message = |error: GgufError| error.to_string();
    assert_eq!(
        message(file.require::<u32>("test.absent").unwrap_err()),
        "blocks.gguf: the metadata have no \"test.absent\""
    );
    assert_eq!(
        message(file.get::<f32>("test.string").unwrap_err()),
        "blocks.gguf: the metadata hold a text as \"test.string\" where a floating-point number belongs"
    );
}

#[test]
fn a_tensor_must_be_what_is_expected() {
    let (folder, file) = Written::default().tensor("a", &[3, 2], 0, 0).data(24).open();
    assert_eq!(file.read_f32("a", (2, 3)).unwrap().len(), 6);
    assert!(matches!(file.read_f32("a", (3, 2)), Err(GgufError::WrongShape { .. })));
    assert!(matches!(file.read_f32("b", (3, 2)), Err(GgufError::MissingTensor { .. })));
    assert_eq!(file.tensor("a").unwrap().stored, GgmlType::F32);
    assert_eq!(file.bytes_of_tensors(), ByteSize::new(24));
    let path = folder.path().join("m.gguf");
    let grown = [fs::read(&path).unwrap(), vec![0]].concat();
    fs::write(&path, grown).unwrap();
    assert!(matches!(file.read_raw("a"), Err(GgufError::Changed { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(file.read_raw("a"), Err(GgufError::Read { .. })));
    assert!(matches!(GgufFile::open(folder.path()), Err(GgufError::Read { .. })), "a folder is no file");
}

/// Sparse: 4 TiB that cost no disk. Says nothing on a system that promises memory it does not have.
#[test]
fn a_tensor_larger_than_memory_is_an_error_not_an_abort() {
    let bytes = 1u64 << 42;
    if std::hint::black_box(Vec::<u8>::new()).try_reserve_exact(bytes as usize).is_ok() {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("m.gguf");
    let written = Written::default().tensor("a", &[bytes / 4], 0, 0).bytes();
    fs::write(&path, &written).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(written.len() as u64 + bytes).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let error = file.read_f32("a", (bytes / 4) as usize).unwrap_err();
    assert!(matches!(error, GgufError::OutOfMemory { needed, .. } if needed.bytes() == bytes), "{error}");
    assert!(matches!(file.read_raw("a"), Err(GgufError::OutOfMemory { .. })));
}

#[test]
fn rows_are_quantised_as_ggml_quantises_them() {
    let rows = floats("rows.f32");
    for (to, name) in [(Quantization::Q8_0, "rows.q8_0"), (Quantization::Q4K, "rows.q4_k")] {
        let theirs = fs::read(fixture(name)).unwrap();
        let ours = quantize_rows(to, &rows, 256).unwrap();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let differing = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 0, "{name}: {differing} of {} bytes differ", theirs.len());
    }
}
