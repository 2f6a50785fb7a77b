//! The tensors of a request: a JSON head, and after it the bytes of those that are not in it.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::datatype::Datatype;
use super::elements::Elements;
use crate::server::api_error::ApiError;
use crate::server::json_body::parse;

/// How many inputs, or outputs, a request may name.
const MOST_TENSORS: usize = 64;
/// How many dimensions a tensor may have.
const MOST_DIMENSIONS: usize = 8;

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: Option<String>,
    pub(super) parameters: Map<String, Value>,
    pub(super) inputs: Vec<Tensor>,
    /// Empty: all of the model's.
    pub(super) outputs: Vec<WantedOutput>,
}

/// One input.
#[derive(Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<usize>,
    /// As many as the shape says, of the type.
    pub(super) elements: Elements,
}

/// One output that is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct WantedOutput {
    pub(super) name: String,
    #[serde(default)]
    parameters: OutputParameters,
}

#[derive(Debug, Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    #[serde(default)]
    classification: u64,
    shared_memory_region: Option<Value>,
}

impl WantedOutput {
    /// Whether it is to come as bytes, where it says so itself.
    pub(super) fn binary(&self) -> Option<bool> {
        self.parameters.binary_data
    }
}

#[derive(Deserialize)]
struct Head {
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<WantedOutput>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    datatype: Datatype,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: InputParameters,
    data: Option<Elements>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<u64>,
    shared_memory_region: Option<Value>,
}

impl Asked {
    /// Reads a body whose first `head` bytes are JSON: all of them, where nothing is said.
    ///
    /// # Errors
    ///
    /// 400 with the tensor that is wrong.
    pub(super) fn read(body: &Bytes, head: Option<usize>, depth: usize) -> Result<Self, ApiError> {
        let split = head.unwrap_or(body.len());
        if split > body.len() {
            let message =
                format!("the JSON head is said to have {split} bytes, and the body has {}", body.len());
            return Err(ApiError::invalid("Inference-Header-Content-Length", message));
        }
        let head: Head = parse(&body[..split], depth)?;
        distinct("inputs", head.inputs.iter().map(|input| &input.name))?;
        distinct("outputs", head.outputs.iter().map(|output| &output.name))?;
        for output in &head.outputs {
            output.check()?;
        }
        let mut rest = body.slice(split..);
        let inputs = head.inputs.into_iter().map(|input| input.read(&mut rest)).collect::<Result<_, _>>()?;
        if !rest.is_empty() {
            let message = format!("{} bytes follow those of the last tensor", rest.len());
            return Err(ApiError::invalid("inputs", message));
        }
        let Head { id, parameters, outputs, .. } = head;
        Ok(Self { id, parameters, inputs, outputs })
    }
}

impl WantedOutput {
    fn check(&self) -> Result<(), ApiError> {
        let refused = |what| Err(ApiError::invalid(format!("outputs.{}", shown(&self.name)), what));
        match &self.parameters {
            OutputParameters { classification: 1.., .. } => refused("there is no classification here"),
            OutputParameters { shared_memory_region: Some(_), .. } => {
                refused("there is no shared memory here")
            }
            _ => Ok(()),
        }
    }
}

impl Input {
    /// The tensor, whose bytes come first in `rest` where they are not in the head.
    fn read(self, rest: &mut Bytes) -> Result<Tensor, ApiError> {
        let param = format!("inputs.{}", shown(&self.name));
        let wrong = |message: String| ApiError::invalid(param.clone(), format!("{param}: {message}"));
        let shape = shape(&self.shape).map_err(wrong)?;
        let count = shape.iter().try_fold(1usize, |count, side| count.checked_mul(*side));
        let count = count.ok_or_else(|| wrong("its shape has too many elements to count".to_owned()))?;
        let InputParameters { binary_data_size, shared_memory_region } = self.parameters;
        if shared_memory_region.is_some() {
            return Err(wrong("there is no shared memory here".to_owned()));
        }
        let elements = match (self.data, binary_data_size) {
            (Some(elements), None) if elements.len() != count => {
                let found = elements.len();
                return Err(wrong(format!("its shape {shape:?} has {count} elements and its data {found}")));
            }
            (Some(elements), None) => elements.typed(self.datatype).map_err(wrong)?,
            (None, Some(size)) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > rest.len() {
                    let left = rest.len();
                    return Err(wrong(format!("binary_data_size is {size}, and {left} bytes are left")));
                }
                Elements::from_binary(self.datatype, count, rest.split_to(size)).map_err(wrong)?
            }
            (Some(_), Some(_)) => {
                return Err(wrong("it has both data and binary_data_size".to_owned()));
            }
            (None, None) => return Err(wrong("it has neither data nor binary_data_size".to_owned())),
        };
        Ok(Tensor { name: self.name, datatype: self.datatype, shape, elements })
    }
}

fn shape(sides: &[i64]) -> Result<Vec<usize>, String> {
    if sides.len() > MOST_DIMENSIONS {
        return Err(format!("its shape has {} dimensions, more than {MOST_DIMENSIONS}", sides.len()));
    }
    let side = |side: &i64| usize::try_from(*side).map_err(|_| format!("its shape has a side of {side}"));
    sides.iter().map(side).collect()
}

