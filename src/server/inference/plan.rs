//! What a request has the pools do: told from what the model can do and which inputs there are.

use serde_json::{Map, Value};

use super::inputs::{pictures, texts};
use super::parameters::{DrawingParameters, EmbeddingParameters, WritingParameters, read, value};
use super::signature::Signature;
use super::tensor::{Tensor, shown};
use crate::capability::{
    Chat, DescribeRequest, DrawRequest, EmbedImageRequest, EmbedRequest, GenerateRequest, ImageSource,
    MAX_DRAWN, Message, Prompt,
};
use crate::engine::Capabilities;
use crate::server::api_error::ApiError;

/// Requests for one pool.
#[derive(Debug, PartialEq)]
pub(super) enum Work {
    EmbedTexts(Vec<EmbedRequest>),
    EmbedImages(Vec<EmbedImageRequest>),
    Write(Vec<DescribeRequest>),
    Draw(Vec<DrawRequest>),
}

impl Work {
    /// Asks a model that can do `can`.
    ///
    /// 1. A picture is described, or embedded.
    /// 2. A `text` is embedded.
    /// 3. A `text_input` (or `prompt`) is continued, or answered.
    /// 4. A `prompt` (or `text_input`) is drawn.
    ///
    /// # Errors
    ///
    /// 400 for inputs that the model does not take, or that are not what they should be.
    pub(super) fn plan(
        can: &[Capabilities],
        inputs: Vec<Tensor>,
        parameters: &Map<String, Value>,
    ) -> Result<Self, ApiError> {
        let mut given = Given { inputs, parameters: parameters.clone() };
        let sees = can.contains(&Capabilities::Vision);
        if let Some(image) = given.take(&["image"]) {
            if sees {
                return given.describe(&image);
            }
            if can.contains(&Capabilities::ImageEmbedding) {
                return given.embed_images(&image);
            }
            return Err(unknown(&image, can));
        }
        if can.contains(&Capabilities::TextEmbedding)
            && let Some(text) = given.take(&["text"])
        {
            return given.embed_texts(&text);
        }
        if let Some(prompt) = given.take(&["text_input", "prompt"]) {
            if sees || can.contains(&Capabilities::TextToText) {
                let raw = can.contains(&Capabilities::TextToText);
                return given.write(&prompt, raw);
            }
            if can.contains(&Capabilities::TextToImage) {
                return given.draw(&prompt);
            }
            return Err(unknown(&prompt, can));
        }
        match given.inputs.first() {
            Some(other) => Err(unknown(other, can)),
            None => Err(ApiError::invalid("inputs", format!("the model takes {}", taken(can)))),
        }
    }
}

fn taken(can: &[Capabilities]) -> String {
    Signature::of(can, None).inputs_listed()
}

fn unknown(tensor: &Tensor, can: &[Capabilities]) -> ApiError {
    let message = format!("there is no input {} here: the model takes {}", shown(&tensor.name), taken(can));
    ApiError::invalid("inputs", message)
}

/// What is left of a request.
struct Given {
    inputs: Vec<Tensor>,
    parameters: Map<String, Value>,
}

impl Given {
    /// The first input that has one of `names`.
    fn take(&mut self, names: &[&str]) -> Option<Tensor> {
        let at = self.inputs.iter().position(|input| names.contains(&input.name.as_str()))?;
        Some(self.inputs.swap_remove(at))
    }

    /// The parameters, among them the inputs that are left, which must be some of `names`.
    fn parameters(self, names: &[&str]) -> Result<Map<String, Value>, ApiError> {
        let Self { inputs, mut parameters } = self;
        for tensor in inputs {
            if !names.contains(&tensor.name.as_str()) {
                let message = format!("there is no input {} beside the others", shown(&tensor.name));
                return Err(ApiError::invalid("inputs", message));
            }
            parameters.insert(tensor.name.clone(), value(&tensor)?);
        }
        Ok(parameters)
    }

