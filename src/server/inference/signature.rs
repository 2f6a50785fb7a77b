//! What a model takes and gives, by what it can do.

use serde::Serialize;
use serde_json::{Value, json};

use super::datatype::Datatype;
use super::path::VERSION;
use crate::engine::Capabilities;

/// What metadata says of a tensor: -1 is any number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Field {
    name: &'static str,
    datatype: Datatype,
    shape: Vec<i64>,
}

/// The tensors of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) inputs: Vec<Field>,
    pub(super) outputs: Vec<Field>,
}

/// Any number of texts, or of encoded pictures.
fn list(name: &'static str) -> Field {
    Field { name, datatype: Datatype::Bytes, shape: vec![-1] }
}

impl Signature {
    /// Of a model that can do all of `can`, and whose vectors have so many dimensions, if that is known.
    pub(super) fn of(can: &[Capabilities], dimensions: Option<usize>) -> Self {
        let dimensions = dimensions.and_then(|it| i64::try_from(it).ok()).unwrap_or(-1);
        let embedding = Field { name: "embedding", datatype: Datatype::Fp32, shape: vec![-1, dimensions] };
        let drawn = Field { name: "image", datatype: Datatype::Uint8, shape: vec![-1, -1, -1, 3] };
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for capability in can {
            let (takes, gives) = match capability {
                Capabilities::TextEmbedding => (vec![list("text")], embedding.clone()),
                Capabilities::ImageEmbedding => (vec![list("image")], embedding.clone()),
                Capabilities::TextToText => (vec![list("text_input")], list("text_output")),
                Capabilities::Vision => (vec![list("image"), list("text_input")], list("text_output")),
                Capabilities::TextToImage => (vec![list("prompt")], drawn.clone()),
            };
            inputs.extend(takes);
            outputs.push(gives);
        }
        // What two capabilities take or give is one tensor.
        for fields in [&mut inputs, &mut outputs] {
            fields.sort_by_key(|field| field.name);
            fields.dedup();
        }
        Self { inputs, outputs }
    }

    /// The names of the inputs, for people.
    pub(super) fn inputs_listed(&self) -> String {
        self.inputs.iter().map(|field| field.name).collect::<Vec<_>>().join(" and ")
    }

    /// The names of the outputs.
    pub(super) fn output_names(&self) -> Vec<&'static str> {
        self.outputs.iter().map(|field| field.name).collect()
    }

    /// What is said of `model`.
    pub(super) fn metadata(&self, model: &str) -> Value {
        let Self { inputs, outputs } = self;
        let platform = "millpond";
        json!({ "name": model, "versions": [VERSION], "platform": platform, "inputs": inputs, "outputs": outputs })
    }

    /// What is said of `model` to who asks for its configuration. The first dimension is one of every tensor's own:
    /// to Triton there is no batch beyond it.
    pub(super) fn config(&self, model: &str) -> Value {
        let field = |field: &Field| {
            let datatype = field.datatype.in_config();
            json!({ "name": field.name, "data_type": datatype, "dims": field.shape })
        };
        let fields = |fields: &[Field]| fields.iter().map(field).collect::<Vec<_>>();
        json!({
            "name": model,
            "platform": "millpond",
            "backend": "millpond",
            "max_batch_size": 0,
            "input": fields(&self.inputs),
            "output": fields(&self.outputs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_capabilities_share_is_one_tensor() {
        use Capabilities::{ImageEmbedding, TextEmbedding, TextToText, Vision};

        let clip = Signature::of(&[TextEmbedding, ImageEmbedding], Some(64));
        assert_eq!(
            (clip.inputs_listed().as_str(), clip.output_names()),
            ("image and text", vec!["embedding"])
        );
        assert_eq!(clip.outputs[0].shape, [-1, 64]);
        let gemma = Signature::of(&[TextToText, Vision], None);
        assert_eq!(gemma.inputs_listed(), "image and text_input");
        assert_eq!(gemma.output_names(), ["text_output"]);
    }

    #[test]
    fn metadata_and_configuration_say_the_same() {
        let signature = Signature::of(&[Capabilities::TextToImage], None);
        assert_eq!(
            signature.metadata("m"),
            json!({ "name": "m", "versions": ["1"], "platform": "millpond",
                "inputs": [{ "name": "prompt", "datatype": "BYTES", "shape": [-1] }],
                "outputs": [{ "name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3] }] })
        );
        let config = signature.config("m");
        assert_eq!(config["input"], json!([{ "name": "prompt", "data_type": "TYPE_STRING", "dims": [-1] }]));
        assert_eq!(config["output"][0]["data_type"], "TYPE_UINT8");
    }
}
