//! Tiny random networks compute what diffusers computes with them (`tests/fixtures/unet/make.py`).

use candle_core::Result;

use super::{Unet, UnetConfig};
use crate::arch::diffusion::Conditioning;
use crate::arch::example::{Example, off};
use crate::kernels::PixelGrid;

const GRID: PixelGrid = PixelGrid { pictures: 2, height: 8, width: 12 };
const LENGTH: usize = 7;

fn unet(example: &Example) -> Unet {
    let config = UnetConfig::read(&example.folder).unwrap();
    example.model(|root| Unet::load(root, &config)).unwrap()
}

fn told(example: &Example, name: &str) -> Conditioning {
    let tensor = |wanted, tensor| (name == wanted).then(|| example.tensor(tensor).clone());
    let sizes = tensor("xl", "sizes").map(|sizes| sizes.to_vec2::<f32>().unwrap());
    let sizes = sizes.map(|rows| rows.into_iter().map(|row| row.try_into().unwrap()).collect());
    Conditioning {
        tokens: example.tensor("tokens").clone(),
        length: LENGTH,
        pooled: tensor("xl", "pooled"),
        sizes,
        guidance: tensor("lcm", "guidance").map(|guidance| guidance.to_vec1().unwrap()),
    }
}

#[test]
fn noise_is_seen_as_the_reference_sees_it() -> Result<()> {
    for name in ["sd1", "sd2", "xl", "lcm"] {
        let example = Example::of(&format!("unet/{name}"));
        let (latents, times) = (example.tensor("latents"), example.numbers("times"));
        let grid = if name == "sd2" { PixelGrid { height: 9, width: 11, ..GRID } } else { GRID };
        let got = unet(&example).forward(latents, grid, &times, &told(&example, name))?;
        let off = off(&got, example.tensor("out"))?;
        assert!(off < 1e-4, "{name} is off by {off}");
    }
    Ok(())
}

#[test]
fn a_picture_has_the_same_bits_alone_and_in_company() -> Result<()> {
    let example = Example::of("unet/xl");
    let (unet, told, times) = (unet(&example), told(&example, "xl"), example.numbers("times"));
    let together = unet.forward(example.tensor("latents"), GRID, &times, &told)?.to_vec2::<f32>()?;
    let one = PixelGrid { pictures: 1, ..GRID };
    let told = Conditioning {
        tokens: told.tokens.narrow(0, LENGTH, LENGTH)?,
        pooled: Some(told.pooled.unwrap().narrow(0, 1, 1)?),
        sizes: told.sizes.map(|sizes| sizes[1..].to_vec()),
        ..told
    };
    let latents = example.tensor("latents").narrow(0, one.rows(), one.rows())?;
    let alone = unet.forward(&latents, one, &times[1..], &told)?.to_vec2::<f32>()?;
    assert_eq!(together[one.rows()..], alone);
    Ok(())
}

#[test]
fn what_a_network_must_be_told_is_asked_for() {
    let example = Example::of("unet/lcm");
    let untold = Conditioning { guidance: None, ..told(&example, "lcm") };
    let (latents, times) = (example.tensor("latents"), example.numbers("times"));
    assert!(unet(&example).forward(latents, GRID, &times, &untold).is_err());
    let example = Example::of("unet/xl");
    let (unet, told, times) = (unet(&example), told(&example, "xl"), example.numbers("times"));
    let latents = example.tensor("latents");
    for told in [
        Conditioning { sizes: None, ..told.clone() },
        Conditioning { pooled: None, ..told.clone() },
        Conditioning { length: 6, ..told.clone() },
    ] {
        assert!(unet.forward(latents, GRID, &times, &told).is_err());
    }
    assert!(unet.forward(latents, PixelGrid { height: 0, ..GRID }, &times, &told).is_err());
    assert!(unet.forward(latents, GRID, &times[1..], &told).is_err());
}
