//! Rotary positions: Su et al., "`RoFormer`", arXiv 2104.09864, and the ways to stretch them over longer texts.
//! Reference: `modeling_rope_utils.py` of transformers.

use std::f64::consts::TAU;

use super::raw::RopeParameters;
use crate::arch::ArchError;
use crate::arch::bounds::{bad, not_supported};
use crate::kernels::RopeStyle;

/// How a layer turns queries and keys by their positions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RopeConfig {
    /// Radians per position for each pair of numbers. The pairs come first in a head; numbers beyond them
    /// are left as they are.
    pub(crate) frequencies: Vec<f32>,
    /// What holds instead for texts longer than were trained on.
    pub(crate) stretched: Option<Stretched>,
    /// What sines and cosines are multiplied by.
    pub(crate) scale: f32,
    pub(crate) style: RopeStyle,
    /// Where a token's place has three parts: how many pairs turn by each of them, in order.
    pub(crate) sections: Option<[usize; 3]>,
}

/// Frequencies for long texts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stretched {
    /// For texts of more tokens than this.
    pub(crate) over: usize,
    pub(crate) frequencies: Vec<f32>,
}

/// What rope parameters do not say themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    pub(super) head_size: usize,
    pub(super) context: usize,
    pub(super) default_theta: f64,
}

const TYPES: [&str; 5] = ["default", "linear", "llama3", "yarn", "longrope"];

