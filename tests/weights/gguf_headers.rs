//! Hostile GGUF files: each lie is named, none gets past the description.

use millpond::weights::gguf::{Description, GgufFlaw, MAX_DESCRIPTION_BYTES, read_description};
use millpond::weights::{GgufError, GgufFile};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::gguf_fixture::{Written, bool_value, f32_list, fixture, i32_list, list, text, texts, u32_value};

const F32: u32 = 0;
const Q4_K: u32 = 12;

fn check(file: &[u8]) -> Result<Description, GgufFlaw> {
    read_description(file, file.len() as u64)
}

fn new() -> Written {
    Written::default()
}

/// A file of one tensor of 16 bytes.
fn one(dims: &[u64], code: u32, offset: u64) -> Vec<u8> {
    new().tensor("a", dims, code, offset).data(16).bytes()
}

fn key(value: Vec<u8>) -> Vec<u8> {
    new().key("k", value).bytes()
}

fn aligned(value: Vec<u8>) -> Vec<u8> {
    new().key("general.alignment", value).bytes()
}

macro_rules! refused {
    ($($case:expr => $flaw:pat),* $(,)?) => {
        $({
            let file: Vec<u8> = $case;
            let result = check(&file);
            assert!(matches!(result, Err($flaw)), "{} must end in {}, not {result:?}", stringify!($case), stringify!($flaw));
        })*
    };
}

fn start(bytes: &[u8]) -> Vec<u8> {
    Written { start: bytes.to_vec(), ..new() }.bytes()
}

#[test]
fn every_lie_about_the_header_is_named() {
    refused! {
        vec![] => GgufFlaw::Truncated { .. },
        b"GGU".to_vec() => GgufFlaw::Truncated { needs: 4, room: 3, .. },
        b"GGUF\x03\0\0\0".to_vec() => GgufFlaw::Truncated { .. },
        b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0".to_vec() => GgufFlaw::Truncated { .. },
        start(b"GGML\x03\0\0\0") => GgufFlaw::NotGguf,
        start(b"\x80\x02}q\0\0\0\0") => GgufFlaw::NotGguf,
        start(b"FUGG\0\0\0\x03") => GgufFlaw::BigEndian,
        start(b"GGUF\0\0\0\x03") => GgufFlaw::BigEndian,
        start(b"GGUF\x01\0\0\0") => GgufFlaw::Version { version: 1 },
        start(b"GGUF\x04\0\0\0") => GgufFlaw::Version { version: 4 },
        start(b"GGUF\xff\xff\xff\xff") => GgufFlaw::Version { .. },
        new().counts(u64::MAX, 0).bytes() => GgufFlaw::Truncated { .. },
        new().counts(0, u64::MAX).bytes() => GgufFlaw::Truncated { .. },
        new().counts(1 << 60, 1 << 60).bytes() => GgufFlaw::Truncated { .. },
        new().counts(0, 65_537).data(1 << 20).bytes() => GgufFlaw::TooManyKeys { count: 65_537, .. },
        new().counts(100_001, 0).data(1 << 22).bytes() => GgufFlaw::TooManyTensors { count: 100_001, .. },
    }
    assert!(check(&new().bytes()).is_ok(), "a file of nothing is a file");
    assert!(check(&start(b"GGUF\x02\0\0\0")).is_ok());
}

