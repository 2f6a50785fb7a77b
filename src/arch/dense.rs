//! The `Dense` stage of sentence-transformers: one linear layer on a pooled vector.

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Linear, Precision};
use crate::weights::{ModelFolder, WeightFiles, WeightStore};

/// The most numbers a vector may have before or after.
const MOST: usize = 131_072;

/// `2_Dense/config.json`.
#[derive(Debug, Deserialize)]
struct DenseConfig {
    in_features: usize,
    out_features: usize,
    #[serde(default = "default_bias")]
    bias: bool,
    /// A class of torch, by its full name.
    #[serde(default = "default_activation")]
    activation_function: String,
    module_input_name: Option<String>,
    module_output_name: Option<String>,
    #[serde(default)]
    use_residual: bool,
}

fn default_bias() -> bool {
    true
}

fn default_activation() -> String {
    "torch.nn.modules.activation.Tanh".to_owned()
}

/// What the stage's files say, before its weights are read.
#[derive(Clone, Debug)]
pub(super) struct DensePlan {
    folder: ModelFolder,
    inputs: usize,
    outputs: usize,
    bias: Bias,
    activation: Activation,
}

/// The layer, loaded; computes in f32.
#[derive(Debug)]
pub(super) struct Dense {
    linear: Linear,
    activation: Activation,
    inputs: usize,
}

impl DensePlan {
    /// Reads the stage in the folder `name` of `model`, for vectors of `inputs` numbers.
    pub(super) fn read(model: &ModelFolder, name: &str, inputs: usize) -> Result<Self, ArchError> {
        let missing =
            || ArchError::MissingFile { name: "2_Dense/config.json", folder: model.label().to_owned() };
        let folder = model.subfolder(name).ok_or_else(missing)?;
        let config: DenseConfig = folder.read_json("config.json")?.ok_or_else(missing)?;
        let bad = |field, found: usize, expected| {
            Err(ArchError::BadConfig { field, found: found.to_string(), expected })
        };
        if config.in_features != inputs {
            return bad("in_features", config.in_features, format!("its vectors have {inputs} numbers"));
        }
        if !(1..=MOST).contains(&config.out_features) {
            return bad("out_features", config.out_features, format!("it must be in 1..={MOST}"));
        }
        Ok(Self {
            folder,
            inputs,
            outputs: config.out_features,
            bias: config.bias.into(),
            activation: config.activation()?,
        })
    }

    /// How many numbers come out.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Its weights' headers.
    pub(super) fn weight_files(&self) -> Result<WeightFiles, ArchError> {
        Ok(self.folder.weight_files()?)
    }

    /// Reads the weights.
    pub(super) fn load(&self) -> Result<Dense, ArchError> {
        let store = WeightStore::open(&self.weight_files()?, DType::F32, &Device::Cpu)?;
        let root = Scope::root(&store, Precision::F32);
        let linear = root.linear("linear", self.inputs, self.outputs, self.bias)?;
        Ok(Dense { linear, activation: self.activation, inputs: self.inputs })
    }
}

impl DenseConfig {
    /// The activation, once nothing else in the file is asked for that is not implemented.
    fn activation(&self) -> Result<Activation, ArchError> {
        const KNOWN: [&str; 5] = ["Identity", "Tanh", "GELU", "ReLU", "SiLU"];
        let refuse = |what, found: &str, supported: &[&'static str]| {
            Err(ArchError::Unsupported { what, found: found.to_owned(), supported: supported.to_vec() })
        };
        let names = [&self.module_input_name, &self.module_output_name];
        if let Some(other) = names.into_iter().flatten().find(|name| *name != "sentence_embedding") {
            return refuse("input or output of a Dense stage", other, &["sentence_embedding"]);
        }
        if self.use_residual {
            return refuse("use_residual of a Dense stage", "true", &["false"]);
        }
        let class = self.activation_function.strip_prefix("torch.nn.").unwrap_or_default();
        match class.rsplit('.').next().unwrap_or_default() {
            "Identity" => Ok(Activation::Identity),
            "Tanh" => Ok(Activation::Tanh),
            "GELU" => Ok(Activation::Gelu),
            "ReLU" => Ok(Activation::Relu),
            "SiLU" => Ok(Activation::Silu),
            _ => refuse("activation_function", &self.activation_function, &KNOWN),
        }
    }
}

impl Dense {
    /// `vectors`, of as many numbers as the layer takes each, through the layer.
    pub(super) fn forward(&self, vectors: &[Vec<f32>]) -> candle_core::Result<Vec<Vec<f32>>> {
        let xs = Tensor::from_vec(vectors.concat(), (vectors.len(), self.inputs), &Device::Cpu)?;
        self.linear.forward_activated(&xs, self.activation)?.to_vec2()
    }
}
