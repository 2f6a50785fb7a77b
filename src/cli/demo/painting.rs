//! Pictures in characters, two pixels in each, one above the other.

use std::fmt::Write;

use crate::image::Picture;

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shades {
    /// 24-bit colours.
    Colors,
    /// Characters that are more or less full.
    Grays,
}

/// From the darkest to the lightest, where letters are lighter than what they are on.
const GRAYS: [char; 5] = [' ', '░', '▒', '▓', '█'];

type Rgb = [u8; 3];

impl Shades {
    /// A line of text for every two rows of pixels.
    pub(super) fn paint(self, picture: &Picture) -> Vec<String> {
        let (pixels, _) = picture.rgb().as_chunks::<3>();
        let rows: Vec<&[Rgb]> = pixels.chunks_exact(picture.width() as usize).collect();
        let pairs = rows.chunks(2).map(|pair| (pair[0], pair[pair.len() - 1]));
        match self {
            Self::Colors => pairs.map(|(upper, lower)| colored(upper, lower)).collect(),
            Self::Grays => {
                let levels = || pixels.iter().copied().map(brightness);
                let range = (levels().fold(f32::MAX, f32::min), levels().fold(f32::MIN, f32::max));
                pairs.map(|(upper, lower)| gray(upper, lower, range)).collect()
            }
        }
    }
}

/// Upper halves of blocks in the colours of one row, on those of the other.
fn colored(upper: &[Rgb], lower: &[Rgb]) -> String {
    let mut line = String::new();
    let mut last = None;
    for (front, back) in upper.iter().zip(lower) {
        if last != Some((front, back)) {
            write!(line, "\x1b[38;2;{};48;2;{}m", levels(*front), levels(*back))
                .expect("a string takes everything");
            last = Some((front, back));
        }
        line.push('▀');
    }
    line + "\x1b[0m"
}

/// As terminals are told.
fn levels([r, g, b]: Rgb) -> String {
    format!("{r};{g};{b}")
}

/// The mean of both rows, within the darkest and the lightest that there is.
fn gray(upper: &[Rgb], lower: &[Rgb], (darkest, lightest): (f32, f32)) -> String {
    let shade = |(one, other): (&Rgb, &Rgb)| {
        let level = f32::midpoint(brightness(*one), brightness(*other));
        let share = (level - darkest) / (lightest - darkest).max(1.0);
        GRAYS[((share * GRAYS.len() as f32) as usize).min(GRAYS.len() - 1)]
    };
    upper.iter().zip(lower).map(shade).collect()
}

/// As the eye sees it, by ITU-R BT.601.
fn brightness([r, g, b]: Rgb) -> f32 {
    0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two columns; white above black, and twice red; and a third row.
    fn picture() -> Picture {
        let rows = [[255, 255, 255, 255, 0, 0], [0, 0, 0, 255, 0, 0], [0; 6]];
        Picture::new(2, 3, rows.concat()).unwrap()
    }

    #[test]
    fn two_rows_of_pixels_are_one_of_half_blocks() {
        let white_on_black = "\x1b[38;2;255;255;255;48;2;0;0;0m▀";
        let red = "\x1b[38;2;255;0;0;48;2;255;0;0m▀";
        let black = "\x1b[38;2;0;0;0;48;2;0;0;0m▀▀";
        let painted = Shades::Colors.paint(&picture());
        assert_eq!(painted, [format!("{white_on_black}{red}\x1b[0m"), format!("{black}\x1b[0m")]);
    }

    #[test]
    fn without_colours_characters_are_as_full_as_pixels_are_light() {
        assert_eq!(Shades::Grays.paint(&picture()), ["▒░", "  "]);
        let plain = Picture::new(2, 2, vec![77; 12]).unwrap();
        assert_eq!(Shades::Grays.paint(&plain), ["  "], "one level has no range");
    }
}
