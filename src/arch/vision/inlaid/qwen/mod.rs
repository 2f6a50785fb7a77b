//! Qwen 2 VL and 2.5 VL: Wang et al., arXiv 2409.12191; Bai et al., arXiv 2502.13923. Reference:
//! `modeling_qwen2_vl.py`, `modeling_qwen2_5_vl.py` and `processing_qwen2_vl.py` of transformers.
//!
//! Pictures keep their shape: they are resized to whole squares of patches, each of which becomes one row. The decoder
//! is told where in a picture a row is: places have three parts (when, how far down, how far across), which are the
//! same in text.
//!
//! A picture is one view, however large, so it is read in one step, which texts under way wait for: `max_pixels` in the
//! folder's `preprocessor_config.json` says how large it becomes.

mod config;
mod tower;

use std::num::NonZeroUsize;
use std::ops::Range;

use super::family::{Controls, Eyes, Family, Prepared, Rows};
use crate::arch::bounds::bad;
use crate::arch::decoder::{Place, Places};
use crate::arch::preprocessing::read_preprocessor;
use crate::arch::{ArchError, Scope, read_required};
use crate::image::{Fitting, Picture, Preprocessor};
use crate::weights::ModelFolder;
use config::{QwenConfig, TowerConfig};
use tower::Tower;

/// The most patches of one picture: attention looks from each at all.
const MAX_PATCHES: usize = 16_384;

/// The most patches of a side.
const MAX_SIDE: u16 = 1024;

/// Sides of a picture whose rows are taken for usual, in pixels.
const USUAL: (u32, u32) = (480, 640);

/// The family as one folder describes it.
#[derive(Debug)]
pub(super) struct QwenVl {
    tower: TowerConfig,
    fitting: Fitting,
    values: Preprocessor,
    image_token: u32,
    vision_start: u32,
    vision_end: u32,
}

impl QwenVl {
    /// For a decoder whose vectors have `hidden_size` numbers.
    pub(super) fn read(folder: &ModelFolder, hidden_size: usize) -> Result<Self, ArchError> {
        let config: QwenConfig = read_required(folder, "config.json")?;
        let (image_token, vision_start, vision_end) = config.tokens();
        let tower = config.lower()?;
        if tower.outputs != hidden_size {
            let expected = format!("the decoder's vectors have {hidden_size} numbers");
            return Err(bad("vision_config.out_hidden_size", tower.outputs, expected));
        }
        let (fitting, values) =
            read_preprocessor(folder)?.fitting(tower.patch_size as u32, tower.merged as u32)?;
        Ok(Self { tower, fitting, values, image_token, vision_start, vision_end })
    }

    /// How many squares of patches there are down and across, of a picture of these sides.
    fn squares(&self, height: u32, width: u32) -> [usize; 2] {
        let square = self.tower.patch_size * self.tower.merged;
        [height as usize / square, width as usize / square]
    }

    /// What else would do where a folder lets pictures become so many patches.
    fn fewer_pixels(&self, patches: usize) -> String {
        let most = MAX_PATCHES * self.tower.patch_size * self.tower.patch_size;
        if patches <= MAX_PATCHES || !self.fitting.resizes() {
            return String::new();
        }
        format!(", or have max_pixels in the folder's preprocessor_config.json be at most {most}")
    }
}

impl Family for QwenVl {
    fn image_token(&self) -> u32 {
        self.image_token
    }

    fn mark(&self, token: &dyn Fn(u32) -> Option<String>) -> Option<String> {
        let ids = [self.vision_start, self.image_token, self.vision_end];
        ids.into_iter().map(token).collect()
    }

    fn controls(&self) -> Controls {
        Controls { ids: vec![self.vision_start, self.vision_end], texts: Vec::new() }
    }

    fn prepare(&self, picture: &Picture) -> Result<Prepared, String> {
        let (height, width) = self.fitting.size_of(picture.height(), picture.width())?;
        let [down, across] = self.squares(height, width);
        let merged = self.tower.merged;
        let patches = (down * across).saturating_mul(merged * merged);
        if !(1..=MAX_PATCHES).contains(&patches) || down.max(across) * merged > usize::from(MAX_SIDE) {
            return Err(format!(
                "it becomes {} x {} patches, and at most {MAX_PATCHES} in all and {MAX_SIDE} on a side are looked \
                 at: scale it down{}",
                across * merged,
                down * merged,
                self.fewer_pixels(patches)
            ));
        }
        let resized = self.fitting.apply(picture, height, width).map_err(|error| error.to_string())?;
        let views = vec![self.values.apply(&resized)];
        Ok(Prepared { views, shape: [down, across], rows: down * across })
    }

    fn rows(&self) -> Rows {
        let usual = self
            .fitting
            .size_of(USUAL.0, USUAL.1)
            .map_or(1, |(height, width)| self.squares(height, width).iter().product::<usize>().max(1));
        Rows { fewest: 1, usual }
    }

    fn filling(
        &self,
        [down, across]: [usize; 2],
        token: &dyn Fn(u32) -> Option<String>,
    ) -> Result<String, u32> {
        Ok(token(self.image_token).ok_or(self.image_token)?.repeat(down * across))
    }

    fn places(&self, tokens: usize, pictures: &[(Range<usize>, [usize; 2])]) -> Option<Places> {
        (!pictures.is_empty()).then(|| places(tokens, pictures))
    }

    fn load(&self, root: &Scope<'_>) -> Result<Box<dyn Eyes>, ArchError> {
        let root = root.sub_if("model", "visual.patch_embed.proj.weight");
        Ok(Box::new(Tower::load(&root.sub("visual"), &self.tower)?))
    }

    fn is_decoders(&self, name: &str) -> bool {
        !name.starts_with("visual.") && !name.contains(".visual.")
    }

    fn pass_numbers(&self, threads: NonZeroUsize) -> u64 {
        let most = self.fitting.most_pixels() / (self.tower.patch_size as u64).pow(2).max(1);
        let patches = usize::try_from(most).unwrap_or(MAX_PATCHES).clamp(1, MAX_PATCHES);
        self.tower.pass_numbers(patches, threads)
    }

    fn tower(&self) -> (&'static str, usize) {
        ("qwen2_vl", self.tower.patch_size)
    }
}

/// A picture begins where the text before it ends; the text behind it goes on from its longer side.
fn places(tokens: usize, pictures: &[(Range<usize>, [usize; 2])]) -> Places {
    let (mut prompt, mut next) = (Vec::<Place>::with_capacity(tokens), 0u32);
    let text = |prompt: &mut Vec<Place>, next: &mut u32, end: usize| {
        while prompt.len() < end {
            prompt.push([*next; 3]);
            *next += 1;
        }
    };
    for (span, [down, across]) in pictures {
        text(&mut prompt, &mut next, span.start);
        let squares = (0..*down as u32).flat_map(|row| (0..*across as u32).map(move |column| (row, column)));
        prompt.extend(squares.map(|(row, column)| [next, next + row, next + column]));
        next += (*down).max(*across) as u32;
    }
    text(&mut prompt, &mut next, tokens);
    Places { prompt, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_on_from_the_longer_side_of_a_picture() {
        let found = places(9, &[(1..7, [2, 3])]);
        let expected = [
            [0, 0, 0],
            [1, 1, 1],
            [1, 1, 2],
            [1, 1, 3],
            [1, 2, 1],
            [1, 2, 2],
            [1, 2, 3],
            [4, 4, 4],
            [5, 5, 5],
        ];
        assert_eq!((found.prompt.as_slice(), found.next), (&expected[..], 6));
    }
}