impl RopeConfig {
    /// From what the file says.
    pub(super) fn new(rope: &RopeParameters, around: Surroundings) -> Result<Self, ArchError> {
        let turned = rope.partial_rotary_factor.unwrap_or(1.0) * around.head_size as f64;
        // Truncated, as in the reference; a bound on it is checked with the others.
        let width = turned as usize;
        if width == 0 || width > around.head_size || !width.is_multiple_of(2) {
            let expected = format!("an even share of {} must be turned", around.head_size);
            return Err(bad("partial_rotary_factor", turned, expected));
        }
        let theta = number("rope_theta", rope.rope_theta.unwrap_or(around.default_theta), 1.0)?;
        let plain: Vec<f64> = (0..width / 2).map(|i| theta.powf(-2.0 * i as f64 / width as f64)).collect();
        let kind = rope.rope_type.as_deref().or(rope.r#type.as_deref()).unwrap_or("default");
        match kind {
            // Places of three parts are turned by as usual.
            "default" | "mrope" => Self::of(&plain, 1.0),
            "linear" => {
                let factor = number("rope_parameters.factor", rope.factor.unwrap_or(1.0), 1e-6)?;
                Self::of(&plain.iter().map(|f| f / factor).collect::<Vec<_>>(), 1.0)
            }
            "llama3" => Self::of(&llama3(&plain, rope, around)?, 1.0),
            "yarn" if rope.long_factor.is_none() => yarn(&plain, rope, around, theta),
            // Early files of Phi-3 call it by its authors' first names for it.
            "longrope" | "su" | "yarn" => longrope(&plain, rope, around),
            other => Err(not_supported("rope_type", other, &TYPES)),
        }
    }

    /// The same for places of three parts, by each of which so many pairs turn.
    pub(super) fn in_sections(self, sections: Option<Vec<usize>>) -> Result<Self, ArchError> {
        let Some(sections) = sections else { return Ok(self) };
        let pairs = self.frequencies.len();
        match <[usize; 3]>::try_from(sections) {
            Ok(sections) if sections.iter().try_fold(0usize, |sum, n| sum.checked_add(*n)) == Some(pairs) => {
                Ok(Self { sections: Some(sections), ..self })
            }
            Ok(other) => Err(bad_sections(&other, pairs)),
            Err(other) => Err(bad_sections(&other, pairs)),
        }
    }

    fn of(frequencies: &[f64], scale: f64) -> Result<Self, ArchError> {
        let scale = number("rope_parameters.attention_factor", scale, 1e-6)? as f32;
        let (frequencies, style) = (narrow(frequencies), RopeStyle::Halves);
        Ok(Self { frequencies, stretched: None, scale, style, sections: None })
    }
}

fn bad_sections(found: &[usize], pairs: usize) -> ArchError {
    let expected = format!("three numbers must add up to {pairs} pairs");
    bad("rope_parameters.mrope_section", format!("{found:?}"), expected)
}

fn narrow(frequencies: &[f64]) -> Vec<f32> {
    frequencies.iter().map(|f| *f as f32).collect()
}

/// A finite number of at least `least`.
pub(super) fn number(field: &'static str, found: f64, least: f64) -> Result<f64, ArchError> {
    if found.is_finite() && found >= least {
        return Ok(found);
    }
    Err(bad(field, found, format!("it must be at least {least}")))
}

fn required(field: &'static str, found: Option<f64>) -> Result<f64, ArchError> {
    let missing = || bad(field, "missing", "this rope_type needs it".to_owned());
    number(field, found.ok_or_else(missing)?, 1e-6)
}

/// Llama 3.1: slow pairs are slowed down further, fast ones left, those between blended.
fn llama3(plain: &[f64], rope: &RopeParameters, around: Surroundings) -> Result<Vec<f64>, ArchError> {
    let factor = required("rope_parameters.factor", rope.factor)?;
    let low = required("rope_parameters.low_freq_factor", rope.low_freq_factor)?;
    let high = required("rope_parameters.high_freq_factor", rope.high_freq_factor)?;
    if high <= low {
        let expected = format!("it must be over low_freq_factor, {low}");
        return Err(bad("rope_parameters.high_freq_factor", high, expected));
    }
    let original = rope.original_max_position_embeddings.unwrap_or(around.context) as f64;
    let slowed = plain.iter().map(|frequency| {
        let turns = original * frequency / TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        frequency * (kept + (1.0 - kept) / factor)
    });
    Ok(slowed.collect())
}

/// Peng et al., "`YaRN`: Efficient Context Window Extension of Large Language Models", arXiv 2309.00071.
fn yarn(
    plain: &[f64],
    rope: &RopeParameters,
    around: Surroundings,
    theta: f64,
) -> Result<RopeConfig, ArchError> {
    let original = rope.original_max_position_embeddings.unwrap_or(around.context).max(1) as f64;
    let factor = rope.factor.unwrap_or(around.context as f64 / original);
    let factor = number("rope_parameters.factor", factor, 1e-6)?;
    let width = 2.0 * plain.len() as f64;
    // The pair that turns so many times over the original context.
    let pair = |turns: f64| width * (original / (turns * TAU)).ln() / (2.0 * theta.ln());
    let (mut first, mut last) = (pair(rope.beta_fast.unwrap_or(32.0)), pair(rope.beta_slow.unwrap_or(1.0)));
    if rope.truncate != Some(false) {
        (first, last) = (first.floor(), last.ceil());
    }
    let (first, mut last) = (first.max(0.0), last.min(width - 1.0));
    if first.total_cmp(&last).is_eq() {
        last += 0.001;
    }
    let blended = plain.iter().enumerate().map(|(i, frequency)| {
        let slowed = ((i as f64 - first) / (last - first)).clamp(0.0, 1.0);
        frequency * (1.0 - slowed + slowed / factor)
    });
    let grown = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let scale = rope.attention_factor.unwrap_or_else(|| match (rope.mscale, rope.mscale_all_dim) {
        (Some(one), Some(all)) if one != 0.0 && all != 0.0 => grown(one) / grown(all),
        _ => grown(1.0),
    });
    RopeConfig::of(&blended.collect::<Vec<_>>(), scale)
}

/// Ding et al., "`LongRoPE`: Extending LLM Context Window Beyond 2 Million Tokens", arXiv 2402.13753, as Phi-3
/// uses it: each pair has a factor of its own, another one in long texts.
fn longrope(plain: &[f64], rope: &RopeParameters, around: Surroundings) -> Result<RopeConfig, ArchError> {
    let divided = |field: &'static str, factors: Option<&Vec<f64>>| {
        let factors = factors.map_or(&[][..], Vec::as_slice);
        if factors.len() != plain.len() {
            let expected = format!("one for each of {} pairs is needed", plain.len());
            return Err(bad(field, format!("{} numbers", factors.len()), expected));
        }
        let divided = plain.iter().zip(factors);
        divided.map(|(frequency, factor)| Ok(frequency / number(field, *factor, 1e-6)?)).collect()
    };
    let short: Vec<f64> = divided("rope_parameters.short_factor", rope.short_factor.as_ref())?;
    let long: Vec<f64> = divided("rope_parameters.long_factor", rope.long_factor.as_ref())?;
    let over = rope.original_max_position_embeddings.unwrap_or(around.context);
    let grown = rope.factor.unwrap_or(around.context as f64 / over.max(1) as f64);
    let scale = rope.attention_factor.unwrap_or_else(|| {
        if grown <= 1.0 { 1.0 } else { (1.0 + grown.ln() / (over.max(2) as f64).ln()).sqrt() }
    });
    let stretched = Some(Stretched { over, frequencies: narrow(&long) });
    Ok(RopeConfig { stretched, ..RopeConfig::of(&short, scale)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Surroundings = Surroundings { head_size: 8, context: 64, default_theta: 10_000.0 };

    #[test]
    fn the_plain_kind_turns_each_pair_ten_times_slower() {
        let rope = RopeConfig::new(&RopeParameters::default(), AROUND).unwrap();
        assert_eq!(rope.frequencies, [1.0, 0.1, 0.01, 0.001]);
        assert_eq!((rope.scale, rope.stretched), (1.0, None));
    }

    #[test]
    fn hostile_parameters_are_refused() {
        let refused = |change: &dyn Fn(&mut RopeParameters)| {
            let mut rope = RopeParameters::default();
            change(&mut rope);
            RopeConfig::new(&rope, AROUND).is_err()
        };
        assert!(refused(&|r| r.rope_theta = Some(f64::NAN)));
        assert!(refused(&|r| r.rope_theta = Some(0.0)));
        assert!(refused(&|r| r.partial_rotary_factor = Some(1e30)));
        assert!(refused(&|r| r.partial_rotary_factor = Some(-1.0)));
        assert!(refused(&|r| r.rope_type = Some("dynamic".into())));
        assert!(refused(&|r| r.rope_type = Some("llama3".into())));
        assert!(refused(&|r| r.rope_type = Some("longrope".into())));
        let linear = |factor| {
            move |r: &mut RopeParameters| {
                r.rope_type = Some("linear".into());
                r.factor = Some(factor);
            }
        };
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(refused(&|r| {
                r.rope_type = Some("yarn".into());
                r.attention_factor = Some(factor);
            }));
        }
        assert!(refused(&linear(0.0)) && refused(&linear(f64::INFINITY)) && !refused(&linear(4.0)));
    }
}
