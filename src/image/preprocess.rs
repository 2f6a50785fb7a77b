//! From a picture to what a network reads.

use super::Picture;
use super::patch_budget::PatchBudget;
use super::resample::Resample;
use super::resize::resize;
use super::window::Window;

/// A number for each of red, green and blue.
pub(super) type Channels = [f64; 3];

/// What a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// Its shape is kept: this is its shorter side.
    ShortSide(usize),
    /// Whatever its shape was.
    Exactly { height: usize, width: usize },
    /// As many whole patches as there may be.
    Patches(PatchBudget),
}

/// What a model's `preprocessor_config.json` says: resize, cut out the middle, scale, normalise, each or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessor {
    resize: Option<(Size, Resample)>,
    crop: Option<(usize, usize)>,
    /// What each of 256 levels of red, green and blue becomes.
    levels: Vec<[f32; 3]>,
}

/// A picture as a network reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelValues {
    /// Rows.
    pub height: usize,
    /// Numbers a row.
    pub width: usize,
    /// `[3, height, width]`: all of red, of green, of blue.
    pub values: Vec<f32>,
}

impl Preprocessor {
    /// Resizes to a size with a filter, cuts out height and width, multiplies by a factor, takes off the first
    /// and divides by the second: each if it is there.
    pub(super) fn new(
        resize: Option<(Size, Resample)>,
        crop: Option<(usize, usize)>,
        factor: Option<f64>,
        normal: Option<(Channels, Channels)>,
    ) -> Self {
        let value = |level: u8, channel: usize| {
            // In the order and the precision of the reference.
            let scaled = factor.map_or(f32::from(level), |factor| (f64::from(level) * factor) as f32);
            normal.map_or(scaled, |(mean, std)| (scaled - mean[channel] as f32) / std[channel] as f32)
        };
        let levels = (0..=255).map(|level| [0, 1, 2].map(|channel| value(level, channel))).collect();
        Self { resize, crop, levels }
    }

    /// Whether every level becomes a number.
    pub(super) fn is_finite(&self) -> bool {
        self.levels.as_flattened().iter().all(|level| level.is_finite())
    }

    /// Rows and numbers a row that every picture becomes, whatever its own; `None` if that depends.
    pub fn fixed_size(&self) -> Option<(usize, usize)> {
        self.crop.or(match self.resize {
            Some((Size::Exactly { height, width }, _)) => Some((height, width)),
            Some((Size::ShortSide(_) | Size::Patches(_), _)) | None => None,
        })
    }

    /// What side patches must have, and how many pictures become at most, where pictures are resized by that.
    pub(crate) fn patches(&self) -> Option<(usize, usize)> {
        match self.resize {
            Some((Size::Patches(PatchBudget { patch, most }), _)) => Some((patch, most)),
            _ => None,
        }
    }

    /// Rows and numbers a row that a picture of these sides becomes.
    pub fn size_of(&self, height: u32, width: u32) -> (usize, usize) {
        self.fixed_size().unwrap_or_else(|| self.resized(height as usize, width as usize))
    }

    /// What the network reads of `picture`. It takes 12 bytes for each pixel of [`size_of`](Self::size_of).
    pub fn apply(&self, picture: &Picture) -> PixelValues {
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        let (tall, wide) = self.resized(height, width);
        let window =
            |full, cut: Option<usize>| cut.map_or(Window::whole(full), |cut| Window::middle(full, cut));
        let rows = window(tall, self.crop.map(|(height, _)| height));
        let columns = window(wide, self.crop.map(|(_, width)| width));
        let filter = self.resize.map_or(Resample::Nearest, |(_, filter)| filter);
        let pixels = resize(picture, filter, &columns, &rows);
        self.values(&pixels, &rows, &columns)
    }

    /// The sides of the whole picture, resized.
    fn resized(&self, height: usize, width: usize) -> (usize, usize) {
        match self.resize {
            None => (height, width),
            Some((Size::Exactly { height, width }, _)) => (height, width),
            Some((Size::Patches(budget), _)) => budget.size_of(height, width),
            // What is left of a pixel is cut off.
            Some((Size::ShortSide(short), _)) if width <= height => (grown(short, height, width), short),
            Some((Size::ShortSide(short), _)) => (short, grown(short, width, height)),
        }
    }

    /// The numbers of `pixels`, which are what the windows show, on black.
    fn values(&self, pixels: &[u8], rows: &Window, columns: &Window) -> PixelValues {
        let (height, width) = (rows.result, columns.result);
        let mut values = Vec::with_capacity(3 * height * width);
        let lines = pixels.chunks_exact((3 * columns.shown.len()).max(1));
        for channel in 0..3 {
            values.resize((channel + 1) * height * width, self.levels[0][channel]);
            let plane = &mut values[channel * height * width..][rows.at * width..];
            for (line, out) in lines.clone().zip(plane.chunks_exact_mut(width)) {
                let shown = &mut out[columns.at..][..columns.shown.len()];
                for (value, pixel) in shown.iter_mut().zip(line.as_chunks::<3>().0) {
                    *value = self.levels[usize::from(pixel[channel])][channel];
                }
            }
        }
        PixelValues { height, width, values }
    }
}

/// The long side, when the short one becomes `side`. The quotient of two integers, in the reference's order.
fn grown(side: usize, long: usize, short: usize) -> usize {
    ((side * long) as f64 / short as f64) as usize
}
