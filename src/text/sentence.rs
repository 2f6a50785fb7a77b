//! What a sentence-transformers folder says besides the network itself.
//!
//! `modules.json` lists the stages a text goes through; `config_sentence_transformers.json` has prompts to
//! put before it. Reference: <https://github.com/huggingface/sentence-transformers>.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Pooling;
use crate::capability::{EmbedRequest, InvalidRequest};

/// A folder asks for something that cannot be done here, or for nothing sensible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// `modules.json` has a stage that is not known here.
    #[error("modules.json: a {0:?} stage is not supported; supported are Transformer, Pooling, Normalize")]
    UnsupportedModule(String),
    /// `modules.json` has its stages in an order that makes no sense here.
    #[error("modules.json: {0}")]
    UnsupportedOrder(String),
    /// The pooling is not known here.
    #[error(
        "pooling {0:?} is not supported; supported are cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken"
    )]
    UnknownPooling(String),
    /// The default prompt is not among the prompts.
    #[error("config_sentence_transformers.json: the default prompt {0:?} is not among its prompts")]
    UnknownDefaultPrompt(String),
}

/// One entry of `modules.json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ModuleEntry {
    #[serde(default)]
    pub(crate) path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The stages that are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Transformer,
    Pooling,
    Normalize,
}

impl ModuleEntry {
    /// By the class's own name: the module it lives in has moved between versions.
    fn stage(&self) -> Result<Stage, RecipeError> {
        match self.kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => Ok(Stage::Transformer),
            "Pooling" => Ok(Stage::Pooling),
            "Normalize" => Ok(Stage::Normalize),
            other => Err(RecipeError::UnsupportedModule(other.to_owned())),
        }
    }
}

/// `config_sentence_transformers.json`, as far as it bears on a text.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PromptConfig {
    #[serde(default)]
    prompts: BTreeMap<String, Option<String>>,
    default_prompt_name: Option<String>,
}

/// What happens to a text before and after the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentenceRecipe {
    pub(crate) pooling: Pooling,
    /// Whether vectors are scaled to length 1 when the request does not say.
    normalize: bool,
    prompts: BTreeMap<String, String>,
    default_prompt: Option<String>,
}

impl SentenceRecipe {
    /// Puts together what the files say; `pooling` is what the pooling stage's own file says.
    ///
    /// A folder without `modules.json` is a bare network: mean pooling, vectors as long as they come.
    pub(crate) fn new(
        modules: Option<&[ModuleEntry]>,
        pooling: Option<Pooling>,
        prompts: PromptConfig,
    ) -> Result<Self, RecipeError> {
        let normalize = modules.map_or(Ok(false), normalizes)?;
        let default_prompt = prompts.default_prompt_name;
        if let Some(name) = default_prompt.as_ref().filter(|name| !prompts.prompts.contains_key(*name)) {
            return Err(RecipeError::UnknownDefaultPrompt(name.clone()));
        }
        let prompts =
            prompts.prompts.into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect();
        Ok(Self { pooling: pooling.unwrap_or_else(Pooling::mean), normalize, prompts, default_prompt })
    }

    /// Where the pooling stage's own file lies, if there is such a stage.
    pub(crate) fn pooling_path(modules: &[ModuleEntry]) -> Option<&str> {
        modules.iter().find(|module| module.stage() == Ok(Stage::Pooling)).map(|module| module.path.as_str())
    }

    /// All prompts by name.
    pub(crate) fn prompts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.prompts.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Refuses a request that asks for a prompt or a number of dimensions there is not. `width` is the width
    /// of token vectors.
    pub(crate) fn validate(&self, request: &EmbedRequest, width: usize) -> Result<(), InvalidRequest> {
        self.prompt_name(request)?;
        let most = self.pooling.dimensions(width);
        match request.dimensions {
            Some(n) if n == 0 || n > most => Err(InvalidRequest::new(
                "dimensions",
                format!("{n} is not in 1..={most}, which is all this model has"),
            )),
            _ => Ok(()),
        }
    }

    /// Which prompt the request wants, by name: the one it names, else the model's default.
    pub(crate) fn prompt_name<'a>(
        &'a self,
        request: &EmbedRequest,
    ) -> Result<Option<&'a str>, InvalidRequest> {
        let Some(wanted) = request.prompt_name.as_ref().or(self.default_prompt.as_ref()) else {
            return Ok(None);
        };
        match self.prompts.get_key_value(wanted) {
            Some((name, _)) => Ok(Some(name)),
            None => Err(InvalidRequest::new("prompt_name", self.known_prompts(wanted))),
        }
    }

    /// The text of the prompt of that name; empty if there is none.
    pub(crate) fn prompt(&self, name: Option<&str>) -> &str {
        name.and_then(|name| self.prompts.get(name)).map_or("", String::as_str)
    }

    fn known_prompts(&self, wanted: &str) -> String {
        if self.prompts.is_empty() {
            return format!("this model has no prompts, so none is called {wanted:?}");
        }
        let known: Vec<_> = self.prompts.keys().map(|name| format!("{name:?}")).collect();
        format!("no prompt is called {wanted:?}; this model has {}", known.join(", "))
    }

    /// The answer from the pooled vector: cut to the wanted dimensions, then scaled to length 1 where the
    /// request, or else the model, says so. A vector of zeros has no direction and stays as it is.
    ///
    /// `None` if any number of it is not finite.
    pub(crate) fn finish(
        &self,
        mut values: Vec<f32>,
        normalize: Option<bool>,
        dimensions: Option<usize>,
    ) -> Option<Vec<f32>> {
        // Before the cut: a broken vector is broken even where the broken part is not asked for.
        if !values.iter().all(|x| x.is_finite()) {
            return None;
        }
        values.truncate(dimensions.unwrap_or(usize::MAX));
        if normalize.unwrap_or(self.normalize) {
            let length = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            let scale = length.max(1e-12).recip();
            for x in &mut values {
                *x = (f64::from(*x) * scale) as f32;
            }
        }
        Some(values)
    }
}

