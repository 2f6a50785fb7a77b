//! The ways in which GGUF stores numbers.

use std::fmt;

/// How the numbers of a tensor are stored.
///
/// Q formats store blocks of numbers as small integers with scales; every row of a tensor is whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the format's")]
pub enum GgmlType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
    /// One that cannot be computed with here, by its number in the format.
    Unsupported(u32),
}

/// Number in the format, name, numbers in a block, bytes of a block.
type Row = (u32, &'static str, usize, usize);

/// Every way that the format has today, so that what is not supported can be named and weighed.
const TABLE: [Row; 34] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
];

impl GgmlType {
    pub(super) fn from_code(code: u32) -> Self {
        match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            8 => Self::Q8_0,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::BF16,
            other => Self::Unsupported(other),
        }
    }

    fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::BF16 => 30,
            Self::Unsupported(code) => code,
        }
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|(code, ..)| *code == self.code())
    }

    /// Whether tensors stored so can be computed with.
    pub fn is_supported(self) -> bool {
        !matches!(self, Self::Unsupported(_))
    }

    /// How many numbers are in a block, and how many bytes it takes; `None` if the format is unknown.
    pub fn block(self) -> Option<(usize, usize)> {
        self.row().map(|&(_, _, numbers, bytes)| (numbers, bytes))
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some((_, name, ..)) => f.write_str(name),
            None => write!(f, "type {}", self.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_read_back() {
        for &(code, name, ..) in &TABLE {
            let kind = GgmlType::from_code(code);
            assert_eq!((kind.code(), kind.to_string().as_str()), (code, name));
        }
        assert_eq!(GgmlType::from_code(3), GgmlType::Unsupported(3));
        assert_eq!(GgmlType::from_code(999).to_string(), "type 999");
        assert_eq!(GgmlType::from_code(999).block(), None);
    }
}
