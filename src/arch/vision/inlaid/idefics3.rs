//! Idefics 3 and `SmolVLM`: Laurençon et al., arXiv 2408.12637; Marafioti et al., arXiv 2504.05299. Reference:
//! `modeling_idefics3.py` and `processing_idefics3.py` of transformers.
//!
//! A picture is read in tiles and as a whole by `SigLIP`; squares of neighbouring patches become one row each. In a
//! prompt, each tile is told by its row and column.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use serde::Deserialize;
use serde_json::Value;

use super::family::{Controls, Eyes, Family, Prepared, Rows};
use crate::arch::bounds::{bad, within};
use crate::arch::preprocessing::read_preprocessor;
use crate::arch::vision::patches::{load_tower, squares};
use crate::arch::vit::{self, VitConfig};
use crate::arch::{ArchError, Bias, Scope, read_required};
use crate::image::{Picture, PixelValues, Preprocessor, Tiling};
use crate::kernels::Linear;
use crate::weights::ModelFolder;

/// What stands around each tile.
const AROUND: &str = "<fake_token_around_image>";
/// What the whole picture begins with.
const WHOLE: &str = "<global-img>";

/// What a tile begins with. Both count from 1.
fn row_and_column(row: usize, column: usize) -> String {
    format!("<row_{row}_col_{column}>")
}

/// `config.json`.
#[derive(Debug, Deserialize)]
struct IdeficsConfig {
    vision_config: Option<Value>,
    image_token_id: Option<u32>,
    scale_factor: Option<usize>,
}

/// The family as one folder describes it.
#[derive(Debug)]
pub(super) struct Idefics3 {
    tower: VitConfig,
    tiling: Tiling,
    values: Preprocessor,
    image_token: u32,
    hidden_size: usize,
    /// So many by so many patches become one row.
    merged: usize,
    /// Rows of a tile.
    rows: usize,
}

impl Idefics3 {
    /// For a decoder whose vectors have `hidden_size` numbers.
    pub(super) fn read(folder: &ModelFolder, hidden_size: usize) -> std::result::Result<Self, ArchError> {
        let config: IdeficsConfig = read_required(folder, "config.json")?;
        let tower = vit::read_idefics_tower(config.vision_config.as_ref())?;
        let (tiling, values) = read_preprocessor(folder)?.tiling()?;
        if tiling.tile() as usize != tower.image_size {
            let expected = format!("the network reads {0} x {0} pixels", tower.image_size);
            return Err(bad("max_image_size", tiling.tile(), expected));
        }
        let (side, merged) = (tower.trained_side(), config.scale_factor.unwrap_or(2));
        within("scale_factor", merged, 1..=side)?;
        if !side.is_multiple_of(merged) {
            return Err(bad("scale_factor", merged, format!("it must divide the {side} patches of a side")));
        }
        let rows = (side / merged) * (side / merged);
        let image_token = config.image_token_id.unwrap_or(128_257);
        Ok(Self { tower, tiling, values, image_token, hidden_size, merged, rows })
    }
}

impl Family for Idefics3 {
    fn image_token(&self) -> u32 {
        self.image_token
    }

    fn controls(&self) -> Controls {
        let side = self.tiling.most_a_side();
        let tiles = (1..=side).flat_map(|row| (1..=side).map(move |column| row_and_column(row, column)));
        let texts = [AROUND, WHOLE].map(str::to_owned).into_iter().chain(tiles).collect();
        Controls { ids: Vec::new(), texts }
    }

    fn prepare(&self, picture: &Picture) -> std::result::Result<Prepared, String> {
        let tiles = self.tiling.cut(picture).map_err(|error| error.to_string())?;
        let views: Vec<PixelValues> = tiles.pictures.iter().map(|tile| self.values.apply(tile)).collect();
        let rows = views.len() * self.rows;
        Ok(Prepared { views, shape: [tiles.rows, tiles.columns], rows })
    }

    fn rows(&self) -> Rows {
        Rows { fewest: self.rows, usual: self.rows * self.tiling.most() }
    }

    fn filling(
        &self,
        [rows, columns]: [usize; 2],
        token: &dyn Fn(u32) -> Option<String>,
    ) -> std::result::Result<String, u32> {
        let tile = token(self.image_token).ok_or(self.image_token)?.repeat(self.rows);
        let mut filling = String::new();
        for row in 1..=rows {
            for column in 1..=columns {
                filling.extend([AROUND, &row_and_column(row, column), &tile]);
            }
            filling.push('\n');
        }
        let between = if rows > 0 { "\n" } else { "" };
        filling.extend([between, AROUND, WHOLE, &tile, AROUND]);
        Ok(filling)
    }

    fn load(&self, root: &Scope<'_>) -> std::result::Result<Box<dyn Eyes>, ArchError> {
        let root = root.sub_if("model", "connector.modality_projection.proj.weight");
        let tower = load_tower(&root.sub("vision_model"), &self.tower)?;
        let inputs = self.tower.hidden_size * self.merged * self.merged;
        let scope = root.sub("connector.modality_projection");
        let projection = scope.linear("proj", inputs, self.hidden_size, Bias::Absent)?;
        Ok(Box::new(IdeficsEyes { tower, projection, side: self.tower.trained_side(), merged: self.merged }))
    }

    fn is_decoders(&self, name: &str) -> bool {
        !name.contains("vision_model.") && !name.contains("connector.")
    }

    fn pass_numbers(&self, threads: NonZeroUsize) -> u64 {
        let tokens = self.rows * self.merged * self.merged;
        // All tiles of a picture are prepared before the first is read.
        let tiles = self.tiling.most().saturating_mul(tokens * self.tower.patch_numbers()) as u64;
        let rows = (self.tiling.most() * self.rows).saturating_mul(self.hidden_size) as u64;
        self.tower.pass_numbers(tokens, tokens, threads).saturating_add(tiles).saturating_add(rows)
    }

    fn tower(&self) -> (&'static str, usize) {
        (self.tower.architecture.model_type(), self.tower.patch_size)
    }
}

#[derive(Debug)]
struct IdeficsEyes {
    tower: vit::Network,
    projection: Linear,
    /// Patches of a side.
    side: usize,
    merged: usize,
}

impl Eyes for IdeficsEyes {
    /// The vectors of a square of patches, row by row, side by side, become one.
    fn see(&self, view: &PixelValues) -> Result<Tensor> {
        let tokens = self.tower.forward(&[view])?;
        self.projection.forward(&squares(&tokens, self.side, self.merged)?.flatten_from(1)?)
    }
}
