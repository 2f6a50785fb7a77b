//! Image embedding through an engine: the pool, the worker, the model.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use millpond::arch::{EmbeddingWeights, ImageWeights};
use millpond::capability::{EmbedImageRequest, EmbedRequest, ImageSource};
use millpond::pool::{KeyConfig, PoolConfig, PoolError, RegisterError};
use millpond::weights::ModelFiles;
use millpond::{Capabilities, Dtype, Engine, Error, ModelOptions};

use crate::pictures::{fixture, picture, pictures};
use crate::support::{copied, embed_one, folder};

fn engine() -> Engine {
    let config = PoolConfig::default().workers(2);
    Engine::builder().config(config).threads_per_worker(NonZeroUsize::MIN).build().unwrap()
}

fn add(engine: &Engine, name: &str) {
    let config = engine.key_config(Capabilities::ImageEmbedding);
    let files = ModelFiles::Folder(folder(&fixture(name)));
    let does = engine.add_files_with(name, files, config, ModelOptions::default().dtype(Dtype::F32)).unwrap();
    assert_eq!(does, Capabilities::ImageEmbedding);
}

#[test]
fn an_engine_embeds_pictures_as_the_model_does() {
    let engine = engine();
    for name in ["clip", "siglip", "siglip2", "dinov2", "vit"] {
        add(&engine, name);
        let weights = ImageWeights::load(&folder(&fixture(name)), Dtype::F32).unwrap();
        let request = |name: &String| EmbedImageRequest::new(ImageSource::path(picture(name)));
        let requests: Vec<_> = pictures().iter().map(request).collect();
        let served = engine.embed_all_images(name, requests.clone()).unwrap();
        for ((served, direct), name) in served.iter().zip(weights.embed(&requests)).zip(pictures()) {
            let direct = direct.unwrap();
            let off =
                served.values.iter().zip(&direct.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= 1e-5, "{name}: {off}");
        }
    }
    let status = engine.image_embedding().status();
    assert_eq!(status.keys.len(), 5);
}

#[test]
fn what_is_no_picture_fails_alone_and_the_pool_serves_on() {
    let engine = engine();
    add(&engine, "clip");
    let good = ImageSource::path(picture("rgb.png"));
    let expected = engine.embed_image("clip", good.clone()).unwrap();
    let mut draw = fastrand::Rng::with_seed(31);
    let original = std::fs::read(picture("rgb.png")).unwrap();
    let (mut tickets, mut refused) = (Vec::new(), 0);
    for number in 0..200 {
        let mut bytes = original.clone();
        let at = draw.usize(..bytes.len());
        bytes[at] ^= 1 << draw.u8(..8);
        let source = match number % 4 {
            0 => ImageSource::encoded(bytes),
            1 => ImageSource::path("/no/such/picture.png"),
            2 => ImageSource::pixels(2, 2, vec![1; 5]),
            _ => good.clone(),
        };
        match engine.image_embedding().submit("clip", EmbedImageRequest::new(source)) {
            Ok(ticket) => tickets.push((number % 4, ticket)),
            Err(refusal) => {
                assert!(matches!(refusal.error, PoolError::InvalidRequest { .. }), "{refusal:?}");
                refused += 1;
            }
        }
    }
    assert!(refused >= 50, "{refused}: pixels of a wrong length are refused at the door");
    for (kind, ticket) in tickets {
        match (kind, ticket.wait()) {
            (3, answer) => assert_eq!(answer.unwrap(), expected),
            (1, answer) => assert!(matches!(answer, Err(PoolError::InvalidRequest { .. })), "{answer:?}"),
            (_, Ok(_) | Err(PoolError::ModelError { .. } | PoolError::InvalidRequest { .. })) => {}
            (_, Err(other)) => panic!("{other:?}"),
        }
    }
    assert_eq!(engine.embed_image("clip", good).unwrap(), expected);
}

#[test]
fn a_model_of_pictures_is_no_model_of_texts() {
    let engine = engine();
    add(&engine, "vit");
    assert!(matches!(engine.embed("vit", "a mill"), Err(Error::Pool(PoolError::NoWorkers { .. }))));
    let quantized = ModelOptions::default().quantize("q8_0".parse().unwrap());
    let files = ModelFiles::Folder(folder(&fixture("vit")));
    let config: KeyConfig = engine.key_config(Capabilities::ImageEmbedding);
    assert!(matches!(engine.add_files_with("q", files, config, quantized), Err(Error::Arch(_))));
    let copy = copied(&fixture("vit"));
    std::fs::remove_file(copy.path().join("model.safetensors")).unwrap();
    let files = ModelFiles::Folder(folder(copy.path()));
    assert!(engine.add_files_with("none", files, config, ModelOptions::default()).is_err());
}

#[test]
fn both_sides_of_a_search_are_under_one_key() {
    let engine = engine();
    for name in ["clip", "siglip", "siglip2"] {
        add(&engine, name);
        let both = (Capabilities::ImageEmbedding, Some(Capabilities::TextEmbedding));
        let files = ModelFiles::Folder(folder(&fixture(name)));
        assert_eq!(Capabilities::all(&files).unwrap(), both, "{name}");
        let text = engine.embed(name, "a photo of a mill").unwrap();
        let picture = engine.embed_image(name, ImageSource::path(picture("rgb.png"))).unwrap();
        assert_eq!(text.values.len(), picture.values.len(), "{name}");
        let weights = EmbeddingWeights::load(&folder(&fixture(name)), Dtype::F32).unwrap();
        let direct = embed_one(&weights, EmbedRequest::new("a photo of a mill")).unwrap();
        let off = text.values.iter().zip(&direct.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= 1e-5, "{name}: {off}");
    }
}

#[test]
fn a_key_that_one_of_two_pools_has_is_taken_in_neither() {
    let engine = engine();
    let add = |path: &Path| {
        let config = engine.key_config(Capabilities::ImageEmbedding);
        engine.add_folder("m", folder(path), config)
    };
    let texts = copied(&fixture("clip"));
    std::fs::remove_file(texts.path().join("preprocessor_config.json")).unwrap();
    assert!(add(texts.path()).is_err(), "pictures cannot be prepared");
    assert_eq!((engine.image_embedding().keys().len(), engine.text_embedding().keys().len()), (0, 0));
    add(&crate::support::fixture("cls")).unwrap();
    assert!(matches!(add(&fixture("clip")), Err(Error::Register(RegisterError::Taken(_)))));
    assert_eq!((engine.image_embedding().keys().len(), engine.text_embedding().keys().len()), (0, 1));
    engine.text_embedding().shutdown(Duration::from_secs(5)).unwrap();
    assert!(matches!(add(&fixture("siglip")), Err(Error::Register(RegisterError::ShuttingDown))));
    assert!(engine.image_embedding().keys().is_empty());
}

#[test]
fn of_two_who_add_under_one_key_at_once_one_has_it_in_every_pool() {
    let engine = engine();
    let add = |key: &str, path: &Path| {
        engine.add_folder(key, folder(path), engine.key_config(Capabilities::ImageEmbedding))
    };
    let (both, texts) = (fixture("clip"), crate::support::fixture("cls"));
    for round in 0..40 {
        let key = format!("m{round}");
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| add(&key, &both));
            (add(&key, &texts), first.join().unwrap())
        });
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        let key = key.into();
        let known =
            (engine.image_embedding().keys().contains(&key), engine.text_embedding().keys().contains(&key));
        assert_eq!(known, (second.is_ok(), true), "{key}");
    }
}
