//! The pictures of the fixtures, beside what Pillow makes of them.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use millpond::capability::ImageSource;
use millpond::image::{Resample, decode};

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/image").join(name)
}

pub(crate) fn picture(name: &str) -> PathBuf {
    fixture("pictures").join(name)
}

/// The names of all pictures, sorted.
pub(crate) fn pictures() -> Vec<String> {
    let files = std::fs::read_dir(fixture("pictures")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// `[height, width, 3]` as rows, columns and bytes.
fn bytes_of(tensor: &Tensor) -> (usize, usize, Vec<u8>) {
    let (height, width, _) = tensor.dims3().unwrap();
    (height, width, tensor.flatten_all().unwrap().to_vec1().unwrap())
}

/// The largest difference of two levels, and the mean one.
fn apart(got: &[u8], expected: &[u8]) -> (u8, f64) {
    assert_eq!(got.len(), expected.len());
    let differences: Vec<_> = got.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).collect();
    let sum: u64 = differences.iter().map(|difference| u64::from(*difference)).sum();
    (differences.iter().copied().max().unwrap_or(0), sum as f64 / differences.len() as f64)
}

/// How far a lossy decoder may be from another: they round differently. Without loss there is one answer.
fn tolerance(name: &str) -> (u8, f64) {
    match name {
        "four-colours.jpg" => (6, 1.0),
        "progressive.jpg" => (4, 0.5),
        name if name.rsplit('.').next() == Some("jpg") => (2, 0.1),
        "lossy.webp" => (2, 0.1),
        _ => (0, 0.0),
    }
}

#[test]
fn every_picture_has_the_pixels_that_pillow_sees() {
    let expected = candle_core::safetensors::load(fixture("decoded.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(expected.len(), pictures().len());
    for name in pictures() {
        let picture = decode(&ImageSource::path(picture(&name))).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (height, width, bytes) = bytes_of(&expected[&name]);
        assert_eq!((picture.height() as usize, picture.width() as usize), (height, width), "{name}");
        let (largest, mean) = apart(picture.rgb(), &bytes);
        let (most, most_mean) = tolerance(&name);
        println!("{name}: {largest} at most, {mean:.3} on average");
        assert!(largest <= most && mean <= most_mean, "{name}: {largest} at most, {mean:.3} on average");
    }
}

#[test]
fn resized_pictures_are_those_of_pillow_to_one_grey_level() {
    let expected = candle_core::safetensors::load(fixture("resized.safetensors"), &Device::Cpu).unwrap();
    let mut off = 0;
    for (name, resized) in &expected {
        let parts: Vec<_> = name.split(' ').collect();
        let number = |at: usize| parts[at].parse::<u32>().unwrap();
        let picture = decode(&ImageSource::path(picture(parts[0]))).unwrap();
        let filter = Resample::ALL[number(1) as usize];
        let got = picture.resize(number(2), number(3), filter).unwrap();
        let (largest, _) = apart(got.rgb(), &bytes_of(resized).2);
        off += u32::from(largest);
        assert!(largest <= 1, "{name}: {largest}");
    }
    println!("{} resized pictures, largest differences sum to {off}", expected.len());
    assert!(expected.len() >= 48);
}
