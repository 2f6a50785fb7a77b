//! How many numbers a diffusion transformer has and holds.

use std::num::NonZeroUsize;

use super::config::Frame;
use super::flux_config::FluxConfig;
use super::joint::StreamShape;
use super::sd3_config::Sd3Config;
use super::signals::WAVES;
use crate::arch::pieces::PIECE_TOKENS;
use crate::kernels::{PixelGrid, scratch_numbers};

/// The numbers of linear layers' weights, as they add up.
#[derive(Clone, Copy, Debug, Default)]
struct Count(u64);

impl Count {
    /// So many layers of a kind.
    fn layers(&mut self, count: usize, inputs: usize, outputs: usize) {
        self.0 += (count * inputs) as u64 * outputs as u64;
    }

    /// What both networks have around their blocks.
    fn ends(&mut self, frame: &Frame, guided: bool) {
        let width = frame.width();
        self.layers(1, frame.square(), width);
        self.layers(1, frame.token_width, width);
        self.layers(1, frame.pooled_width, width);
        self.layers(if guided { 2 } else { 1 }, WAVES, width);
        self.layers(if guided { 3 } else { 2 }, width, width);
        self.layers(1, width, 2 * width);
        self.layers(1, width, frame.square());
    }

    /// What the tokens of one kind go through in a joint block, after attention or only before it.
    fn stream(&mut self, frame: &Frame, StreamShape { chunks, after }: StreamShape) {
        let (width, inner) = (frame.width(), frame.inner());
        self.layers(1, width, chunks * width);
        self.projection(frame);
        if after {
            self.layers(1, width, width);
            self.layers(1, width, inner);
            self.layers(1, inner, width);
        }
    }

    fn projection(&mut self, frame: &Frame) {
        self.layers(3, frame.width(), frame.width());
    }
}

impl Sd3Config {
    /// How many numbers the weights of all linear layers are.
    pub(crate) fn linear_numbers(&self) -> u64 {
        self.count().0
    }

    fn count(&self) -> Count {
        let (frame, width) = (&self.frame, self.frame.width());
        let mut count = Count::default();
        count.ends(frame, false);
        for shape in self.shapes() {
            count.stream(frame, shape.text());
            count.stream(frame, shape.picture());
            if shape.twice {
                count.projection(frame);
                count.layers(1, width, width);
            }
        }
        count
    }

    /// How many numbers a pass holds at once on so many threads, for pictures of `grid` with texts of `length`
    /// tokens.
    pub(crate) fn pass_numbers(&self, grid: PixelGrid, length: usize, threads: NonZeroUsize) -> u64 {
        let twice = self.twice.contains(&true);
        pass_numbers(&self.frame, grid, length, twice, threads)
    }
}

impl FluxConfig {
    /// How many numbers the weights of all linear layers are.
    pub(crate) fn linear_numbers(&self) -> u64 {
        self.count().0
    }

    fn count(&self) -> Count {
        let (frame, width, inner) = (&self.frame, self.frame.width(), self.frame.inner());
        let mut count = Count::default();
        count.ends(frame, self.guided);
        for _ in 0..self.joint_blocks {
            count.stream(frame, Self::SHAPE.text());
            count.stream(frame, Self::SHAPE.picture());
        }
        for _ in 0..self.single_blocks {
            count.layers(1, width, 3 * width);
            count.projection(frame);
            count.layers(1, width, inner);
            count.layers(1, width + inner, width);
        }
        count
    }

    /// How many numbers a pass holds at once on so many threads, for pictures of `grid` with texts of `length`
    /// tokens.
    pub(crate) fn pass_numbers(&self, grid: PixelGrid, length: usize, threads: NonZeroUsize) -> u64 {
        pass_numbers(&self.frame, grid, length, false, threads)
    }
}

/// Latents in and out and as squares; tokens, their queries, keys and values, and what attention has found, once or
/// twice; of one piece, what is widest in a block.
fn pass_numbers(frame: &Frame, grid: PixelGrid, length: usize, twice: bool, threads: NonZeroUsize) -> u64 {
    let width = frame.width() as u64;
    let squares = (grid.pixels() / (frame.side * frame.side)) as u64;
    let (pictures, tokens) = (grid.pictures as u64, squares.saturating_add(length as u64));
    let all = pictures.saturating_mul(tokens).saturating_mul(width);
    let again = if twice { pictures.saturating_mul(squares).saturating_mul(width) } else { 0 };
    let latents = pictures.saturating_mul(grid.pixels() as u64).saturating_mul(4 * frame.channels as u64);
    // Normalised, up, both side by side, and down.
    let piece = PIECE_TOKENS as u64 * (11 * width);
    // Angles, where there are any.
    let table = tokens.saturating_mul(frame.head_size as u64);
    let attention =
        scratch_numbers(frame.heads.saturating_mul(grid.pictures), frame.head_size, tokens as usize, threads)
            as u64;
    let passing = all.saturating_mul(5).saturating_add(again).saturating_add(latents);
    passing.saturating_add(table).saturating_add(piece.max(attention))
}

#[cfg(test)]
mod tests {
    use super::super::flux_config::tests::flux;
    use super::super::sd3_config::tests::sd3;
    use super::*;
    use crate::arch::example::Example;

    #[test]
    fn what_a_checkpoint_holds_is_told_exactly() {
        for name in ["sd3", "sd35"] {
            let example = Example::of(&format!("diffusion_transformer/{name}"));
            let config = Sd3Config::read(&example.folder).unwrap();
            let numbers = example.matrix_numbers(|name| name != "pos_embed.pos_embed");
            assert_eq!(config.linear_numbers(), numbers, "{name}");
        }
        for name in ["flux-dev", "flux-schnell"] {
            let example = Example::of(&format!("diffusion_transformer/{name}"));
            let config = FluxConfig::read(&example.folder).unwrap();
            let numbers = example.matrix_numbers(|name| name != "pos_embed.pos_embed");
            assert_eq!(config.linear_numbers(), numbers, "{name}");
        }
    }

    #[test]
    fn the_published_ones_are_as_large_as_they_are_known_to_be() {
        let dev = flux(r#"{"guidance_embeds": true}"#).unwrap().linear_numbers();
        assert!((11_850_000_000..11_902_000_000).contains(&dev), "{dev}");
        let medium = sd3(r#"{"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
            "pos_embed_max_size": 192}"#);
        let medium = medium.unwrap().linear_numbers();
        assert!((2_020_000_000..2_040_000_000).contains(&medium), "{medium}");
    }

    #[test]
    fn a_pass_grows_with_tokens_and_not_with_their_square() {
        let config = flux("{}").unwrap();
        let of = |side| {
            let grid = PixelGrid { pictures: 1, height: side, width: side };
            config.pass_numbers(grid, 512, NonZeroUsize::MIN)
        };
        // 1024 x 1024 pixels: 4608 tokens, five times 3072 wide, are 283 MB, and not much more.
        let (small, large) = (of(64), of(128));
        assert!((70_778_880..85_000_000).contains(&large), "{large}");
        assert!(large < 4 * small, "{small} and {large}");
        let many = PixelGrid { pictures: usize::MAX, height: 2, width: 2 };
        assert_eq!(config.pass_numbers(many, 512, NonZeroUsize::MIN), u64::MAX);
    }
}
