//! Pictures to draw.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::round::{Sample, Subject};
use super::words::unlike_text;
use crate::capability::{DrawRequest, TextToImage};
use crate::cli::failure::Failure;
use crate::pool::Pool;

/// Prompts, for a model that draws.
pub(super) struct Drawings<'a> {
    pool: &'a Pool<TextToImage>,
    key: &'a str,
}

impl<'a> Drawings<'a> {
    pub(super) fn new(pool: &'a Pool<TextToImage>, key: &'a str) -> Self {
        Self { pool, key }
    }
}

impl Subject for Drawings<'_> {
    fn ask(&self, number: usize, _: &AtomicBool) -> Result<Sample, Failure> {
        let mut request = DrawRequest::new(unlike_text(12, number));
        request.seed = Some(number as u64);
        let begun = Instant::now();
        self.pool.submit_wait(self.key, request).map_err(crate::Error::from)?;
        Ok(Sample { waited: begun.elapsed(), ..Sample::default() })
    }
}
