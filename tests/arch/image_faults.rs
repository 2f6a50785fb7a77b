//! What is no picture, and what is no model of pictures, is told with a typed error.

use std::path::Path;
use std::sync::Arc;

use millpond::Dtype;
use millpond::arch::{ArchError, ImageWeights};
use millpond::capability::{EmbedImageRequest, ImageSource, ModelError};
use millpond::image::{ImageError, MAX_ENCODED, decode};
use serde_json::{Value, json};

use crate::pictures::{fixture, picture, pictures};
use crate::support::{copied, folder, patch};

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(picture(name)).unwrap()
}

fn decoded(bytes: impl Into<Arc<[u8]>>) -> Result<(u32, u32), ImageError> {
    decode(&ImageSource::encoded(bytes)).map(|picture| (picture.width(), picture.height()))
}

/// The PNG with other sides in its header, and a checksum that fits them.
fn with_sides(mut png: Vec<u8>, width: u32, height: u32) -> Vec<u8> {
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    png
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

#[test]
fn sides_are_checked_before_anything_is_decoded() {
    let png = |width, height| decoded(with_sides(bytes("rgb.png"), width, height));
    assert_eq!(png(61, 43).unwrap(), (61, 43));
    for (width, height) in [(65_535, 65_535), (8193, 1), (1, 8193), (8000, 8000), (1_000_000, 1)] {
        assert!(matches!(png(width, height), Err(ImageError::TooLarge { .. })), "{width} x {height}");
    }
    // So many pixels might be, but not in so few bytes.
    let hollow = decoded(with_sides(bytes("dot.png"), 6000, 6000));
    assert!(matches!(hollow, Err(ImageError::Hollow { .. })), "{hollow:?}");
    for (width, height) in [(0, 43), (61, 0), (0, 0)] {
        let error = png(width, height).unwrap_err();
        assert!(matches!(error, ImageError::Empty { .. } | ImageError::Damaged { .. }), "{error:?}");
    }
    // A picture that lies about itself is found out when it is decoded.
    for (width, height) in [(62, 43), (61, 44)] {
        let error = png(width, height).unwrap_err();
        assert!(matches!(error, ImageError::Damaged { .. } | ImageError::Truncated { .. }), "{error:?}");
    }
    let wrong = |width, height, len| decode(&ImageSource::pixels(width, height, vec![0; len])).unwrap_err();
    assert!(matches!(wrong(2, 2, 11), ImageError::WrongLength { expected: 12, found: 11, .. }));
    assert!(matches!(wrong(0, 2, 0), ImageError::Empty { .. }));
    assert!(matches!(wrong(u32::MAX, u32::MAX, 3), ImageError::TooLarge { .. }));
}

#[test]
fn a_file_that_was_cut_is_no_picture() {
    for name in pictures() {
        let whole = bytes(&name);
        for part in [1, 2, 4, 6, 7] {
            let cut = &whole[..whole.len() * part / 8];
            // Of an animation the first frame is enough.
            if !name.starts_with("frames") {
                assert!(decoded(cut).is_err(), "{name}, {part} of 8 parts");
            } else if let Ok(sides) = decoded(cut) {
                assert_eq!(sides, decoded(whole.as_slice()).unwrap(), "{name}, {part} of 8 parts");
            }
        }
    }
}

#[test]
fn what_is_no_picture_is_told_apart() {
    let svg = &b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"[..];
    for not in [&b""[..], b"\x89PNG", b"BM\0\0", svg, b"%PDF-1.7", &[0; 64]] {
        assert!(matches!(decoded(not), Err(ImageError::UnknownFormat { .. })), "{not:?}");
    }
    let path = |path: &str| decode(&ImageSource::path(path)).unwrap_err();
    assert!(matches!(path("/no/such/picture.png"), ImageError::Read { .. }));
    assert!(matches!(path("/"), ImageError::NoFile { .. }));
    #[cfg(unix)]
    assert!(matches!(path("/dev/zero"), ImageError::NoFile { .. }));
    let base64 = |text: &str| decode(&ImageSource::base64(text)).unwrap_err();
    assert!(matches!(base64("n o t / b a s e 6 4 !"), ImageError::Base64(_)));
    assert!(matches!(base64(""), ImageError::UnknownFormat { .. }));
    assert!(matches!(decode(&ImageSource::data_url("data:,hello")), Err(ImageError::DataUrl { .. })));
    let long = "A".repeat(MAX_ENCODED as usize * 4 / 3 + 100);
    assert!(matches!(base64(&long), ImageError::TooLong { .. }));
}

#[test]
fn a_thousand_damaged_pictures_give_typed_errors_or_pictures() {
    let mut draw = fastrand::Rng::with_seed(30);
    let originals: Vec<_> = pictures().iter().map(|name| bytes(name)).collect();
    let (mut refused, mut panicked) = (0, 0);
    for number in 0..1000 {
        let mut bytes = originals[number % originals.len()].clone();
        for _ in 0..=draw.usize(..4) {
            let at = draw.usize(..bytes.len());
            match draw.u8(..5) {
                0 => bytes.truncate(at.max(12)),
                1 => bytes[at] ^= 1 << draw.u8(..8),
                2 => bytes[at] = [0, 0xff, 0x7f, 0x80][draw.usize(..4)],
                3 => drop(bytes.splice(at..at, std::iter::repeat_n(draw.u8(..), draw.usize(1..9)))),
                // The header is where it hurts.
                _ => {
                    let at = draw.usize(8..bytes.len().min(48));
                    bytes[at] = draw.u8(..);
                }
            }
        }
        match decoded(bytes) {
            Ok((width, height)) => assert!(width * height > 0),
            Err(error) => {
                refused += 1;
                panicked += usize::from(matches!(error, ImageError::DecoderPanicked { .. }));
                assert!(!error.to_string().is_empty());
            }
        }
    }
    println!("{refused} of 1000 refused, {panicked} by a decoder's panic");
    assert!(refused > 300, "{refused}: the damage is real");
}

fn load(path: &Path) -> Result<ImageWeights, ArchError> {
    ImageWeights::load(&folder(path), Dtype::F32)
}

fn changed(name: &str, file: &str, field: &str, value: Value) -> ArchError {
    let copy = copied(&fixture(name));
    patch(copy.path(), file, field, value);
    load(copy.path()).expect_err("it must be refused")
}

#[test]
fn numbers_that_no_model_has_are_refused() {
    let file = "config.json";
    for (field, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(1_u64 << 40)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(5)),
        ("intermediate_size", json!(0)),
        ("patch_size", json!(0)),
        ("patch_size", json!([8, 4])),
        ("image_size", json!(4)),
        ("image_size", json!(1_u64 << 30)),
        ("num_channels", json!(1)),
        ("layer_norm_eps", json!(-1.0)),
        ("pooler_output_size", json!(1_u64 << 40)),
    ] {
        let error = changed("vit", file, field, value.clone());
        assert!(matches!(error, ArchError::BadConfig { .. }), "{field} {value}: {error}");
    }
    for (name, field, value) in [
        ("dinov2", "mlp_ratio", json!(1e30)),
        ("dinov2-registers", "num_register_tokens", json!(1_u64 << 40)),
        ("clip-vision", "projection_dim", json!(0)),
        ("siglip-vision", "vision_use_head", json!(false)),
        ("siglip2-vision", "vision_use_head", json!(false)),
        ("siglip2-vision", "num_patches", json!(0)),
        ("siglip2-vision", "num_patches", json!(48)),
        ("siglip2-vision", "num_patches", json!(u64::MAX)),
        ("siglip2-vision", "patch_size", json!(u64::MAX)),
    ] {
        let error = changed(name, file, field, value);
        assert!(matches!(error, ArchError::BadConfig { .. }), "{name} {field}: {error}");
    }
    for (field, value) in [("hidden_act", json!("mish")), ("pooler_act", json!("softmax"))] {
        assert!(matches!(changed("vit", file, field, value), ArchError::Unsupported { .. }), "{field}");
    }
    for (field, value) in [("num_patches", json!(36)), ("hidden_size", json!(16))] {
        let error = changed("siglip2-vision", file, field, value);
        assert!(matches!(error, ArchError::Weights(_)), "{field}: {error}");
    }
    // What the weights do not have.
    for (field, value) in
        [("hidden_size", json!(16)), ("num_hidden_layers", json!(3)), ("patch_size", json!(4))]
    {
        assert!(matches!(changed("vit", file, field, value), ArchError::Weights(_)), "{field}");
    }
}

