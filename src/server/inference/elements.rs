//! The elements of a tensor, in the order of its last dimension first, whether they came as JSON or as bytes.

use std::fmt;

use bytes::{Buf, Bytes};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::datatype::Datatype;

/// How many numbers or texts a tensor may have. Pixels, a byte each, are bounded by the body alone.
pub(super) const MOST: usize = 1 << 16;

/// The elements of a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Elements {
    /// There are none.
    #[default]
    None,
    /// Whole numbers from 0 to 255.
    Small(Vec<u8>),
    /// Whole numbers.
    Whole(Vec<i128>),
    /// Numbers.
    Real(Vec<f64>),
    /// True or false.
    Truth(Vec<bool>),
    /// Texts, as JSON has them.
    Texts(Vec<String>),
    /// Texts or anything else, as bytes.
    Raw(Vec<Bytes>),
}

impl Elements {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Small(all) => all.len(),
            Self::Whole(all) => all.len(),
            Self::Real(all) => all.len(),
            Self::Truth(all) => all.len(),
            Self::Texts(all) => all.len(),
            Self::Raw(all) => all.len(),
        }
    }

    /// The elements as `datatype` has them.
    ///
    /// # Errors
    ///
    /// What is wrong, where some are none of that type.
    pub(super) fn typed(self, datatype: Datatype) -> Result<Self, String> {
        let wrong = || Err(format!("its data is not of the type {datatype}"));
        if let Some((least, most)) = datatype.range() {
            return match self {
                Self::None => Ok(Self::None),
                Self::Small(all) if datatype == Datatype::Uint8 => Ok(Self::Small(all)),
                Self::Small(all) => {
                    let all: Vec<i128> = all.into_iter().map(i128::from).collect();
                    Self::Whole(all).typed(datatype)
                }
                Self::Whole(all) => match all.iter().find(|it| !(least..=most).contains(*it)) {
                    Some(outside) => Err(format!("{outside} is no {datatype}")),
                    None => Ok(Self::Whole(all)),
                },
                _ => wrong(),
            };
        }
        match (datatype, self) {
            (_, Self::None) => Ok(Self::None),
            (Datatype::Bool, Self::Truth(all)) => Ok(Self::Truth(all)),
            (Datatype::Bool, Self::Small(all)) if all.iter().all(|it| *it < 2) => {
                Ok(Self::Truth(all.into_iter().map(|it| it == 1).collect()))
            }
            (Datatype::Fp32 | Datatype::Fp64, Self::Real(all)) => Ok(Self::Real(all)),
            (Datatype::Fp32 | Datatype::Fp64, Self::Small(all)) => {
                Ok(Self::Real(all.into_iter().map(f64::from).collect()))
            }
            (Datatype::Fp32 | Datatype::Fp64, Self::Whole(all)) => {
                Ok(Self::Real(all.into_iter().map(|it| it as f64).collect()))
            }
            (Datatype::Bytes, all @ (Self::Texts(_) | Self::Raw(_))) => Ok(all),
            _ => wrong(),
        }
    }

    /// `count` elements of `datatype` as the binary extension has them: little-endian, and before each of `BYTES`
    /// its length.
    ///
    /// # Errors
    ///
    /// What is wrong, where the bytes are too few or too many, or are no such elements.
    pub(super) fn from_binary(datatype: Datatype, count: usize, mut bytes: Bytes) -> Result<Self, String> {
        if datatype == Datatype::Uint8 {
            fits(count, bytes.len(), 1)?;
            return Ok(Self::Small(bytes.into()));
        }
        if count > MOST {
            return Err(format!("it has {count} elements, more than {MOST}"));
        }
        if datatype == Datatype::Bytes {
            return texts(count, bytes).map(Self::Raw);
        }
        fits(count, bytes.len(), datatype.size())?;
        let (bytes, times) = (&mut bytes, 0..count);
        Ok(match datatype {
            Datatype::Bool => {
                return Self::Small(bytes.to_vec()).typed(Datatype::Bool);
            }
            Datatype::Fp32 => Self::Real(times.map(|_| f64::from(bytes.get_f32_le())).collect()),
            Datatype::Fp64 => Self::Real(times.map(|_| bytes.get_f64_le()).collect()),
            Datatype::Int8 => Self::Whole(times.map(|_| bytes.get_i8().into()).collect()),
            Datatype::Int16 => Self::Whole(times.map(|_| bytes.get_i16_le().into()).collect()),
            Datatype::Int32 => Self::Whole(times.map(|_| bytes.get_i32_le().into()).collect()),
            Datatype::Int64 => Self::Whole(times.map(|_| bytes.get_i64_le().into()).collect()),
            Datatype::Uint16 => Self::Whole(times.map(|_| bytes.get_u16_le().into()).collect()),
            Datatype::Uint32 => Self::Whole(times.map(|_| bytes.get_u32_le().into()).collect()),
            Datatype::Uint64 => Self::Whole(times.map(|_| bytes.get_u64_le().into()).collect()),
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Uint8 | Datatype::Bytes => {
                return Err(format!("no input here takes {datatype}"));
            }
        })
    }

    fn whole(&mut self, value: i128) -> Result<(), &'static str> {
        match self {
            Self::None => {
                *self = u8::try_from(value)
                    .map_or_else(|_| Self::Whole(vec![value]), |small| Self::Small(vec![small]));
            }
            Self::Small(all) => match u8::try_from(value) {
                Ok(small) => all.push(small),
                Err(_) => {
                    few(all.len())?;
                    *self = Self::Whole(all.iter().map(|it| i128::from(*it)).chain([value]).collect());
                }
            },
            Self::Whole(all) => push(all, value)?,
            Self::Real(all) => push(all, value as f64)?,
            _ => return Err(MIXED),
        }
        Ok(())
    }

    fn real(&mut self, value: f64) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Real(vec![value]),
            Self::Real(all) => push(all, value)?,
            Self::Small(all) => {
                few(all.len())?;
                *self = Self::Real(all.iter().map(|it| f64::from(*it)).chain([value]).collect());
            }
            Self::Whole(all) => *self = Self::Real(all.iter().map(|it| *it as f64).chain([value]).collect()),
            _ => return Err(MIXED),
        }
        Ok(())
    }

    fn truth(&mut self, value: bool) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Truth(vec![value]),
            Self::Truth(all) => push(all, value)?,
            _ => return Err(MIXED),
        }
        Ok(())
    }

    fn text(&mut self, value: String) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Texts(vec![value]),
            Self::Texts(all) => push(all, value)?,
            _ => return Err(MIXED),
        }
        Ok(())
    }
}