    fn embed_texts(self, text: &Tensor) -> Result<Work, ApiError> {
        let texts = texts(text)?;
        let how: EmbeddingParameters = read(&self.parameters(EmbeddingParameters::NAMES)?)?;
        let request = |text| {
            let mut request = EmbedRequest::new(text);
            how.apply(&mut request);
            request
        };
        Ok(Work::EmbedTexts(texts.into_iter().map(request).collect()))
    }

    fn embed_images(self, image: &Tensor) -> Result<Work, ApiError> {
        let pictures = pictures(image)?;
        let how: EmbeddingParameters = read(&self.parameters(&["normalize"])?)?;
        let request = |picture| {
            let mut request = EmbedImageRequest::new(picture);
            request.normalize = how.normalize;
            request
        };
        Ok(Work::EmbedImages(pictures.into_iter().map(request).collect()))
    }

    /// One picture for each text, or all of them for the only text.
    fn describe(mut self, image: &Tensor) -> Result<Work, ApiError> {
        let pictures = pictures(image)?;
        let Some(asked) = self.take(&["text_input", "prompt"]) else {
            return Err(ApiError::invalid(
                "inputs",
                "there is an image and no text_input that asks about it",
            ));
        };
        let questions = texts(&asked)?;
        let how: WritingParameters = read(&self.parameters(WritingParameters::NAMES)?)?;
        if questions.len() != 1 && questions.len() != pictures.len() {
            let message = format!("there are {} pictures for {} texts", pictures.len(), questions.len());
            return Err(ApiError::invalid("inputs", message));
        }
        let each = pictures.len().div_ceil(questions.len());
        let shown = pictures.chunks(each);
        Ok(Work::Write(
            questions.into_iter().zip(shown).map(|(text, shown)| ask(text, shown, true, &how)).collect(),
        ))
    }

    fn write(self, prompt: &Tensor, raw: bool) -> Result<Work, ApiError> {
        let prompts = texts(prompt)?;
        let how: WritingParameters = read(&self.parameters(WritingParameters::NAMES)?)?;
        Ok(Work::Write(prompts.into_iter().map(|text| ask(text, &[], !raw, &how)).collect()))
    }

    fn draw(self, prompt: &Tensor) -> Result<Work, ApiError> {
        let prompts = texts(prompt)?;
        if prompts.len() > MAX_DRAWN as usize {
            let message =
                format!("{} prompts are more than the {MAX_DRAWN} that are drawn at once", prompts.len());
            return Err(ApiError::invalid("inputs", message));
        }
        let how: DrawingParameters = read(&self.parameters(DrawingParameters::NAMES)?)?;
        Ok(Work::Draw(prompts.into_iter().map(|prompt| how.request(prompt)).collect::<Result<_, _>>()?))
    }
}