#[test]
fn preprocessing_that_makes_no_sense_is_refused() {
    let file = "preprocessor_config.json";
    for (field, value) in [
        ("size", json!({ "height": 0, "width": 32 })),
        ("size", json!({ "height": 1 << 20, "width": 32 })),
        ("image_std", json!([0.5, 0.0, 0.5])),
        ("image_mean", json!([1e300, 0.0, 0.5])),
        ("do_pad", json!(true)),
        ("size", json!({ "shortest_edge": 32, "longest_edge": 64 })),
        ("image_processor_type", json!("Qwen2VLImageProcessor")),
    ] {
        let error = changed("vit", file, field, value.clone());
        assert!(matches!(error, ArchError::Preprocessor(_)), "{field} {value}: {error}");
    }
    for (field, value) in
        [("resample", json!(6)), ("size", json!({ "heigth": 32, "width": 32 })), ("size", json!(-1))]
    {
        assert!(matches!(changed("vit", file, field, value), ArchError::Weights(_)), "{field}");
    }
    for (field, value) in [
        ("max_num_patches", json!(0)),
        ("max_num_patches", json!(1_u64 << 40)),
        ("patch_size", json!(0)),
        ("patch_size", json!(1_u64 << 40)),
        ("do_resize", json!(false)),
        ("image_std", json!(0.0)),
    ] {
        let error = changed("siglip2-vision", file, field, value.clone());
        assert!(matches!(error, ArchError::Preprocessor(_)), "{field} {value}: {error}");
    }
    // Patches that are not the network's.
    assert!(matches!(changed("siglip2-vision", file, "patch_size", json!(8)), ArchError::BadConfig { .. }));
    let copy = copied(&fixture("siglip2-vision"));
    patch(copy.path(), file, "patch_size", json!(256));
    patch(copy.path(), "config.json", "patch_size", json!(256));
    patch(copy.path(), file, "max_num_patches", json!(8192));
    assert!(matches!(load(copy.path()), Err(ArchError::Preprocessor(_))), "pictures would be too large");
    // A network of fixed size, and pictures of another.
    assert!(matches!(changed("vit", file, "size", json!(40)), ArchError::BadConfig { .. }));
    let copy = copied(&fixture("vit"));
    std::fs::remove_file(copy.path().join(file)).unwrap();
    assert!(matches!(load(copy.path()), Err(ArchError::MissingFile { .. })));
}

#[test]
fn a_picture_too_long_for_the_network_is_refused_alone() {
    let weights = load(&fixture("dinov2-any-size")).unwrap();
    let bar = |width, height: u32| {
        EmbedImageRequest::new(ImageSource::pixels(width, height, vec![90; 3 * (width * height) as usize]))
    };
    let answers = weights.embed(&[bar(30, 24), bar(8000, 1), bar(24, 30)]);
    assert!(answers[0].is_ok() && answers[2].is_ok());
    let Err(ModelError::Invalid(error)) = &answers[1] else { panic!("{:?}", answers[1]) };
    assert_eq!(error.field, "image");
    assert!(error.reason.contains("patches"), "{error}");
}
