//! What a budget tells of itself, and why it refuses.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::ByteSize;

/// A reservation was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverBudget {
    /// What was asked for.
    pub need: ByteSize,
    /// What could have been granted.
    pub free: ByteSize,
    /// The limit on all reservations together.
    pub limit: ByteSize,
    /// Who holds what.
    pub holders: Vec<Holder>,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { need, free, limit, holders } = self;
        write!(f, "needs {need}, {free} free of a budget of {limit}")?;
        if need > limit {
            return f.write_str("; it can never fit: raise the memory fraction or choose a smaller model");
        }
        let mut largest: Vec<_> = holders.iter().collect();
        largest.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
        for (index, holder) in largest.iter().take(4).enumerate() {
            write!(f, "{} {} ({})", if index == 0 { "; held by" } else { "," }, holder.label, holder.bytes)?;
        }
        if largest.len() > 4 {
            write!(f, " and {} more", largest.len() - 4)?;
        }
        Ok(())
    }
}

impl std::error::Error for OverBudget {}

/// One reservation, as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What it is for.
    pub label: Arc<str>,
    /// How much it holds.
    pub bytes: ByteSize,
}

/// A budget's figures at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStatus {
    /// The limit on all reservations together.
    pub limit: ByteSize,
    /// What is reserved.
    pub reserved: ByteSize,
    /// What would be granted.
    pub free: ByteSize,
    /// Who holds what.
    pub holders: Vec<Holder>,
}
