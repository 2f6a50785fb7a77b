//! The answer: tensors in JSON, or as bytes after it.

use std::collections::HashSet;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::datatype::Datatype;
use super::path::VERSION;
use super::tensor::{Asked, shown};
use crate::server::api_error::ApiError;

/// How many bytes of a body are JSON, where others follow.
pub(super) const HEAD_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// One output of a model.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
}

/// The elements of an output.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Data {
    Floats(Vec<f32>),
    Bytes(Vec<u8>),
    Texts(Vec<String>),
}

impl Data {
    fn datatype(&self) -> Datatype {
        match self {
            Self::Floats(_) => Datatype::Fp32,
            Self::Bytes(_) => Datatype::Uint8,
            Self::Texts(_) => Datatype::Bytes,
        }
    }

    /// The binary extension's form: little-endian, and before each text its length.
    fn write(&self, into: &mut Vec<u8>) {
        match self {
            Self::Floats(all) => into.extend(all.iter().flat_map(|value| value.to_le_bytes())),
            Self::Bytes(all) => into.extend_from_slice(all),
            Self::Texts(all) => all.iter().for_each(|text| {
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                into.extend_from_slice(&length.to_le_bytes());
                into.extend_from_slice(&text.as_bytes()[..length as usize]);
            }),
        }
    }
}

#[derive(Serialize)]
struct Head<'a> {
    model_name: &'a str,
    model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<OutputHead<'a>>,
}

#[derive(Serialize)]
struct OutputHead<'a> {
    name: &'static str,
    datatype: Datatype,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Data>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// Refuses outputs that the model does not have.
///
/// # Errors
///
/// 400 with those that it has.
pub(super) fn check(asked: &Asked, names: &[&str]) -> Result<(), ApiError> {
    let known: HashSet<&str> = names.iter().copied().collect();
    match asked.outputs.iter().find(|wanted| !known.contains(wanted.name.as_str())) {
        Some(unknown) => {
            let message = format!("there is no output {}, but {}", shown(&unknown.name), names.join(", "));
            Err(ApiError::invalid("outputs", message))
        }
        None => Ok(()),
    }
}

/// Answers `asked` of the model that it calls `model`.
pub(super) fn answer(model: &str, asked: &Asked, output: &Output) -> Response {
    let by_default = asked.parameters.get("binary_data_output").and_then(Value::as_bool).unwrap_or_default();
    let wanted = asked.outputs.iter().find(|wanted| wanted.name == output.name);
    let binary = wanted.and_then(super::tensor::WantedOutput::binary).unwrap_or(by_default);
    let mut tail = Vec::new();
    if binary {
        output.data.write(&mut tail);
    }
    let head = OutputHead {
        name: output.name,
        datatype: output.data.datatype(),
        shape: &output.shape,
        parameters: binary.then_some(BinarySize { binary_data_size: tail.len() }),
        data: (!binary).then_some(&output.data),
    };
    let head =
        Head { model_name: model, model_version: VERSION, id: asked.id.as_deref(), outputs: vec![head] };
    if !binary {
        return axum::Json(head).into_response();
    }
    let mut body = serde_json::to_vec(&head).expect("texts, numbers and lists are JSON");
    let length = body.len();
    body.append(&mut tail);
    let mut response = Body::from(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(HEAD_LENGTH, HeaderValue::from(length));
    response
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn answered(asked: &Value, output: &Output) -> (Option<usize>, Vec<u8>) {
        let asked = Asked::read(&Bytes::from(asked.to_string()), None, 64).unwrap();
        let response = answer("m", &asked, output);
        let length = response.headers().get(HEAD_LENGTH).map(|it| it.to_str().unwrap().parse().unwrap());
        let body = futures_util::future::FutureExt::now_or_never(http_body_util::BodyExt::collect(
            response.into_body(),
        ));
        (length, body.unwrap().unwrap().to_bytes().to_vec())
    }

    #[test]
    fn an_output_is_json_or_bytes_as_its_asker_likes() {
        let output = Output { name: "y", shape: vec![2], data: Data::Floats(vec![0.5, -1.0]) };
        let (length, body) = answered(&json!({ "inputs": [], "id": "a" }), &output);
        let expected = json!({ "model_name": "m", "model_version": "1", "id": "a", "outputs": [
            { "name": "y", "datatype": "FP32", "shape": [2], "data": [0.5, -1.0] }
        ] });
        assert_eq!((length, serde_json::from_slice::<Value>(&body).unwrap()), (None, expected));
        for asked in [
            json!({ "inputs": [], "parameters": { "binary_data_output": true } }),
            json!({ "inputs": [], "outputs": [{ "name": "y", "parameters": { "binary_data": true } }] }),
        ] {
            let (length, body) = answered(&asked, &output);
            let (head, tail) = body.split_at(length.unwrap());
            let head: Value = serde_json::from_slice(head).unwrap();
            assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 8);
            assert_eq!(tail, [0, 0, 0, 0x3f, 0, 0, 0x80, 0xbf]);
        }
        let own = json!({ "inputs": [], "parameters": { "binary_data_output": true },
            "outputs": [{ "name": "y", "parameters": { "binary_data": false } }] });
        assert_eq!(answered(&own, &output).0, None);
    }

    #[test]
    fn texts_have_their_length_before_them() {
        let mut bytes = Vec::new();
        Data::Texts(vec!["hi".to_owned(), String::new()]).write(&mut bytes);
        assert_eq!(bytes, b"\x02\0\0\0hi\0\0\0\0");
    }
}
