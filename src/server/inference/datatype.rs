//! The types that elements of tensors have.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A type of elements, as the protocol spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "each is what it is called")]
pub(super) enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    /// The bytes of an element; 0 where each has its own.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Bytes => 0,
            Self::Bool | Self::Uint8 | Self::Int8 => 1,
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => 2,
            Self::Uint32 | Self::Int32 | Self::Fp32 => 4,
            Self::Uint64 | Self::Int64 | Self::Fp64 => 8,
        }
    }

    /// The least and the greatest of a type of whole numbers.
    pub(super) fn range(self) -> Option<(i128, i128)> {
        Some(match self {
            Self::Uint8 => (0, u8::MAX.into()),
            Self::Uint16 => (0, u16::MAX.into()),
            Self::Uint32 => (0, u32::MAX.into()),
            Self::Uint64 => (0, u64::MAX.into()),
            Self::Int8 => (i8::MIN.into(), i8::MAX.into()),
            Self::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Self::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Self::Int64 => (i64::MIN.into(), i64::MAX.into()),
            Self::Bool | Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64 | Self::Bytes => return None,
        })
    }

    /// As a model's configuration spells it.
    pub(super) fn in_config(self) -> String {
        if self == Self::Bytes { "TYPE_STRING".to_owned() } else { format!("TYPE_{self}") }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_spelled_one_way() {
        let all = ["BOOL", "UINT8", "UINT64", "INT8", "INT32", "FP16", "BF16", "FP32", "FP64", "BYTES"];
        for name in all {
            let datatype: Datatype = serde_json::from_str(&format!("{name:?}")).unwrap();
            assert_eq!(
                (datatype.to_string().as_str(), serde_json::to_value(datatype).unwrap()),
                (name, name.into())
            );
        }
        assert!(serde_json::from_str::<Datatype>("\"int32\"").is_err());
        assert_eq!(Datatype::Bytes.in_config(), "TYPE_STRING");
        assert_eq!(Datatype::Fp32.in_config(), "TYPE_FP32");
    }
}
