//! Values made small before a template can keep them.
//!
//! The library adds lists lazily, lets containers share their items and namespaces hold themselves, and
//! writes, compares and drops all of them by recursion, without fuel. So [`super::rewrite`] passes every
//! container a template makes through a filter from here. What comes out is a tree: no namespace in it, no
//! deeper than [`MAX_DEPTH`](super::python::MAX_DEPTH), nothing lazy, and every item and byte paid for as
//! often as it appears.

use std::cell::Cell;

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::python::{MAX_DEPTH, too_deep};

/// The filter for what an expression makes.
pub(super) const SEAL: &str = "millpond_sealed";

/// The filter for what becomes a part of something else: an attribute, or an argument to a method.
pub(super) const SEAL_PART: &str = "millpond_sealed_part";

/// The filter for what is about to be walked through, which the library does not pay for when it is text.
pub(super) const PAID_LENGTH: &str = "millpond_paid_length";

/// What an item costs, in bytes; 64 bytes are one unit of fuel.
const ITEM_BYTES: usize = 16;

/// `value` as a tree. A namespace, whose attributes are sealed, stays one.
pub(super) fn seal(state: &State, value: Value) -> Result<Value, Error> {
    let seal = Seal { state, owed: Cell::new(0) };
    match engine_type(&value) {
        Some(EngineType::Namespace) => {
            for name in value.try_iter()? {
                seal.part(&value.get_item(&name)?, MAX_DEPTH)?;
            }
            Ok(value)
        }
        Some(EngineType::Other) => Ok(value),
        None => Ok(seal.part(&value, MAX_DEPTH)?.unwrap_or(value)),
    }
}

/// `value` as a tree, or a macro.
pub(super) fn seal_part(state: &State, value: Value) -> Result<Value, Error> {
    if is_macro(&value) {
        return Ok(value);
    }
    let seal = Seal { state, owed: Cell::new(0) };
    Ok(seal.part(&value, MAX_DEPTH)?.unwrap_or(value))
}

/// `value`, its bytes or items paid for, not those of its parts.
pub(super) fn paid_length(state: &State, value: Value) -> Result<Value, Error> {
    let items = value.as_bytes().map_or_else(|| value.len().unwrap_or(0) * ITEM_BYTES, <[u8]>::len);
    state.consume_fuel(items as u64 / 64)?;
    Ok(value)
}

/// What the library makes that is neither text, number nor container, though some say that they are maps.
#[derive(Clone, Copy, PartialEq)]
enum EngineType {
    Namespace,
    Other,
}

fn engine_type(value: &Value) -> Option<EngineType> {
    let name = value.as_object()?.type_name();
    if name.ends_with("::Namespace") {
        return Some(EngineType::Namespace);
    }
    let other = value.kind() == ValueKind::Plain || name.ends_with("::Loop") || name.ends_with("::Macro");
    other.then_some(EngineType::Other)
}

fn is_macro(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Macro"))
}

struct Seal<'a> {
    state: &'a State<'a, 'a>,
    /// Bytes not yet paid for, fewer than a unit's.
    owed: Cell<usize>,
}

impl Seal<'_> {
    /// `value` as a tree of so many levels; nothing when it is one.
    fn part(&self, value: &Value, depth: usize) -> Result<Option<Value>, Error> {
        self.pay(ITEM_BYTES + value.as_bytes().map_or(0, <[u8]>::len))?;
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => self.list(value, below(depth)?),
            _ if engine_type(value).is_some() => {
                let reason = "namespaces, loops and macros cannot be parts of other values";
                Err(Error::new(ErrorKind::InvalidOperation, reason))
            }
            ValueKind::Map => self.map(value, below(depth)?),
            ValueKind::Invalid => Err(Error::new(ErrorKind::InvalidOperation, value.to_string())),
            _ => Ok(None),
        }
    }

    fn list(&self, value: &Value, depth: usize) -> Result<Option<Value>, Error> {
        let tuple = value.is_tuple();
        let mut changed = !tuple && value.downcast_object_ref::<Vec<Value>>().is_none();
        let mut items = Vec::new();
        for item in value.try_iter()? {
            let sealed = self.part(&item, depth)?;
            changed |= sealed.is_some();
            items.push(sealed.unwrap_or(item));
        }
        Ok(changed.then(|| if tuple { Value::from(Tuple::from(items)) } else { Value::from(items) }))
    }

    fn map(&self, value: &Value, depth: usize) -> Result<Option<Value>, Error> {
        let mut entries = Vec::new();
        for key in value.try_iter()? {
            let item = value.get_item(&key)?;
            let key = self.part(&key, depth)?.unwrap_or(key);
            let item = self.part(&item, depth)?.unwrap_or(item);
            entries.push((key, item));
        }
        Ok(Some(Value::from_pairs(entries)))
    }

    fn pay(&self, bytes: usize) -> Result<(), Error> {
        let owed = self.owed.get() + bytes;
        self.owed.set(owed % 64);
        if owed >= 64 { self.state.consume_fuel(owed as u64 / 64) } else { Ok(()) }
    }
}

fn below(depth: usize) -> Result<usize, Error> {
    depth.checked_sub(1).ok_or_else(too_deep)
}