/// Asks about `pictures`, or has `text` continued: as a user's message, or as it is.
pub(super) fn ask(
    text: String,
    pictures: &[ImageSource],
    chat: bool,
    how: &WritingParameters,
) -> DescribeRequest {
    let prompt = if how.chat.unwrap_or(chat) {
        Prompt::Chat(Chat::new(vec![Message::user(text)]))
    } else {
        Prompt::Raw(text)
    };
    let mut request = GenerateRequest::new(prompt);
    how.apply(&mut request);
    DescribeRequest::new(pictures.to_vec(), request)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::super::tensor::Asked;
    use super::*;
    use crate::engine::Capabilities::{ImageEmbedding, TextEmbedding, TextToImage, TextToText, Vision};

    fn plan(can: &[Capabilities], inputs: &Value, parameters: &Value) -> Result<Work, ApiError> {
        let body = Bytes::from(json!({ "inputs": inputs, "parameters": parameters }).to_string());
        let asked = Asked::read(&body, None, 64)?;
        Work::plan(can, asked.inputs, &asked.parameters)
    }

    fn texts(name: &str, texts: &[&str]) -> Value {
        json!({ "name": name, "shape": [texts.len()], "datatype": "BYTES", "data": texts })
    }

    fn number(name: &str, datatype: &str, value: impl serde::Serialize) -> Value {
        json!({ "name": name, "shape": [1], "datatype": datatype, "data": [value] })
    }

    #[test]
    fn inputs_say_what_is_to_be_done() {
        let none = json!({});
        let done = |can: &[Capabilities], inputs: Value| plan(can, &inputs, &none).unwrap();
        let clip = [TextEmbedding, ImageEmbedding];
        assert!(
            matches!(done(&clip, json!([texts("text", &["a", "b"])])), Work::EmbedTexts(all) if all.len() == 2)
        );
        assert!(
            matches!(done(&clip, json!([texts("image", &["a"])])), Work::EmbedImages(all) if all.len() == 1)
        );
        let drawn = done(&[TextToImage], json!([texts("prompt", &["a"])]));
        assert_eq!(drawn, Work::Draw(vec![DrawRequest::new("a")]));
        let Work::Write(raw) = done(&[TextToText], json!([texts("text_input", &["a"])])) else { panic!() };
        assert_eq!(raw[0].generate.prompt, Prompt::Raw("a".to_owned()));
        let seen = done(&[Vision], json!([texts("text_input", &["a", "b"]), texts("image", &["x", "y"])]));
        let Work::Write(seen) = seen else { panic!() };
        assert_eq!(seen.iter().map(|request| request.images.len()).collect::<Vec<_>>(), [1, 1]);
        let seen = done(&[Vision], json!([texts("text_input", &["a"]), texts("image", &["x", "y"])]));
        assert!(matches!(seen, Work::Write(all) if all.len() == 1 && all[0].images.len() == 2));
    }

    #[test]
    fn parameters_come_as_tensors_too() {
        let inputs = json!([
            texts("prompt", &["a"]),
            number("max_tokens", "INT32", 7),
            number("temperature", "FP32", 0.5)
        ]);
        let Work::Write(all) = plan(&[TextToText], &inputs, &json!({ "chat": true })).unwrap() else {
            panic!()
        };
        let GenerateRequest { max_tokens, sampling, prompt, .. } = &all[0].generate;
        assert_eq!((*max_tokens, sampling.temperature), (7, 0.5));
        assert!(matches!(prompt, Prompt::Chat(_)));
    }

    #[test]
    fn what_a_model_does_not_take_is_refused() {
        let many: Vec<&str> = vec!["a"; 17];
        let cases = [
            (TextToText, json!([])),
            (TextToText, json!([texts("text", &["a"])])),
            (TextToText, json!([texts("image", &["a"]), texts("text_input", &["a"])])),
            (TextToText, json!([texts("text_input", &["a"]), texts("prompt", &["a"])])),
            (TextToText, json!([texts("text_input", &["a"]), number("width", "INT32", 8)])),
            (TextToText, json!([texts("text_input", &["a"]), number("max_tokens", "FP32", 0.5)])),
            (TextToText, json!([number("text_input", "INT32", 1)])),
            (TextEmbedding, json!([texts("prompt", &["a"])])),
            (TextEmbedding, json!([texts("text", &[])])),
            (ImageEmbedding, json!([number("image", "FP32", 0.5)])),
            (ImageEmbedding, json!([texts("image", &["a"]), number("dimensions", "INT32", 8)])),
            (Vision, json!([texts("image", &["a"])])),
            (Vision, json!([texts("image", &["a"]), texts("text_input", &["a", "b"])])),
            (Vision, json!([texts("image", &["a", "b"]), texts("text_input", &["a", "b", "c"])])),
            (TextToImage, json!([texts("prompt", &many)])),
            (TextToImage, json!([texts("prompt", &["a"]), number("seed", "INT32", -1)])),
        ];
        for (can, inputs) in cases {
            let error = plan(&[can], &inputs, &json!({})).unwrap_err();
            assert_eq!(error.status.as_u16(), 400, "{can} {inputs}");
        }
    }
}