const MIXED: &str = "elements of one tensor are of one type";

fn few(count: usize) -> Result<(), &'static str> {
    if count < MOST { Ok(()) } else { Err("more than 65536 elements") }
}

fn push<T>(all: &mut Vec<T>, value: T) -> Result<(), &'static str> {
    few(all.len())?;
    all.push(value);
    Ok(())
}

fn fits(count: usize, bytes: usize, size: usize) -> Result<(), String> {
    if count.checked_mul(size) == Some(bytes) {
        return Ok(());
    }
    Err(format!("{bytes} bytes are not the {count} elements of {size} bytes that its shape has"))
}

fn texts(count: usize, mut bytes: Bytes) -> Result<Vec<Bytes>, String> {
    let mut all = Vec::with_capacity(count.min(bytes.len() / 4));
    while !bytes.is_empty() {
        let cut = || format!("its data ends within element {}", all.len());
        if all.len() == count {
            return Err(format!("its data goes on after the {count} elements that its shape has"));
        }
        let length = bytes.try_get_u32_le().map_err(|_| cut())? as usize;
        if length > bytes.len() {
            return Err(cut());
        }
        all.push(bytes.split_to(length));
    }
    if all.len() < count {
        return Err(format!("its data has {} elements and its shape {count}", all.len()));
    }
    Ok(all)
}

impl<'de> Deserialize<'de> for Elements {
    /// From a list, or lists of lists.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut elements = Self::None;
        deserializer.deserialize_seq(Gather { into: &mut elements, listed: true })?;
        Ok(elements)
    }
}

/// Takes in an element, or a list of them.
struct Gather<'a> {
    into: &'a mut Elements,
    /// Only a list will do.
    listed: bool,
}

