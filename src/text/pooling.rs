//! From one vector per token to one per text: `1_Pooling/config.json` of sentence-transformers.

use serde::Deserialize;

use super::RecipeError;

/// The file as it is written: one switch per mode before sentence-transformers 5.3, one list since.
#[allow(clippy::struct_excessive_bools, reason = "the file has them")]
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PoolingConfig {
    pooling_mode: Option<OneOrMany>,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    #[serde(alias = "word_embedding_dimension")]
    embedding_dimension: Option<usize>,
    include_prompt: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// One way to make one vector of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PoolingMode {
    /// The first token's.
    Cls,
    /// The largest number of each dimension.
    Max,
    /// The mean.
    Mean,
    /// The sum over the square root of the number of tokens.
    MeanSqrtLen,
    /// The mean, the n-th token counting n times.
    WeightedMean,
    /// The last token's.
    LastToken,
}

impl PoolingMode {
    fn from_name(name: &str) -> Result<Self, RecipeError> {
        Ok(match name {
            "cls" => Self::Cls,
            "max" => Self::Max,
            "mean" => Self::Mean,
            "mean_sqrt_len_tokens" => Self::MeanSqrtLen,
            "weightedmean" => Self::WeightedMean,
            "lasttoken" => Self::LastToken,
            _ => return Err(RecipeError::UnknownPooling(name.to_owned())),
        })
    }
}

/// How the vectors of a text's tokens become one: each mode's result, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pooling {
    modes: Vec<PoolingMode>,
    /// Whether the tokens of a prompt count.
    include_prompt: bool,
    /// How wide the file says the token vectors are.
    stated_width: Option<usize>,
}

impl Pooling {
    /// What a model without instructions gets, as in sentence-transformers: the mean.
    pub(crate) fn mean() -> Self {
        Self { modes: vec![PoolingMode::Mean], include_prompt: true, stated_width: None }
    }

    /// What the file says.
    pub(crate) fn from_config(config: &PoolingConfig) -> Result<Self, RecipeError> {
        let names: Vec<&str> = match &config.pooling_mode {
            Some(OneOrMany::One(name)) => vec![name],
            Some(OneOrMany::Many(names)) => names.iter().map(String::as_str).collect(),
            None => config.switched_on(),
        };
        let modes = names.into_iter().map(PoolingMode::from_name).collect::<Result<Vec<_>, _>>()?;
        if modes.is_empty() || modes.len() > 6 {
            return Err(RecipeError::UnknownPooling(format!("{} modes at once", modes.len())));
        }
        let include_prompt = config.include_prompt.unwrap_or(true);
        Ok(Self { modes, include_prompt, stated_width: config.embedding_dimension })
    }

    /// How many numbers come of token vectors of `width`.
    pub(crate) fn dimensions(&self, width: usize) -> usize {
        self.modes.len() * width
    }

    /// Whether the tokens of a prompt count.
    pub(crate) fn includes_prompt(&self) -> bool {
        self.include_prompt
    }

    /// The width of token vectors the file was written for.
    pub(crate) fn stated_width(&self) -> Option<usize> {
        self.stated_width
    }

    /// One vector of `dimensions(width)` from `hidden`, which is `[tokens, width]` with at least one token.
    /// The first `skipped` tokens do not count; where that leaves none, means are zero.
    pub(crate) fn pool(&self, hidden: &[f32], width: usize, skipped: usize) -> Vec<f32> {
        let skipped_numbers = skipped.saturating_mul(width).min(hidden.len());
        let mut pooled = Vec::with_capacity(self.dimensions(width));
        for mode in &self.modes {
            let rows = || hidden[skipped_numbers..].chunks_exact(width);
            let alike = || rows().map(|row| (1.0, row));
            match mode {
                PoolingMode::Cls => pooled.extend(rows().next().unwrap_or(&hidden[..width])),
                PoolingMode::LastToken => pooled.extend(rows().next_back().unwrap_or(&vec![0.0; width])),
                PoolingMode::Max => pooled.extend(maximum(rows(), width)),
                PoolingMode::Mean => pooled.extend(weighted_sum(alike(), width, |n| n)),
                PoolingMode::MeanSqrtLen => pooled.extend(weighted_sum(alike(), width, f64::sqrt)),
                PoolingMode::WeightedMean => {
                    let weighted = rows().zip(skipped + 1..).map(|(row, place)| (place as f64, row));
                    pooled.extend(weighted_sum(weighted, width, |n| n));
                }
            }
        }
        pooled
    }
}

