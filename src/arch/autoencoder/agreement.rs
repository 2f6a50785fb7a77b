//! Tiny random networks compute what diffusers computes with them (`tests/fixtures/unet/make.py`).

use candle_core::Result;

use super::{Autoencoder, AutoencoderConfig, Tiles};
use crate::arch::example::{Example, off};
use crate::kernels::PixelGrid;

const LATENTS: PixelGrid = PixelGrid { pictures: 2, height: 6, width: 4 };

fn autoencoder(example: &Example) -> (AutoencoderConfig, Autoencoder) {
    let config = AutoencoderConfig::read(&example.folder).unwrap();
    let autoencoder = example.model(|root| Autoencoder::load(root, &config)).unwrap();
    (config, autoencoder)
}

#[test]
fn pictures_are_made_as_the_reference_makes_them() -> Result<()> {
    for name in ["vae", "vae16"] {
        let example = Example::of(&format!("unet/{name}"));
        let (config, autoencoder) = autoencoder(&example);
        let times = config.reduction();
        let pictures = PixelGrid { height: 6 * times, width: 4 * times, ..LATENTS };

        let (decoded, size) = autoencoder.decode(example.tensor("noisy"), LATENTS)?;
        assert_eq!(size, pictures);
        let apart = off(&decoded, example.tensor("decoded"))?;
        assert!(apart < 1e-4, "{name}: a picture is off by {apart}");
    }
    Ok(())
}

#[test]
fn a_picture_has_the_same_bits_alone_and_in_company() -> Result<()> {
    let example = Example::of("unet/vae");
    let (_, autoencoder) = autoencoder(&example);
    let (together, size) = autoencoder.decode(example.tensor("noisy"), LATENTS)?;
    let one = PixelGrid { pictures: 1, ..LATENTS };
    let latents = example.tensor("noisy").narrow(0, one.rows(), one.rows())?;
    let (alone, _) = autoencoder.decode(&latents, one)?;
    assert_eq!(together.to_vec2::<f32>()?[size.pixels()..], alone.to_vec2::<f32>()?);
    Ok(())
}

#[test]
fn parts_are_put_together_as_the_reference_does() -> Result<()> {
    let example = Example::of("unet/vae");
    let (_, autoencoder) = autoencoder(&example);
    let grid = PixelGrid { height: 10, width: 7, ..LATENTS };
    let (tiled, size) = autoencoder.decode_in_tiles(example.tensor("wide"), grid, Tiles { side: 4 })?;
    assert_eq!(size, PixelGrid { height: 20, width: 14, ..LATENTS });
    let apart = off(&tiled, example.tensor("tiled"))?;
    assert!(apart < 1e-4, "off by {apart}");
    assert!(autoencoder.decode_in_tiles(example.tensor("wide"), grid, Tiles { side: 3 }).is_err());
    Ok(())
}

#[test]
fn a_picture_of_one_part_is_decoded_as_a_whole() -> Result<()> {
    let example = Example::of("unet/vae");
    let (_, autoencoder) = autoencoder(&example);
    let (whole, _) = autoencoder.decode(example.tensor("noisy"), LATENTS)?;
    let (parts, _) = autoencoder.decode_in_tiles(example.tensor("noisy"), LATENTS, Tiles { side: 8 })?;
    assert_eq!(parts.to_vec2::<f32>()?, whole.to_vec2::<f32>()?);
    Ok(())
}