impl<'de> DeserializeSeed<'de> for Gather<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Gather<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.listed { "a list" } else { "a number, a text, true, false or a list" })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Gather { into: self.into, listed: false })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.into.truth(value).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.into.whole(value.into()).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.into.whole(value.into()).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.into.real(value).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<(), E> {
        self.into.text(value).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<Elements, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_of_lists_are_flat() {
        assert_eq!(json("[]"), Ok(Elements::None));
        assert_eq!(json("[[1,2],[3,255]]"), Ok(Elements::Small(vec![1, 2, 3, 255])));
        assert_eq!(json("[1,256]"), Ok(Elements::Whole(vec![1, 256])));
        assert_eq!(json("[1,-1,0.5]"), Ok(Elements::Real(vec![1.0, -1.0, 0.5])));
        assert_eq!(json("[18446744073709551615]"), Ok(Elements::Whole(vec![u64::MAX.into()])));
        assert_eq!(json("[0.5,2]"), Ok(Elements::Real(vec![0.5, 2.0])));
        assert_eq!(json("[true,[false]]"), Ok(Elements::Truth(vec![true, false])));
        assert_eq!(json(r#"["a",["b"]]"#), Ok(Elements::Texts(vec!["a".to_owned(), "b".to_owned()])));
    }

    #[test]
    fn what_is_no_list_of_one_type_is_refused() {
        for wrong in
            ["5", "\"a\"", "null", "{}", "[1,\"a\"]", "[\"a\",1]", "[true,1]", "[null]", "[{}]", "[1.5,true]"]
        {
            assert!(json(wrong).is_err(), "{wrong}");
        }
        let many = |element: &str| format!("[{}{element}]", format!("{element},").repeat(MOST));
        assert!(json(&many("300")).unwrap_err().contains("65536"));
        assert!(json(&many("\"\"")).is_err());
        assert!(json(&format!("{},300]", many("0").trim_end_matches(']'))).is_err());
        assert_eq!(json(&many("7")).map(|all| all.len()), Ok(MOST + 1));
    }

    #[test]
    fn elements_are_of_their_tensors_type() {
        let typed = |text: &str, datatype| json(text).unwrap().typed(datatype);
        assert_eq!(typed("[1,2]", Datatype::Int32), Ok(Elements::Whole(vec![1, 2])));
        assert_eq!(typed("[1,2]", Datatype::Uint8), Ok(Elements::Small(vec![1, 2])));
        assert_eq!(typed("[1,2]", Datatype::Fp32), Ok(Elements::Real(vec![1.0, 2.0])));
        assert_eq!(typed("[1,0]", Datatype::Bool), Ok(Elements::Truth(vec![true, false])));
        for (text, datatype) in [
            ("[256]", Datatype::Uint8),
            ("[-1]", Datatype::Uint64),
            ("[128]", Datatype::Int8),
            ("[0.5]", Datatype::Int32),
            ("[2]", Datatype::Bool),
            ("[1]", Datatype::Bytes),
            ("[\"1\"]", Datatype::Fp32),
            ("[true]", Datatype::Int32),
            ("[1]", Datatype::Fp16),
        ] {
            assert!(typed(text, datatype).is_err(), "{text} {datatype}");
        }
    }

    #[test]
    fn bytes_are_what_numpy_writes() {
        let read = |datatype, count, bytes: &'static [u8]| {
            Elements::from_binary(datatype, count, Bytes::from_static(bytes))
        };
        assert_eq!(read(Datatype::Int32, 1, &[1, 0, 0, 0]), Ok(Elements::Whole(vec![1])));
        assert_eq!(read(Datatype::Fp32, 1, &[0, 0, 0, 0x3f]), Ok(Elements::Real(vec![0.5])));
        assert_eq!(read(Datatype::Uint8, 2, &[7, 8]), Ok(Elements::Small(vec![7, 8])));
        assert_eq!(read(Datatype::Bool, 2, &[1, 0]), Ok(Elements::Truth(vec![true, false])));
        let texts = Elements::Raw(vec![Bytes::from_static(b"hi"), Bytes::new()]);
        assert_eq!(read(Datatype::Bytes, 2, b"\x02\0\0\0hi\0\0\0\0"), Ok(texts));
    }

    #[test]
    fn bytes_that_are_too_few_or_too_many_are_refused() {
        let refused = |datatype, count, bytes: &'static [u8]| {
            Elements::from_binary(datatype, count, Bytes::from_static(bytes)).is_err()
        };
        assert!(refused(Datatype::Int32, 1, &[1, 0, 0]));
        assert!(refused(Datatype::Int32, 1, &[1, 0, 0, 0, 0]));
        assert!(refused(Datatype::Fp64, usize::MAX, &[0; 8]));
        assert!(refused(Datatype::Bool, 1, &[2]));
        assert!(refused(Datatype::Fp16, 1, &[0, 0]));
        assert!(refused(Datatype::Bytes, 1, b"\x03\0\0\0hi"));
        assert!(refused(Datatype::Bytes, 1, b"\x02\0\0"));
        assert!(refused(Datatype::Bytes, 2, b"\x02\0\0\0hi"));
        assert!(refused(Datatype::Bytes, 1, b"\x02\0\0\0hi\0\0\0\0"));
        assert!(refused(Datatype::Bytes, 1, b"\xff\xff\xff\xffhi"));
        assert!(refused(Datatype::Bytes, usize::MAX, b""));
    }
}
