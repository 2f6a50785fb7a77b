//! The options of all schedules, as `scheduler_config.json` spells them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::arch::ArchError;
use crate::arch::bounds::not_supported;
use crate::weights::{ModelFolder, WeightsError};

/// Each class of diffusers takes those that it has and leaves the others be.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Options {
    #[serde(rename = "_class_name")]
    pub(super) class: Option<String>,
    pub(super) num_train_timesteps: Option<usize>,
    pub(super) beta_start: Option<f64>,
    pub(super) beta_end: Option<f64>,
    pub(super) beta_schedule: Option<String>,
    pub(super) trained_betas: Option<Vec<f32>>,
    pub(super) rescale_betas_zero_snr: Option<bool>,
    pub(super) prediction_type: Option<String>,
    pub(super) timestep_spacing: Option<String>,
    pub(super) steps_offset: Option<usize>,
    pub(super) set_alpha_to_one: Option<bool>,
    pub(super) clip_sample: Option<bool>,
    pub(super) clip_sample_range: Option<f32>,
    pub(super) skip_prk_steps: Option<bool>,
    pub(super) use_karras_sigmas: Option<bool>,
    pub(super) use_exponential_sigmas: Option<bool>,
    pub(super) sigma_min: Option<f64>,
    pub(super) sigma_max: Option<f64>,
    pub(super) final_sigmas_type: Option<String>,
    pub(super) solver_order: Option<usize>,
    pub(super) solver_type: Option<String>,
    pub(super) algorithm_type: Option<String>,
    pub(super) lower_order_final: Option<bool>,
    pub(super) euler_at_final: Option<bool>,
    /// As a rule minus infinity, for which JSON has no word.
    #[serde(default, deserialize_with = "finite")]
    pub(super) lambda_min_clipped: Option<f64>,
    pub(super) original_inference_steps: Option<usize>,
    pub(super) timestep_scaling: Option<f64>,
    pub(super) shift: Option<f64>,
    pub(super) use_dynamic_shifting: Option<bool>,
    pub(super) base_shift: Option<f64>,
    pub(super) max_shift: Option<f64>,
    pub(super) base_image_seq_len: Option<usize>,
    pub(super) max_image_seq_len: Option<usize>,
    pub(super) shift_terminal: Option<f64>,
    pub(super) time_shift_type: Option<String>,
    pub(super) stochastic_sampling: Option<bool>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Options that change results, with the values by which they do not.
const DEFAULTS_ONLY: [(&str, &[&str]); 9] = [
    ("thresholding", &["false"]),
    ("use_beta_sigmas", &["false"]),
    ("use_lu_lambdas", &["false"]),
    ("use_flow_sigmas", &["false"]),
    ("interpolation_type", &["\"linear\""]),
    ("timestep_type", &["\"discrete\""]),
    ("invert_sigmas", &["false"]),
    ("variance_type", &["\"fixed_small\"", "\"fixed_large\""]),
    ("rescale_sigmas", &["false"]),
];

/// Options that change nothing here: they belong to others of the list above, or say what is done elsewhere.
const HARMLESS: [&str; 6] = [
    "dynamic_thresholding_ratio",
    "sample_max_value",
    "flow_shift",
    "predict_epsilon",
    "use_resolution_dependent_shift",
    "max_sequence_length",
];

impl Options {
    /// Reads `scheduler_config.json` of the folder, if it has one.
    pub(super) fn read(folder: &ModelFolder) -> Result<Option<Self>, ArchError> {
        const FILE: &str = "scheduler_config.json";
        let Some(text) = folder.read_text(FILE)? else { return Ok(None) };
        let parsed = serde_json::from_str(&in_json(&text));
        let options = parsed.map_err(|error| {
            let (file, detail) = (format!("{}/{FILE}", folder.label()), error.to_string());
            let detail = detail.chars().take(200).collect();
            WeightsError::from(crate::weights::JsonError::Parse { file, detail })
        })?;
        Ok(Some(options))
    }

    /// Refuses, by name, what is asked for and not implemented.
    pub(super) fn check(&self) -> Result<(), ArchError> {
        for (name, value) in &self.others {
            let nothing = matches!(value, Value::Null | Value::Bool(false));
            if nothing || name.starts_with('_') || HARMLESS.contains(&name.as_str()) {
                continue;
            }
            let text = value.to_string();
            match DEFAULTS_ONLY.iter().find(|(known, _)| known == name) {
                Some((_, values)) if values.contains(&text.as_str()) => {}
                Some((known, values)) => return Err(not_supported(known, &text, values)),
                None => {
                    return Err(not_supported("option of a noise schedule", name, &["those of diffusers"]));
                }
            }
        }
        Ok(())
    }
}

/// What Python writes as JSON, in JSON: infinities and not-a-number become `null`, outside of strings.
fn in_json(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    for (number, part) in text.split('"').enumerate() {
        if number > 0 {
            json.push('"');
        }
        // No name or value of this file has a quotation mark inside.
        if number % 2 == 1 {
            json.push_str(part);
        } else {
            let part = part.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
            json.push_str(&part);
        }
    }
    json
}

/// A number, unless a text or null says that it is no finite one.
fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_of_python_are_no_numbers() {
        let text = r#"{"_class_name": "Infinity", "lambda_min_clipped": -Infinity, "sigma_max": NaN}"#;
        let options: Options = serde_json::from_str(&in_json(text)).unwrap();
        assert_eq!(options.class.as_deref(), Some("Infinity"));
        assert_eq!((options.lambda_min_clipped, options.sigma_max), (None, None));
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_its_name() {
        let check = |json: &str| serde_json::from_str::<Options>(json).unwrap().check();
        for fine in [
            r#"{"thresholding": false, "use_beta_sigmas": null, "_diffusers_version": "0.1", "skip_prk_steps": true}"#,
            r#"{"variance_type": null, "interpolation_type": "linear", "sample_max_value": 1.0}"#,
        ] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        for (wrong, name) in [
            (r#"{"thresholding": true}"#, "thresholding"),
            (r#"{"interpolation_type": "log_linear"}"#, "interpolation_type"),
            (r#"{"new_fashion": 3}"#, "new_fashion"),
        ] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