#[test]
fn every_lie_about_the_metadata_is_named() {
    let length = |n: u64| [&8u32.to_le_bytes()[..], &n.to_le_bytes()].concat();
    let not_text = [length(2), b"\xff\xff".to_vec()].concat();
    let deep = 9u32.to_le_bytes().repeat(10_000);
    refused! {
        key(length(u64::MAX)) => GgufFlaw::Truncated { .. },
        key(length(1 << 40)) => GgufFlaw::Truncated { .. },
        key(not_text) => GgufFlaw::NotUtf8 { .. },
        key(13u32.to_le_bytes().to_vec()) => GgufFlaw::UnknownValue { code: 13, .. },
        key(u32::MAX.to_le_bytes().to_vec()) => GgufFlaw::UnknownValue { .. },
        key(list(13, 0)) => GgufFlaw::UnknownValue { code: 13, .. },
        key(list(9, 0)) => GgufFlaw::NestedList { .. },
        key(deep) => GgufFlaw::NestedList { .. },
        key(list(0, u64::MAX)) => GgufFlaw::Truncated { .. },
        key(list(12, u64::MAX / 8 + 1)) => GgufFlaw::Truncated { .. },
        key(list(8, u64::MAX)) => GgufFlaw::Truncated { .. },
        key([list(8, 1), u64::MAX.to_le_bytes().to_vec()].concat()) => GgufFlaw::Truncated { .. },
        key(bool_value(2)) => GgufFlaw::BadBool { value: 2, .. },
        key([list(7, 2), vec![1, 7]].concat()) => GgufFlaw::BadBool { value: 7, .. },
        new().key("k", u32_value(1)).key("k", u32_value(1)).bytes() => GgufFlaw::DuplicateKey { .. },
        new().key(&"k".repeat(65_536), u32_value(1)).bytes() => GgufFlaw::KeyTooLong { len: 65_536, .. },
        aligned(u32_value(0)) => GgufFlaw::Alignment { .. },
        aligned(u32_value(3)) => GgufFlaw::Alignment { .. },
        aligned(u32_value(8192)) => GgufFlaw::Alignment { .. },
        aligned(u32_value(u32::MAX)) => GgufFlaw::Alignment { .. },
        aligned(text("32")) => GgufFlaw::Alignment { .. },
        aligned(list(4, 0)) => GgufFlaw::Alignment { .. },
        aligned(bool_value(1)) => GgufFlaw::Alignment { .. },
    }
}

#[test]
fn every_lie_about_a_tensor_is_named() {
    let two = |first: u64, second: u64| {
        new().tensor("a", &[8], F32, first).tensor("b", &[8], F32, second).data(96).bytes()
    };
    let mut dims = new().tensor("a", &[], F32, 0).data(64);
    let at = dims.tensors[0].len() - 16;
    dims.tensors[0][at] = 5;
    refused! {
        dims.bytes() => GgufFlaw::TooManyDims { dims: 5, .. },
        one(&[0], F32, 0) => GgufFlaw::Empty { .. },
        one(&[1 << 32, 1 << 32], F32, 0) => GgufFlaw::SizeOverflow { .. },
        one(&[u64::MAX], F32, 0) => GgufFlaw::SizeOverflow { .. },
        one(&[1 << 16; 4], F32, 0) => GgufFlaw::SizeOverflow { .. },
        one(&[1 << 62], F32, 0) => GgufFlaw::SizeOverflow { .. },
        one(&[1 << 58], 28, 0) => GgufFlaw::OutOfBounds { .. },
        one(&[u64::MAX, u64::MAX], 999, 0) => GgufFlaw::SizeOverflow { .. },
        one(&[255], Q4_K, 0) => GgufFlaw::BrokenRow { width: 255, block: 256, .. },
        one(&[16, 16], Q4_K, 0) => GgufFlaw::BrokenRow { width: 16, .. },
        one(&[], Q4_K, 0) => GgufFlaw::BrokenRow { width: 1, .. },
        one(&[16, 2], 3, 0) => GgufFlaw::BrokenRow { block: 32, .. },
        one(&[5], F32, 0) => GgufFlaw::OutOfBounds { bytes: 20, data: 16, .. },
        one(&[256], Q4_K, 0) => GgufFlaw::OutOfBounds { bytes: 144, .. },
        one(&[1], F32, 32) => GgufFlaw::OutOfBounds { offset: 32, .. },
        one(&[1], F32, u64::MAX - 31) => GgufFlaw::OutOfBounds { .. },
        one(&[1], 999, 1 << 40) => GgufFlaw::OutOfBounds { .. },
        one(&[1], F32, 4) => GgufFlaw::Misaligned { offset: 4, alignment: 32, .. },
        two(0, 0) => GgufFlaw::Overlap { .. },
        new().tensor("a", &[16], F32, 0).tensor("b", &[8], F32, 32).data(96).bytes() => GgufFlaw::Overlap { .. },
        new().tensor("a", &[1], F32, 0).tensor("a", &[1], F32, 32).data(64).bytes() => GgufFlaw::DuplicateTensor { .. },
        new().tensor(&"n".repeat(1025), &[1], F32, 0).data(16).bytes() => GgufFlaw::NameTooLong { len: 1025, .. },
        new().tensor("a", &[1], F32, 0).counts(2, 0).bytes() => GgufFlaw::Truncated { .. },
    }
    assert!(check(&two(32, 0)).is_ok(), "tensors may come in any order");
    let scalar = check(&one(&[], F32, 0)).unwrap();
    assert_eq!((scalar.tensors[0].elements(), scalar.tensors[0].shape.len()), (1, 0));
}

