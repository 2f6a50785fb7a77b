//! The vectors of places, for pictures of any size.

use std::borrow::Cow;

use super::config::Places;
use super::patches::Grid;

/// The learned vectors: one for the class token, if there is one, and one for each patch of a square picture.
#[derive(Debug)]
pub(super) struct Positions {
    /// `[hidden]`, or empty.
    pub(super) class: Vec<f32>,
    /// `[side x side, hidden]`
    patches: Vec<f32>,
    side: usize,
    places: Places,
    /// Those of the grid that most pictures have, if it is another.
    usual: Option<(Grid, Vec<f32>)>,
}

/// The vectors that one of another size is made of, and how much of each.
type Mixture = Vec<Vec<(usize, f32)>>;

impl Positions {
    /// Of `patches`, `[side x side, hidden]`, with those for `usual` made ready.
    pub(super) fn new(
        class: Vec<f32>,
        patches: Vec<f32>,
        side: usize,
        places: Places,
        usual: Option<Grid>,
    ) -> Self {
        let mut positions = Self { class, patches, side, places, usual: None };
        positions.usual = usual.and_then(|grid| match positions.of(grid) {
            Cow::Borrowed(_) => None,
            Cow::Owned(stretched) => Some((grid, stretched)),
        });
        positions
    }

    /// Those of the patches of a picture: `[patches, hidden]`.
    pub(super) fn of(&self, grid: Grid) -> Cow<'_, [f32]> {
        if grid == (Grid { height: self.side, width: self.side }) {
            return Cow::Borrowed(&self.patches);
        }
        if let Some((_, usual)) = self.usual.as_ref().filter(|(usual, _)| *usual == grid) {
            return Cow::Borrowed(usual);
        }
        let (side, hidden) = (self.side, self.patches.len() / (self.side * self.side));
        let [columns, rows] = [grid.width, grid.height].map(|length| mixture(side, length, self.places));
        // The shorter side first: of a picture that is one long row, all the trained rows would be as long.
        Cow::Owned(if grid.width <= grid.height {
            let narrow = mix(&self.patches, side, hidden, &columns);
            mix(&narrow, side, grid.width * hidden, &rows)
        } else {
            let low = mix(&self.patches, side, side * hidden, &rows);
            mix(&low, side, hidden, &columns)
        })
    }
}

/// How `length` vectors in a line are made of `side`, as torch's `interpolate` does it in its modes `bicubic` and
/// `bilinear`, with the outer edges of both lines in one place.
fn mixture(side: usize, length: usize, places: Places) -> Mixture {
    let scale = side as f64 / length as f64;
    let of = |place| match places {
        Places::Linear => wide(side, place, scale, (1.0, |x| (1.0 - x.abs()).max(0.0))),
        Places::Cubic { antialias: true } => wide(side, place, scale, (2.0, |x| cubic(x, -0.5))),
        Places::Cubic { antialias: false } | Places::Fixed => narrow(side, place, scale),
    };
    (0..length).map(of).collect()
}

/// The four nearest, the outermost of which stand for those beyond.
fn narrow(side: usize, place: usize, scale: f64) -> Vec<(usize, f32)> {
    let middle = (place as f64 + 0.5) * scale - 0.5;
    let first = middle.floor();
    let vector = |step: i32| {
        let at = first + f64::from(step);
        let weight = cubic(middle - at, -0.75);
        (at.clamp(0.0, side as f64 - 1.0) as usize, weight as f32)
    };
    (-1..=2).map(vector).collect()
}

/// All that a filter, which reaches so far to either side, reaches when it is widened where the line gets shorter.
fn wide(side: usize, place: usize, scale: f64, (reach, filter): (f64, fn(f64) -> f64)) -> Vec<(usize, f32)> {
    let widened = scale.max(1.0);
    let middle = (place as f64 + 0.5) * scale;
    // A cast to an unsigned integer cuts what is below zero off.
    let first = (middle - reach * widened + 0.5) as usize;
    let end = ((middle + reach * widened + 0.5) as usize).min(side);
    let weight = |at: usize| filter((at as f64 - middle + 0.5) / widened);
    let sum: f64 = (first..end).map(weight).sum();
    (first..end).map(|at| (at, (weight(at) / sum) as f32)).collect()
}

/// Keys' cubic convolution, of parameter `a`.
fn cubic(x: f64, a: f64) -> f64 {
    match x.abs() {
        far if far < 1.0 => ((a + 2.0) * far - (a + 3.0)) * far * far + 1.0,
        far if far < 2.0 => ((far - 5.0) * far + 8.0) * far * a - 4.0 * a,
        _ => 0.0,
    }
}

/// The mixtures of each line of `length` vectors, which have `width` numbers.
fn mix(lines: &[f32], length: usize, width: usize, mixture: &Mixture) -> Vec<f32> {
    let mut out = Vec::with_capacity(lines.len() / length * mixture.len());
    for line in lines.chunks_exact(length * width) {
        for parts in mixture {
            let start = out.len();
            out.resize(start + width, 0.0);
            for (at, weight) in parts {
                let vector = &line[at * width..][..width];
                out[start..].iter_mut().zip(vector).for_each(|(sum, number)| *sum += number * weight);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Places; 3] =
        [Places::Cubic { antialias: false }, Places::Cubic { antialias: true }, Places::Linear];

    #[test]
    fn weights_sum_to_one_and_the_middle_of_an_even_line_is_symmetric() {
        for (side, length) in [(37, 16), (4, 9), (1, 3), (16, 5), (5, 5)] {
            for places in ALL {
                for parts in mixture(side, length, places) {
                    let sum: f32 = parts.iter().map(|(_, weight)| weight).sum();
                    assert!((sum - 1.0).abs() < 1e-6, "{side} to {length}: {parts:?}");
                    assert!(parts.iter().all(|(at, _)| *at < side));
                }
            }
        }
    }

    #[test]
    fn a_plane_stays_a_plane_inside_and_constants_stay() {
        let side = 8;
        let patches: Vec<f32> = (0..side * side).flat_map(|at| [(at / side) as f32, 3.0]).collect();
        for places in ALL {
            let positions = Positions::new(Vec::new(), patches.clone(), side, places, None);
            let stretched = positions.of(Grid { height: 16, width: 3 });
            assert_eq!(stretched.len(), 16 * 3 * 2);
            assert!(stretched.chunks(2).all(|vector| (vector[1] - 3.0).abs() < 1e-5));
            // Row 8 of 16 lies at 3.75 of 8; of cubic pieces only those with a parameter of -0.5 give
            // straight lines.
            let exact = if places == ALL[0] { 0.05 } else { 1e-5 };
            assert!((stretched[8 * 3 * 2] - 3.75).abs() < exact, "{}", stretched[8 * 3 * 2]);
            let wide = positions.of(Grid { height: 3, width: 16 });
            assert_eq!(wide.len(), 3 * 16 * 2);
            assert!(wide[2 * 16..][..2 * 16].chunks(2).all(|vector| (vector[0] - 3.5).abs() < 1e-5));
        }
    }

    #[test]
    fn straight_pieces_reach_their_neighbours_and_further_when_a_line_shrinks() {
        assert_eq!(mixture(2, 4, Places::Linear)[1], [(0, 0.75), (1, 0.25)]);
        assert_eq!(
            mixture(4, 2, Places::Linear)[0],
            [(0, 0.375 / 0.875), (1, 0.375 / 0.875), (2, 0.125 / 0.875)]
        );
        assert_eq!(mixture(3, 1, Places::Linear)[0].len(), 3);
    }
}