impl PoolingConfig {
    /// The modes of the older form, in the order in which their results are joined; the mean if none is on.
    fn switched_on(&self) -> Vec<&'static str> {
        let switches = [
            (self.pooling_mode_cls_token, "cls"),
            (self.pooling_mode_max_tokens, "max"),
            (self.pooling_mode_mean_tokens, "mean"),
            (self.pooling_mode_mean_sqrt_len_tokens, "mean_sqrt_len_tokens"),
            (self.pooling_mode_weightedmean_tokens, "weightedmean"),
            (self.pooling_mode_lasttoken, "lasttoken"),
        ];
        let on: Vec<_> = switches.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
        if on.is_empty() { vec!["mean"] } else { on }
    }
}

fn maximum<'a>(rows: impl Iterator<Item = &'a [f32]>, width: usize) -> Vec<f32> {
    let mut largest = vec![f32::NEG_INFINITY; width];
    for row in rows {
        for (best, x) in largest.iter_mut().zip(row) {
            // Written so that not-a-number wins: it must not vanish here.
            if *x > *best || x.is_nan() {
                *best = *x;
            }
        }
    }
    largest
}

/// The sum of weight x row, over what `divisor` makes of the sum of weights. In f64: a long text has many.
fn weighted_sum<'a>(
    rows: impl Iterator<Item = (f64, &'a [f32])>,
    width: usize,
    divisor: impl Fn(f64) -> f64,
) -> Vec<f32> {
    let mut sums = vec![0f64; width];
    let mut total = 0.0;
    for (weight, row) in rows {
        total += weight;
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += weight * f64::from(*x);
        }
    }
    let scale = divisor(f64::max(total, 1e-9)).recip();
    sums.into_iter().map(|sum| (sum * scale) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: [f32; 8] = [1.0, -2.0, 3.0, 0.0, 5.0, 4.0, 7.0, 2.0];

    fn pool(config: &str, skipped: usize) -> Vec<f32> {
        let config: PoolingConfig = serde_json::from_str(config).unwrap();
        Pooling::from_config(&config).unwrap().pool(&HIDDEN, 2, skipped)
    }

    #[test]
    fn each_mode_in_both_spellings() {
        let table: [(&str, &str, [f32; 2]); 6] = [
            ("cls", "cls_token", [1.0, -2.0]),
            ("max", "max_tokens", [7.0, 4.0]),
            ("mean", "mean_tokens", [4.0, 1.0]),
            ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens", [8.0, 2.0]),
            ("weightedmean", "weightedmean_tokens", [5.0, 1.8]),
            ("lasttoken", "lasttoken", [7.0, 2.0]),
        ];
        for (name, switch, expected) in table {
            assert_eq!(pool(&format!(r#"{{"pooling_mode":"{name}"}}"#), 0), expected, "{name}");
            assert_eq!(pool(&format!(r#"{{"pooling_mode_{switch}":true}}"#), 0), expected, "{switch}");
        }
    }

    #[test]
    fn modes_are_joined_in_their_order() {
        let both = r#"{"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true}"#;
        assert_eq!(pool(both, 0), [1.0, -2.0, 4.0, 1.0]);
        assert_eq!(pool(r#"{"pooling_mode":["mean","cls"]}"#, 0), [4.0, 1.0, 1.0, -2.0]);
        assert_eq!(pool("{}", 0), [4.0, 1.0], "the mean where nothing is said");
    }

    #[test]
    fn prompt_tokens_can_be_left_out() {
        assert_eq!(pool(r#"{"pooling_mode":"mean"}"#, 2), [6.0, 3.0]);
        assert_eq!(pool(r#"{"pooling_mode":"weightedmean"}"#, 2), [43.0 / 7.0, 20.0 / 7.0]);
        assert_eq!(pool(r#"{"pooling_mode":"mean"}"#, 9), [0.0, 0.0]);
    }

    #[test]
    fn what_is_no_number_survives_the_maximum() {
        let hidden = [1.0, f32::NAN, 2.0];
        let got = Pooling { modes: vec![PoolingMode::Max], ..Pooling::mean() }.pool(&hidden, 1, 0);
        assert!(got[0].is_nan());
    }

    #[test]
    fn an_unknown_mode_is_refused_by_name() {
        let config: PoolingConfig = serde_json::from_str(r#"{"pooling_mode":"attention"}"#).unwrap();
        let error = Pooling::from_config(&config).unwrap_err();
        assert!(error.to_string().contains("attention"), "{error}");
    }
}