#[test]
fn lies_in_pairs_are_still_one_error() {
    let values =
        [u32_value(0), bool_value(2), list(9, 0), list(8, u64::MAX), text("x"), list(0, 1 << 50), vec![]];
    let tensors =
        [(vec![0], F32, 0), (vec![u64::MAX; 4], F32, 1), (vec![7], Q4_K, 1 << 63), (vec![1], 77, 33)];
    for value in &values {
        for (dims, code, offset) in &tensors {
            for counts in [None, Some((u64::MAX, 1)), Some((1, 2)), Some((2, 1))] {
                let file = new().key("general.alignment", value.clone());
                let file = Written { counts, ..file.tensor("a", dims, *code, *offset) };
                assert!(check(&file.bytes()).is_err(), "{value:?} {dims:?} {counts:?}");
            }
        }
    }
}

#[test]
fn an_unsupported_format_refuses_its_tensor_not_the_file() {
    let file = new().tensor("a", &[32], 3, 0).tensor("b", &[2], F32, 32).tensor("c", &[9], 999, 64).data(96);
    let (_folder, file) = file.open();
    assert_eq!(file.read_f32("b", 2).unwrap(), [0.0, 0.0]);
    for (name, stored) in [("a", "Q4_1"), ("c", "type 999")] {
        let error = file.read_raw(name).unwrap_err();
        assert!(
            matches!(&error, GgufError::UnsupportedTensor { name: n, stored: s, .. } if n == name && s == stored)
        );
        assert!(error.to_string().contains("m.gguf"), "{error}");
    }
}

/// A small file with everything in it.
fn valid() -> Vec<u8> {
    new()
        .key("general.architecture", text("llama"))
        .key("general.alignment", u32_value(8))
        .key("tokenizer.ggml.model", text("llama"))
        .key("tokenizer.ggml.tokens", texts(["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab", "<0x0A>"]))
        .key("tokenizer.ggml.scores", f32_list(&[0.0, 0.0, 0.0, -9.0, -4.0, -5.0, -1.0, -2.0, 0.0]))
        .key("tokenizer.ggml.token_type", i32_list(&[2, 3, 3, 1, 1, 1, 1, 1, 6]))
        .key("tokenizer.ggml.add_bos_token", bool_value(1))
        .tensor("a", &[4, 2], F32, 0)
        .tensor("b", &[32], 2, 32)
        .data(32 + 18)
        .bytes()
}

/// Everything that can be asked of a file that is accepted: none of it may panic.
fn use_all(file: &[u8], folder: &TempDir) -> bool {
    let Ok(description) = check(file) else { return false };
    for tensor in &description.tensors {
        assert!(tensor.range.start <= tensor.range.end && tensor.range.end <= file.len() as u64);
    }
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, file).unwrap();
    let opened = GgufFile::open(&path).unwrap();
    for tensor in &description.tensors {
        let numbers = opened.read_f32(&tensor.name, tensor.shape.as_slice());
        assert!(numbers.is_err() || numbers.unwrap().len() == tensor.elements());
        let _ = opened.read_raw(&tensor.name);
    }
    let _ = opened.architecture();
    if let Ok(made) = opened.tokenizer() {
        let _ =
            made.tokenizer.encode("ab\nba <s> c", true).map(|e| made.tokenizer.decode(e.get_ids(), false));
    }
    true
}

