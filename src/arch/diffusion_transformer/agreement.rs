//! Tiny random networks compute what diffusers computes with them.

use candle_core::{Result, Tensor};

use super::{Flux, FluxConfig, Sd3, Sd3Config};
use crate::arch::diffusion::Conditioning;
use crate::arch::example::{Example, off};
use crate::kernels::PixelGrid;

/// Two pictures, and all that goes in beside them.
struct Given {
    example: Example,
    grid: PixelGrid,
    latents: Tensor,
    times: Vec<f32>,
    conditioning: Conditioning,
}

enum Network {
    Sd3(Sd3),
    Flux(Flux),
}

const ALL: [&str; 4] = ["sd3", "sd35", "flux-dev", "flux-schnell"];

fn given(name: &str) -> Given {
    let example = Example::of(&format!("diffusion_transformer/{name}"));
    let (pictures, height, width, channels) = example.tensor("latents").dims4().unwrap();
    let grid = PixelGrid { pictures, height, width };
    let latents = example.tensor("latents").reshape((grid.rows(), channels)).unwrap();
    let tokens = example.tensor("tokens");
    let conditioning = Conditioning {
        tokens: tokens.flatten_to(1).unwrap(),
        length: tokens.dim(1).unwrap(),
        pooled: Some(example.tensor("pooled").clone()),
        sizes: None,
        guidance: (name == "flux-dev").then(|| example.numbers("guidance")),
    };
    Given { grid, latents, times: example.numbers("times"), conditioning, example }
}

impl Given {
    fn network(&self) -> Network {
        let folder = &self.example.folder;
        if folder.label().starts_with("sd3") {
            let config = Sd3Config::read(folder).unwrap();
            return Network::Sd3(self.example.model(|root| Sd3::load(root, &config)).unwrap());
        }
        let config = FluxConfig::read(folder).unwrap();
        Network::Flux(self.example.model(|root| Flux::load(root, &config)).unwrap())
    }

    /// One of the two alone.
    fn only(&self, picture: usize) -> Self {
        let (rows, length) = (self.grid.pixels(), self.conditioning.length);
        let conditioning = Conditioning {
            tokens: self.conditioning.tokens.narrow(0, picture * length, length).unwrap(),
            pooled: self.conditioning.pooled.as_ref().map(|pooled| pooled.narrow(0, picture, 1).unwrap()),
            guidance: self.conditioning.guidance.as_ref().map(|guidance| vec![guidance[picture]]),
            ..self.conditioning.clone()
        };
        Self {
            example: Example::of(&format!("diffusion_transformer/{}", self.example.folder.label())),
            grid: PixelGrid { pictures: 1, ..self.grid },
            latents: self.latents.narrow(0, picture * rows, rows).unwrap(),
            times: vec![self.times[picture]],
            conditioning,
        }
    }
}

impl Network {
    fn forward(&self, given: &Given) -> Result<Tensor> {
        let Given { latents, grid, times, conditioning, .. } = given;
        match self {
            Self::Sd3(network) => network.forward(latents, *grid, times, conditioning),
            Self::Flux(network) => network.forward(latents, *grid, times, conditioning),
        }
    }
}

#[test]
fn noise_moves_as_the_reference_moves_it() -> Result<()> {
    for name in ALL {
        let given = given(name);
        let before = given.latents.to_vec2::<f32>()?;
        let got = given.network().forward(&given)?;
        assert_eq!(got.dims(), given.latents.dims());
        let off = off(&got, given.example.tensor("output"))?;
        assert!(off < 1e-4, "{name} is off by {off}");
        assert_eq!(given.latents.to_vec2::<f32>()?, before, "{name} writes to what it is given");
    }
    Ok(())
}

#[test]
fn a_picture_has_the_same_bits_alone_and_in_company() -> Result<()> {
    for name in ALL {
        let given = given(name);
        let network = given.network();
        let together = network.forward(&given)?.to_vec2::<f32>()?;
        let alone = [0, 1].map(|picture| network.forward(&given.only(picture)).unwrap());
        let alone = Tensor::cat(&alone, 0)?.to_vec2::<f32>()?;
        assert_eq!(together, alone, "{name}");
    }
    Ok(())
}

#[test]
fn what_does_not_go_together_is_an_error() {
    for name in ALL {
        let network = given(name).network();
        let refused = |change: &dyn Fn(&mut Given)| {
            let mut given = given(name);
            change(&mut given);
            assert!(network.forward(&given).is_err(), "{name}: {:?}, {:?}", given.grid, given.conditioning);
        };
        refused(&|given| given.grid.height += 2);
        refused(&|given| given.grid = PixelGrid { pictures: 0, ..given.grid });
        refused(&|given| {
            let (height, width) = (given.grid.height / 2, given.grid.width * 2);
            given.grid = PixelGrid { height: height * 4, width: width / 4 + 1, ..given.grid };
        });
        refused(&|given| given.times.truncate(1));
        refused(&|given| given.conditioning.length = 0);
        refused(&|given| given.conditioning.length = usize::MAX);
        refused(&|given| given.conditioning.pooled = None);
        refused(&|given| given.conditioning = given.only(0).conditioning);
        refused(&|given| given.latents = given.latents.narrow(1, 0, 3).unwrap());
    }
    let mut unguided = given("flux-dev");
    unguided.conditioning.guidance = None;
    assert!(unguided.network().forward(&unguided).is_err(), "dev wants its guidance");
}

#[test]
fn a_picture_with_more_squares_than_places_is_an_error() -> Result<()> {
    let mut given = given("sd3").only(0);
    let network = given.network();
    given.grid = PixelGrid { pictures: 1, height: 2, width: 26 };
    given.latents = Tensor::zeros((52, 4), candle_core::DType::F32, &candle_core::Device::Cpu)?;
    assert!(network.forward(&given).is_err());
    Ok(())
}
