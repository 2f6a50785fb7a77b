//! The scenes that models are asked about: `tests/fixtures/world`, which `make.py` there has drawn and described.

use std::path::{Path, PathBuf};

use millpond::capability::ImageSource;
use millpond::image::{Picture, decode};
use serde::Deserialize;

/// Pixels of a tile's side.
const SIDE: usize = 64;

#[derive(Debug, Deserialize)]
pub(crate) struct Scenes {
    /// How many tiles the sheet has in a row.
    columns: usize,
    /// Scenes of one object. Their tiles come first, in the same order.
    pub(crate) singles: Vec<Single>,
    /// A caption of each scene, and another; the first are of the singles.
    pub(crate) paraphrases: Vec<(String, String)>,
    /// A question on a scene that it describes, and the answer.
    pub(crate) asked_of_texts: Vec<(String, String)>,
    /// The number of a tile, a question about it, and the answer.
    pub(crate) asked_of_pictures: Vec<(usize, String, String)>,
    /// The number of a single, and what to draw.
    pub(crate) drawn: Vec<(usize, String)>,
}

/// Colour, shape, background, and the plain caption.
#[derive(Debug, Deserialize)]
#[serde(from = "(String, String, String, String)")]
pub(crate) struct Single {
    pub(crate) color: String,
    pub(crate) shape: String,
    pub(crate) background: String,
    pub(crate) caption: String,
}

impl From<(String, String, String, String)> for Single {
    fn from((color, shape, background, caption): (String, String, String, String)) -> Self {
        Self { color, shape, background, caption }
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/world").join(name)
}

impl Scenes {
    pub(crate) fn read() -> Self {
        let file = std::fs::read(fixture("scenes.json")).expect("the fixture is there");
        serde_json::from_slice(&file).expect("the fixture is as make.py writes it")
    }

    /// The sheet, cut into its tiles.
    pub(crate) fn tiles(&self) -> Vec<ImageSource> {
        let sheet = decode(&ImageSource::path(fixture("scenes.png"))).expect("the fixture is a picture");
        let rows = sheet.height() as usize / SIDE;
        (0..rows * self.columns)
            .map(|tile| tile_of(&sheet, SIDE * (tile % self.columns), SIDE * (tile / self.columns)))
            .collect()
    }
}

/// The tile whose upper left corner is here.
fn tile_of(sheet: &Picture, left: usize, top: usize) -> ImageSource {
    let row = |y: usize| &sheet.rgb()[3 * (y * sheet.width() as usize + left)..][..3 * SIDE];
    let rgb: Vec<u8> = (top..top + SIDE).flat_map(row).copied().collect();
    ImageSource::pixels(SIDE as u32, SIDE as u32, rgb)
}
