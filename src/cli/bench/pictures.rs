//! Pictures to embed.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::round::{Sample, Subject};
use crate::capability::{EmbedImageRequest, ImageEmbedding, ImageSource};
use crate::cli::failure::Failure;
use crate::pool::Pool;

/// Their sides: decoding is not measured, but that every picture is resized is.
const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

/// Pictures of noise, for a model that embeds.
pub(super) struct Pictures<'a> {
    pool: &'a Pool<ImageEmbedding>,
    key: &'a str,
}

/// The `number`-th picture.
pub(super) fn noise(number: usize) -> ImageSource {
    let mut rgb = vec![0; 3 * (WIDTH * HEIGHT) as usize];
    fastrand::Rng::with_seed(number as u64).fill(&mut rgb);
    ImageSource::pixels(WIDTH, HEIGHT, rgb)
}

impl<'a> Pictures<'a> {
    pub(super) fn new(pool: &'a Pool<ImageEmbedding>, key: &'a str) -> Self {
        Self { pool, key }
    }
}

impl Subject for Pictures<'_> {
    fn ask(&self, number: usize, _: &AtomicBool) -> Result<Sample, Failure> {
        let request = EmbedImageRequest::new(noise(number));
        let begun = Instant::now();
        self.pool.submit_wait(self.key, request).map_err(crate::Error::from)?;
        Ok(Sample { waited: begun.elapsed(), ..Sample::default() })
    }
}
