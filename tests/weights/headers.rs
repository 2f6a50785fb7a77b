//! Hostile safetensors files: each lie is named, none gets past the header.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use millpond::weights::validate::{MAX_DIMS, MAX_NAME_BYTES, MAX_TENSORS, read_header};
use millpond::weights::{Flaw, ModelFolder, TensorInfo, WeightsError};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixture::{f32_bytes, file_of, folder_of, raw_file};

fn check(file: &[u8]) -> Result<Vec<TensorInfo>, Flaw> {
    read_header(Cursor::new(file), file.len() as u64, &Arc::from(Path::new("model.safetensors")))
}

/// A header of one tensor.
fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

/// A header of two F32 scalars, at the given offsets.
fn two(first: &str, second: &str) -> String {
    let tensor =
        |name: &str, at: &str| format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":{at}}}"#);
    format!("{{{},{}}}", tensor("a", first), tensor("b", second))
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

#[test]
fn every_lie_about_the_header_is_named() {
    let claims = |claimed: u64, rest: &[u8]| [&claimed.to_le_bytes(), rest].concat();
    refused! {
        vec![] => Flaw::TooShort { len: 0 },
        vec![2, 0, 0, 0, 0, 0, 0] => Flaw::TooShort { len: 7 },
        claims(3, b"{}") => Flaw::HeaderLength { claimed: 3, allowed: 2 },
        claims(u64::MAX, b"{}") => Flaw::HeaderLength { .. },
        claims(1 << 63, b"{}") => Flaw::HeaderLength { .. },
        claims(0, b"") => Flaw::HeaderJson { .. },
        raw_file("[]", 0) => Flaw::HeaderJson { .. },
        raw_file(" {}", 0) => Flaw::HeaderJson { .. },
        raw_file("{", 0) => Flaw::HeaderJson { .. },
        raw_file("{}{}", 0) => Flaw::HeaderJson { .. },
        raw_file("\u{feff}{}", 0) => Flaw::HeaderJson { .. },
        raw_file(r#"{"a":null}"#, 0) => Flaw::HeaderJson { .. },
        raw_file(r#"{"a":{}}"#, 0) => Flaw::HeaderJson { .. },
        raw_file(r#"{"a":{"dtype":"F32","dtype":"F16","shape":[],"data_offsets":[0,4]}}"#, 4) => Flaw::HeaderJson { .. },
        claims(2, b"\xff\xff") => Flaw::HeaderJson { .. },
        raw_file(&format!(r#"{{"a":{}}}"#, "[".repeat(100_000)), 0) => Flaw::HeaderJson { .. },
        raw_file("{}", 1) => Flaw::Trailing { bytes: 1 },
    }
}

#[test]
fn every_lie_about_a_tensor_is_named() {
    refused! {
        raw_file(&one("F33", "[1]", "[0,4]"), 4) => Flaw::UnknownDtype { .. },
        raw_file(&one("", "[1]", "[0,4]"), 4) => Flaw::UnknownDtype { .. },
        raw_file(&one("f32", "[1]", "[0,4]"), 4) => Flaw::UnknownDtype { .. },
        raw_file(&one("F32", "[-1]", "[0,4]"), 4) => Flaw::HeaderJson { .. },
        raw_file(&one("F32", "[1.5]", "[0,4]"), 4) => Flaw::HeaderJson { .. },
        raw_file(&one("F32", "[1e3]", "[0,4]"), 4) => Flaw::HeaderJson { .. },
        raw_file(&one("F32", "\"1\"", "[0,4]"), 4) => Flaw::HeaderJson { .. },
        raw_file(&one("F32", "[18446744073709551616]", "[0,4]"), 4) => Flaw::HeaderJson { .. },
        raw_file(&one("F32", "[4294967296,4294967296]", "[0,0]"), 0) => Flaw::SizeOverflow { .. },
        raw_file(&one("F32", "[18446744073709551615]", "[0,4]"), 4) => Flaw::SizeOverflow { .. },
        raw_file(&one("F32", "[0,4294967296,4294967296]", "[0,0]"), 0) => Flaw::SizeOverflow { .. },
        raw_file(&one("F4", "[3]", "[0,1]"), 1) => Flaw::SizeOverflow { .. },
        raw_file(&one("F32", "[1]", "[0,8]"), 4) => Flaw::BadRange { .. },
        raw_file(&one("F32", "[1]", "[4,0]"), 4) => Flaw::BadRange { .. },
        raw_file(&one("F32", "[1]", "[8,12]"), 4) => Flaw::BadRange { .. },
        raw_file(&one("F32", "[1]", "[18446744073709551612,18446744073709551615]"), 4) => Flaw::BadRange { .. },
        raw_file(&one("F32", "[1]", "[0]"), 4) => Flaw::HeaderJson { .. },
        raw_file(&one("F32", "[1]", "[0,4,8]"), 4) => Flaw::HeaderJson { .. },
        raw_file(&one("F32", "[1]", "[-4,0]"), 4) => Flaw::HeaderJson { .. },
        raw_file(&one("F32", "[2]", "[0,4]"), 4) => Flaw::SizeMismatch { needs: 8, has: 4, .. },
        raw_file(&one("F16", "[1]", "[0,4]"), 4) => Flaw::SizeMismatch { needs: 2, has: 4, .. },
        raw_file(&one("F32", "[0]", "[0,4]"), 4) => Flaw::SizeMismatch { needs: 0, has: 4, .. },
        raw_file(&one("F32", &format!("{:?}", [1; MAX_DIMS + 1]), "[0,4]"), 4) => Flaw::TooManyDims { .. },
        raw_file(&one("F32", &format!("{:?}", vec![0; 200_000]), "[0,0]"), 0) => Flaw::TooManyDims { .. },
        raw_file(&two("[0,4]", "[0,4]"), 4) => Flaw::Overlap { .. },
        raw_file(&two("[0,4]", "[3,7]"), 8) => Flaw::Overlap { .. },
        raw_file(&two("[0,4]", "[5,9]"), 9) => Flaw::Gap { bytes: 1, .. },
        raw_file(&two("[4,8]", "[8,12]"), 12) => Flaw::Gap { bytes: 4, .. },
        raw_file(&two("[0,4]", "[4,8]"), 9) => Flaw::Trailing { bytes: 1 },
        raw_file(&two("[0,4]", "[4,8]").replace("\"b\"", "\"a\""), 8) => Flaw::DuplicateName { .. },
        raw_file(&two("[0,4]", "[4,8]").replace("\"b\"", r#""\u0061""#), 8) => Flaw::DuplicateName { .. },
        raw_file(&one("F32", "[1]", "[0,4]").replace("\"a\"", &format!("{:?}", "n".repeat(MAX_NAME_BYTES + 1))), 4) => Flaw::NameTooLong { .. },
    }
}

#[test]
fn a_header_of_too_many_tensors_is_refused() {
    let entries: Vec<String> = (0..=MAX_TENSORS)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    refused! { raw_file(&format!("{{{}}}", entries.join(",")), 0) => Flaw::TooManyTensors { .. } }
}

#[test]
fn odd_but_honest_files_pass() {
    // Metadata is skipped, whatever it is, without recursion.
    for (header, data) in [
        ("{}".to_owned(), 0),
        ("{}      ".to_owned(), 0),
        (r#"{"__metadata__":{"format":"pt"}}"#.to_owned(), 0),
        (format!(r#"{{"__metadata__":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)), 0),
        (one("F32", "[]", "[0,4]"), 4),
        (one("F32", "[0,5]", "[0,0]"), 0),
        (one("F4", "[4]", "[0,2]"), 2),
        (one("BOOL", "[3]", "[0,3]"), 3),
        (one("C64", "[1]", "[0,8]"), 8),
        (two("[4,8]", "[0,4]"), 8),
    ] {
        let table = check(&raw_file(&header, data));
        assert!(table.is_ok(), "{header} is a valid header: {table:?}");
    }
}

#[test]
fn a_refused_file_is_named_without_its_path() {
    let folder = folder_of(&[("model.safetensors", b"garbage garbage garbage")]);
    let error = ModelFolder::local(folder.path()).unwrap().weight_files().unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, WeightsError::Invalid { .. }));
    assert!(message.contains("/model.safetensors is refused"), "{message}");
    assert!(!message.contains(&*folder.path().parent().unwrap().to_string_lossy()), "{message}");
}

fn honest() -> Vec<u8> {
    file_of(&[
        ("embeddings.word_embeddings.weight", "F32", &[3, 2], f32_bytes(&[0.5; 6])),
        ("encoder.layer.0.bias", "BF16", &[4], vec![0; 8]),
        ("position_ids", "I64", &[1, 2], vec![0; 16]),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happened to a file, it is refused, or its table tiles it and the reference reader agrees.
    #[test]
    fn mutated_files_never_panic_and_never_lie(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        digits in vec((any::<prop::sample::Index>(), b'0'..=b'9'), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        extra in vec(any::<u8>(), 0..4),
    ) {
        let mut file = honest();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let header = 8..file.len().min(300);
        let found: Vec<usize> = header.filter(|&i| file[i].is_ascii_digit()).collect();
        for (at, digit) in digits {
            if !found.is_empty() {
                file[found[at.index(found.len())]] = digit;
            }
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len() + 1));
        }
        file.extend(extra);
        if let Ok(table) = check(&file) {
            prop_assert!(safetensors::SafeTensors::deserialize(&file).is_ok());
            let mut at = table.first().map_or(file.len() as u64, |t| t.range.start);
            for tensor in &table {
                prop_assert_eq!(tensor.range.start, at);
                at = tensor.range.end;
            }
            prop_assert_eq!(at, file.len() as u64);
        }
    }

    #[test]
    fn random_bytes_never_panic(file in vec(any::<u8>(), 0..200)) {
        let _ = check(&file);
    }
}