fn distinct<'a>(field: &str, names: impl ExactSizeIterator<Item = &'a String>) -> Result<(), ApiError> {
    if names.len() > MOST_TENSORS {
        return Err(ApiError::invalid(
            field,
            format!("{} {field} are more than {MOST_TENSORS}", names.len()),
        ));
    }
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(ApiError::invalid(field, format!("{} is among the {field} twice", shown(name))));
        }
    }
    Ok(())
}

/// As much of a name as a message holds.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(head: &Value, tail: &[u8]) -> Result<Asked, ApiError> {
        let head = head.to_string();
        let body = Bytes::from([head.as_bytes(), tail].concat());
        Asked::read(&body, Some(head.len()), 64)
    }

    fn input(shape: &Value, datatype: &str, (field, value): (&str, Value)) -> Value {
        let mut input = json!({ "name": "x", "shape": shape, "datatype": datatype });
        input[field] = value;
        json!({ "inputs": [input] })
    }

    #[test]
    fn tensors_come_in_json_or_after_it() {
        let head = json!({ "id": "7", "inputs": [
            { "name": "a", "shape": [1, 2], "datatype": "BYTES", "parameters": { "binary_data_size": 11 } },
            { "name": "b", "shape": [1], "datatype": "INT32", "data": [300] },
            { "name": "c", "shape": [2], "datatype": "UINT8", "parameters": { "binary_data_size": 2 } },
        ], "outputs": [{ "name": "y", "parameters": { "binary_data": true } }] });
        let asked = read(&head, b"\x03\0\0\0abc\0\0\0\0\x01\x02").unwrap();
        let texts = Elements::Raw(vec![Bytes::from_static(b"abc"), Bytes::new()]);
        let all: Vec<_> = asked.inputs.into_iter().map(|input| input.elements).collect();
        assert_eq!(all, [texts, Elements::Whole(vec![300]), Elements::Small(vec![1, 2])]);
        assert_eq!((asked.id.as_deref(), asked.outputs[0].binary()), (Some("7"), Some(true)));
        assert!(read(&json!({ "inputs": [] }), b"").unwrap().inputs.is_empty());
    }

    #[test]
    fn shapes_and_data_agree() {
        let data = |shape: Value, data: Value| read(&input(&shape, "INT32", ("data", data)), b"");
        assert!(data(json!([2, 1]), json!([[1], [2]])).is_ok());
        assert!(data(json!([]), json!([5])).is_ok());
        assert!(data(json!([0]), json!([])).is_ok());
        let wrong = [
            (json!([3]), json!([1, 2])),
            (json!([-1]), json!([1])),
            (json!([1, -2]), json!([1, 2])),
            (json!([i64::MAX, i64::MAX]), json!([1])),
            (json!([u64::MAX]), json!([1])),
            (json!([1.5]), json!([1])),
            (json!(["1"]), json!([1])),
            (json!([1, 1, 1, 1, 1, 1, 1, 1, 1]), json!([1])),
            (json!(1), json!([1])),
            (json!([1]), json!(["1"])),
            (json!([1]), json!(1)),
            (json!([1]), json!([null])),
            (json!([1]), Value::Null),
        ];
        for (shape, elements) in wrong {
            let error = data(shape.clone(), elements.clone()).unwrap_err();
            assert_eq!(error.status.as_u16(), 400, "{shape} {elements}");
        }
    }

    #[test]
    fn bytes_after_the_head_are_all_accounted_for() {
        let sized =
            |size: Value| input(&json!([2]), "UINT8", ("parameters", json!({ "binary_data_size": size })));
        assert!(read(&sized(json!(2)), b"ab").is_ok());
        for (head, tail) in [
            (sized(json!(2)), &b"a"[..]),
            (sized(json!(2)), b"abc"),
            (sized(json!(1)), b"a"),
            (sized(json!(u64::MAX)), b"ab"),
            (sized(json!(-1)), b"ab"),
            (json!({ "inputs": [] }), b"a"),
            (input(&json!([1]), "UINT8", ("parameters", json!({ "shared_memory_region": "r" }))), b""),
        ] {
            assert_eq!(read(&head, tail).unwrap_err().status.as_u16(), 400, "{head} {tail:?}");
        }
        let body = Bytes::from_static(b"{\"inputs\": []}");
        assert!(Asked::read(&body, None, 64).is_ok());
        for head in [0, 5, 15, usize::MAX] {
            assert_eq!(Asked::read(&body, Some(head), 64).unwrap_err().status.as_u16(), 400, "{head}");
        }
    }

    #[test]
    fn names_are_there_once() {
        let one = json!({ "name": "x", "shape": [1], "datatype": "UINT8", "data": [1] });
        for wrong in [
            json!({ "inputs": [one, one] }),
            json!({ "inputs": [one], "outputs": [{ "name": "y" }, { "name": "y" }] }),
            json!({ "inputs": [one], "outputs": [{ "name": "y", "parameters": { "classification": 3 } }] }),
            json!({ "inputs": [one], "outputs": [{ "name": "y", "parameters": { "shared_memory_region": "r" } }] }),
            json!({ "outputs": [] }),
            json!({ "inputs": [{ "name": "x" }] }),
            json!([]),
        ] {
            assert_eq!(read(&wrong, b"").unwrap_err().status.as_u16(), 400, "{wrong}");
        }
        let many: Vec<_> = (0..65)
            .map(|n| json!({ "name": n.to_string(), "shape": [0], "datatype": "INT8", "data": [] }))
            .collect();
        assert!(read(&json!({ "inputs": many }), b"").is_err());
    }
}
