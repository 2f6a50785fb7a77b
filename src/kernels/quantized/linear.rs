//! The weights of a linear layer, packed once for the whole process.

use rayon::prelude::*;

use super::panel::{LANES, Record};
use super::{QuantKind, expand, pack};

/// Why blocks do not become a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuantError {
    /// A row is empty or ends within a block.
    #[error("rows of {width} weights do not divide into blocks of {block}")]
    Width {
        /// Weights in a row.
        width: usize,
        /// Weights in a block.
        block: usize,
    },
    /// There are more or fewer bytes than the shape asks for.
    #[error("{found} bytes for a matrix of {out} x {width} {kind:?} weights")]
    Length {
        /// The kind of weights.
        kind: QuantKind,
        /// Rows.
        out: usize,
        /// Weights in a row.
        width: usize,
        /// Bytes given.
        found: usize,
    },
    /// A block's scale is infinite or not a number.
    #[error("row {row} has a scale that is not a finite number")]
    Scale {
        /// Which row.
        row: usize,
    },
    /// The system has no memory for the packed weights.
    #[error("no memory for {bytes} bytes of packed weights")]
    Memory {
        /// How many were asked for.
        bytes: usize,
    },
}

/// A cache line: what packed weights are aligned to.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// `y = W x`, with W `[out, width]` as it is in a GGUF file but for the order of its bytes.
#[derive(Debug)]
pub(crate) struct QuantizedLinear {
    kind: QuantKind,
    out: usize,
    width: usize,
    /// `[panel][block]` records.
    lines: Vec<Line>,
}

impl QuantizedLinear {
    /// Packs `out` rows of `width` weights, which `bytes` holds as a GGUF file does: row after row of blocks.
    ///
    /// Uses the threads of the current rayon pool.
    pub(crate) fn from_gguf_blocks(
        kind: QuantKind,
        bytes: &[u8],
        out: usize,
        width: usize,
    ) -> Result<Self, QuantError> {
        let block = kind.block_weights();
        if width == 0 || !width.is_multiple_of(block) {
            return Err(QuantError::Width { width, block });
        }
        let row_bytes = (width / block).checked_mul(kind.block_bytes());
        if out == 0 || row_bytes.and_then(|row| row.checked_mul(out)) != Some(bytes.len()) {
            return Err(QuantError::Length { kind, out, width, found: bytes.len() });
        }
        let record_lines = Record::of(kind).bytes / 64;
        let panel_lines = width / block * record_lines;
        let mut lines = zeros(panel_lines, out.div_ceil(LANES))?;
        let row_bytes = bytes.len() / out;
        let panels = lines.par_chunks_mut(panel_lines).zip(bytes.par_chunks(row_bytes * LANES)).enumerate();
        panels.try_for_each(|(panel, (lines, rows))| {
            for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
                if !pack_row(kind, row, lane, bytes_of_mut(lines)) {
                    return Err(QuantError::Scale { row: panel * LANES + lane });
                }
            }
            Ok(())
        })?;
        Ok(Self { kind, out, width, lines })
    }

    /// What [`from_gguf_blocks`](Self::from_gguf_blocks) takes of memory for a shape.
    pub(crate) fn packed_bytes(kind: QuantKind, out: usize, width: usize) -> usize {
        let records = out.div_ceil(LANES).saturating_mul(width.div_ceil(kind.block_weights()));
        records.saturating_mul(Record::of(kind).bytes)
    }

    /// Rows of the matrix: numbers in an output.
    pub(crate) fn out(&self) -> usize {
        self.out
    }

    /// Columns of the matrix: numbers in an input.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// The weights of one row, as numbers: the embedding of a token where embeddings are tied to the output.
    pub(crate) fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(
            row < self.out && out.len() == self.width,
            "row {row} of {}, {} numbers",
            self.out,
            out.len()
        );
        let records = self.panel(row / LANES).chunks_exact(Record::of(self.kind).bytes);
        for (record, out) in records.zip(out.chunks_exact_mut(self.kind.block_weights())) {
            expand::lane(self.kind, record, row % LANES, out);
        }
    }

    pub(super) fn kind(&self) -> QuantKind {
        self.kind
    }

    /// The records of one panel.
    pub(super) fn panel(&self, panel: usize) -> &[u8] {
        let lines = self.width / self.kind.block_weights() * (Record::of(self.kind).bytes / 64);
        bytes_of(&self.lines[panel * lines..][..lines])
    }

    pub(super) fn panels(&self) -> usize {
        self.out.div_ceil(LANES)
    }
}

/// Writes a row of the file into its lane of a panel. False where a scale is not a finite number.
fn pack_row(kind: QuantKind, row: &[u8], lane: usize, panel: &mut [u8]) -> bool {
    let records = panel.chunks_exact_mut(Record::of(kind).bytes);
    let mut blocks = records.zip(row.chunks_exact(kind.block_bytes()));
    blocks.all(|(record, block)| pack::pack(kind, block, lane, record))
}

fn zeros(panel_lines: usize, panels: usize) -> Result<Vec<Line>, QuantError> {
    let count = panel_lines.saturating_mul(panels);
    let mut lines = Vec::new();
    lines.try_reserve_exact(count).map_err(|_| QuantError::Memory { bytes: count.saturating_mul(64) })?;
    lines.resize(count, Line([0; 64]));
    Ok(lines)
}

fn bytes_of(lines: &[Line]) -> &[u8] {
    // SAFETY: a line is 64 bytes that have no rules of their own, and the slice covers the same memory.
    #[allow(unsafe_code)]
    let bytes: &[[u8; 64]] = unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len()) };
    bytes.as_flattened()
}

fn bytes_of_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: as in `bytes_of`, and any bytes are a line.
    #[allow(unsafe_code)]
    let bytes: &mut [[u8; 64]] =
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len()) };
    bytes.as_flattened_mut()
}
