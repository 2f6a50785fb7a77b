//! Where a decoder's tensors come from.

use candle_core::Tensor;

use super::config::DecoderConfig;
use super::names::{Part, expert, transformers};
use super::projection::{Projection, Table};
use super::weight_format::WeightFormat;
use crate::ByteSize;
use crate::arch::{ArchError, Bias, Scope};
use crate::weights::TensorInfo;

/// The files of one model. Each tensor is asked for once.
pub(super) trait Tensors {
    /// The linear layers `parts` of layer `layer` on the same input, as one, their outputs side by side.
    fn linear<const N: usize>(
        &self,
        layer: usize,
        parts: [Part; N],
        inputs: usize,
        outputs: [usize; N],
        bias: Bias,
    ) -> Result<Projection, ArchError>;

    /// The same for each of `count` experts of the layer. Experts have no biases.
    fn experts<const N: usize>(
        &self,
        layer: usize,
        count: usize,
        parts: [Part; N],
        inputs: usize,
        outputs: usize,
    ) -> Result<Vec<Projection>, ArchError>;

    /// The weights of a norm of a layer, `[width]`, as they are stored.
    fn norm(&self, layer: usize, part: Part, width: usize) -> Result<Tensor, ArchError>;

    /// The weights of the last norm, `[width]`.
    fn last_norm(&self, width: usize) -> Result<Tensor, ArchError>;

    /// The tokens' vectors, which are the linear layer to logits too.
    fn tied(&self, tokens: usize, width: usize) -> Result<Projection, ArchError>;

    /// The tokens' vectors, where they are nothing else.
    fn table(&self, tokens: usize, width: usize) -> Result<Table, ArchError>;

    /// The linear layer from the last norm to logits.
    fn head(&self, width: usize, tokens: usize) -> Result<Projection, ArchError>;
}

/// A checkpoint of transformers.
#[derive(Debug)]
pub(super) struct Checkpoint<'a> {
    config: &'a DecoderConfig,
    format: WeightFormat,
    root: Scope<'a>,
    /// The network without its head.
    body: Scope<'a>,
}

/// The tokens' vectors, in the body.
const TABLE: &str = "embed_tokens.weight";

/// What a tensor takes in memory: linear layers in `format`, all else as f32.
pub(super) fn kept_bytes(tensor: &TensorInfo, config: &DecoderConfig, format: WeightFormat) -> ByteSize {
    let is = |name: &str| tensor.name.ends_with(name);
    let bytes = match tensor.shape[..] {
        // A head that is saved although it is the table is not read.
        _ if config.tied && is("lm_head.weight") => 0,
        [rows, width] if is(TABLE) && !config.tied => format.table_bytes(rows, width),
        [rows, width] if is(&format!("{}.weight", transformers(Part::Router, config))) => {
            format.as_numbers().bytes(1, rows, width)
        }
        [rows, width] => format.bytes(1, rows, width),
        _ => (tensor.elements() as u64).saturating_mul(4),
    };
    ByteSize::new(bytes)
}

/// Routers are small, and which experts they choose hangs on little: they are not quantised.
pub(super) fn format_of(parts: &[Part], format: WeightFormat) -> WeightFormat {
    if parts == [Part::Router] { format.as_numbers() } else { format }
}

/// Where the network may lie: alone, under a head, or as the language half of a model that also sees, as
/// transformers 4 and 5 save it.
const BODIES: [&str; 4] = ["model", "model.language_model", "language_model.model", "model.text_model"];

impl<'a> Checkpoint<'a> {
    /// Linear layers are kept in `format`.
    pub(super) fn new(root: Scope<'a>, config: &'a DecoderConfig, format: WeightFormat) -> Self {
        let body = BODIES.iter().find(|body| root.contains(&format!("{body}.embed_tokens.weight")));
        let body = body.map_or_else(|| root.clone(), |body| root.sub(body));
        Self { config, format, root, body }
    }

    fn layer(&self, layer: usize) -> Scope<'a> {
        self.body.sub("layers").sub(layer)
    }
}

impl Tensors for Checkpoint<'_> {
    fn linear<const N: usize>(
        &self,
        layer: usize,
        parts: [Part; N],
        inputs: usize,
        outputs: [usize; N],
        bias: Bias,
    ) -> Result<Projection, ArchError> {
        let names = parts.map(|part| transformers(part, self.config));
        let (weights, biases) = self.layer(layer).layers(names, inputs, outputs, bias)?;
        format_of(&parts, self.format).layer(&weights, &biases)
    }

    fn experts<const N: usize>(
        &self,
        layer: usize,
        count: usize,
        parts: [Part; N],
        inputs: usize,
        outputs: usize,
    ) -> Result<Vec<Projection>, ArchError> {
        let scope = self.layer(layer);
        let load = |index| {
            let names = parts.map(|part| expert(part, index, self.config));
            let names = names.each_ref().map(String::as_str);
            let (weights, biases) = scope.layers(names, inputs, [outputs; N], Bias::Absent)?;
            self.format.layer(&weights, &biases)
        };
        (0..count).map(load).collect()
    }

    fn norm(&self, layer: usize, part: Part, width: usize) -> Result<Tensor, ArchError> {
        let name = format!("{}.weight", transformers(part, self.config));
        Ok(self.layer(layer).tensor(&name, [width])?)
    }

    fn last_norm(&self, width: usize) -> Result<Tensor, ArchError> {
        Ok(self.body.tensor("norm.weight", [width])?)
    }

    fn tied(&self, tokens: usize, width: usize) -> Result<Projection, ArchError> {
        self.format.layer(&[self.body.tensor(TABLE, [tokens, width])?], &[])
    }

    fn table(&self, tokens: usize, width: usize) -> Result<Table, ArchError> {
        self.format.table(self.body.tensor(TABLE, [tokens, width])?)
    }

    fn head(&self, width: usize, tokens: usize) -> Result<Projection, ArchError> {
        let inside = self.root.contains("language_model.lm_head.weight");
        let scope = if inside { self.root.sub("language_model") } else { self.root.clone() };
        let (weights, biases) = scope.layers(["lm_head"], width, [tokens], Bias::Absent)?;
        self.format.layer(&weights, &biases)
    }
}