/// Whether the stages end in a normalisation; they must be a network, a pooling and perhaps that.
fn normalizes(modules: &[ModuleEntry]) -> Result<bool, RecipeError> {
    let stages = modules.iter().map(ModuleEntry::stage).collect::<Result<Vec<_>, _>>()?;
    if modules.first().is_some_and(|module| !module.path.is_empty()) {
        return Err(RecipeError::UnsupportedOrder(format!(
            "the network lies in its own folder {:?}",
            modules[0].path
        )));
    }
    match stages.as_slice() {
        [Stage::Transformer, Stage::Pooling] => Ok(false),
        [Stage::Transformer, Stage::Pooling, Stage::Normalize] => Ok(true),
        other => Err(RecipeError::UnsupportedOrder(format!(
            "the stages are {other:?}; supported are Transformer, Pooling and perhaps Normalize, in this order"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(kinds: &[&str]) -> Vec<ModuleEntry> {
        kinds.iter().map(|kind| ModuleEntry { path: String::new(), kind: (*kind).to_owned() }).collect()
    }

    fn recipe(kinds: &[&str], prompts: &str) -> Result<SentenceRecipe, RecipeError> {
        SentenceRecipe::new(Some(&modules(kinds)), None, serde_json::from_str(prompts).unwrap())
    }

    const OLD: [&str; 3] = [
        "sentence_transformers.models.Transformer",
        "sentence_transformers.models.Pooling",
        "sentence_transformers.models.Normalize",
    ];

    #[test]
    fn stages_are_known_by_their_class_wherever_it_lives() {
        assert!(recipe(&OLD, "{}").unwrap().normalize);
        let new = ["sentence_transformers.base.modules.transformer.Transformer", "x.y.Pooling"];
        assert!(!recipe(&new, "{}").unwrap().normalize);
    }

    #[test]
    fn other_stages_are_refused_by_name() {
        let error =
            recipe(&[OLD[0], OLD[1], "sentence_transformers.models.Dense", OLD[2]], "{}").unwrap_err();
        assert_eq!(error, RecipeError::UnsupportedModule("Dense".to_owned()));
        assert!(matches!(recipe(&OLD[1..], "{}"), Err(RecipeError::UnsupportedOrder(_))));
    }

    #[test]
    fn prompts_are_found_by_name_and_by_default() {
        let prompts = r#"{"prompts":{"query":"query: ","document":null},"default_prompt_name":"query"}"#;
        let recipe = recipe(&OLD, prompts).unwrap();
        let request = EmbedRequest::new("x");
        assert_eq!(recipe.prompt(recipe.prompt_name(&request).unwrap()), "query: ");
        let named = request.clone().prompt_name("document");
        assert_eq!(recipe.prompt(recipe.prompt_name(&named).unwrap()), "");
        let error = recipe.validate(&request.prompt_name("title"), 8).unwrap_err();
        assert_eq!(error.field, "prompt_name");
        assert!(error.reason.contains("\"query\"") && error.reason.contains("\"document\""), "{error}");
    }

    #[test]
    fn a_default_prompt_must_exist() {
        let error = recipe(&OLD, r#"{"default_prompt_name":"query"}"#).unwrap_err();
        assert_eq!(error, RecipeError::UnknownDefaultPrompt("query".to_owned()));
    }

    #[test]
    fn dimensions_are_held_to_what_there_is() {
        let recipe = recipe(&OLD, "{}").unwrap();
        for (dimensions, fits) in [(0, false), (1, true), (8, true), (9, false)] {
            let request = EmbedRequest::new("x").dimensions(dimensions);
            assert_eq!(recipe.validate(&request, 8).is_ok(), fits, "{dimensions}");
        }
    }

    #[test]
    fn a_cut_vector_is_scaled_again() {
        let recipe = recipe(&OLD, "{}").unwrap();
        assert_eq!(recipe.finish(vec![3.0, 4.0, 12.0], None, Some(2)), Some(vec![0.6, 0.8]));
        assert_eq!(recipe.finish(vec![3.0, 4.0, 12.0], Some(false), Some(2)), Some(vec![3.0, 4.0]));
        assert_eq!(recipe.finish(vec![0.0, 0.0], None, None), Some(vec![0.0, 0.0]));
        assert_eq!(recipe.finish(vec![1.0, f32::NAN], None, Some(1)), None);
        assert_eq!(recipe.finish(vec![f32::INFINITY], Some(false), None), None);
    }
}