#[test]
fn no_changed_byte_and_no_cut_gets_past() {
    let (file, folder) = (valid(), TempDir::new().unwrap());
    assert!(use_all(&file, &folder), "{:?}", check(&file));
    for cut in 0..file.len() {
        assert!(check(&file[..cut]).is_err(), "a file cut at {cut} of {} must be refused", file.len());
    }
    let mut accepted = 0;
    for at in 0..file.len() {
        for change in [0x01, 0x02, 0x10, 0x40, 0x80, 0xFF, file[at], !file[at]] {
            let mut changed = file.clone();
            changed[at] ^= change;
            accepted += usize::from(use_all(&changed, &folder));
        }
    }
    // Names, texts and data are nobody's business.
    assert!(accepted > file.len(), "only {accepted} of {} were accepted", 8 * file.len());
}

/// What may be missing is the padding at the end.
#[test]
fn no_cut_of_a_real_file_gets_past() {
    for name in ["blocks.gguf", "bytes.gguf", "pieces.gguf"] {
        let file = std::fs::read(fixture(name)).unwrap();
        for cut in (0..file.len() - 31).step_by(7) {
            assert!(check(&file[..cut]).is_err(), "{name} cut at {cut} of {}", file.len());
        }
        assert!(check(&file).is_ok(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        words in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0u32..64), 0..2),
    ) {
        let folder = TempDir::new().unwrap();
        let mut file = valid();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        for (at, word, shift) in words {
            let at = at.index(file.len() - 8);
            file[at..at + 8].copy_from_slice(&(word >> shift).to_le_bytes());
        }
        use_all(&file, &folder);
    }

    #[test]
    fn no_noise_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&noise);
        let _ = check(&[b"GGUF\x03\0\0\0", &noise[..]].concat());
    }
}

const CHILD: &str = "MILLPOND_TEST_GGUF_CLAIMS";

/// Claims by the thousand, in files that are long because they are sparse: none may cost memory. In a process of its
/// own, as memory is counted for all of it.
#[cfg(target_os = "linux")]
#[test]
fn claims_cost_no_memory() {
    if std::env::var_os(CHILD).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "gguf_headers::claims_cost_no_memory"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        return;
    }
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let before = peak();
    let long = 1u64 << 42;
    for shift in 0..64 {
        let claim = 1u64 << shift;
        for file in [
            new().counts(claim, 0).bytes(),
            new().counts(0, claim).bytes(),
            key([8u32.to_le_bytes().to_vec(), claim.to_le_bytes().to_vec()].concat()),
            key(list(12, claim)),
            key(list(8, claim)),
            one(&[claim], F32, 0),
            one(&[claim, claim], F32, 0),
        ] {
            // Every read past the file fails, as if it had been cut since.
            let _ = read_description(&file[..], long);
            let _ = check(&file);
        }
    }
    let grown = peak() - before;
    assert!(grown < 16, "hostile claims took {grown} MiB");
    let endless = std::io::Read::chain(&b"GGUF\x03\0\0\0"[..], std::io::repeat(0xFF));
    assert!(matches!(read_description(endless, long), Err(GgufFlaw::Truncated { .. })));
    let far = Written::default()
        .key("k", [8u32.to_le_bytes().to_vec(), (1u64 << 32).to_le_bytes().to_vec()].concat());
    let far = read_description(&far.bytes()[..], long);
    assert!(matches!(far, Err(GgufFlaw::DescriptionTooLong { limit: MAX_DESCRIPTION_BYTES })));
}
