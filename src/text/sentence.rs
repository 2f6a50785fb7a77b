//! What a sentence-transformers folder says besides the network itself.
//!
//! `config_sentence_transformers.json` has prompts to put before a text; what comes out of the stages that
//! [`Stages`] lists is cut and scaled as the request says. Nothing here depends on the kind of network.
//! Reference: <https://github.com/huggingface/sentence-transformers>.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Pooling, Stages};
use crate::capability::{EmbedRequest, InvalidRequest};

/// A folder asks for something that cannot be done here, or for nothing sensible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// `modules.json` has a stage that is not known here.
    #[error(
        "modules.json: a {0:?} stage is not supported; supported are Transformer, CLIPModel, Pooling, Dense, \
         Normalize"
    )]
    UnsupportedModule(String),
    /// `modules.json` has its stages in an order that makes no sense here.
    #[error("modules.json: {0}")]
    UnsupportedOrder(String),
    /// `modules.json` has a stage somewhere else than in a folder of the model's.
    #[error("modules.json: {0:?} is no folder inside the model's")]
    BadModulePath(String),
    /// The pooling is not known here.
    #[error(
        "pooling {0:?} is not supported; supported are cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken"
    )]
    UnknownPooling(String),
    /// The default prompt is not among the prompts.
    #[error("config_sentence_transformers.json: the default prompt {0:?} is not among its prompts")]
    UnknownDefaultPrompt(String),
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
    dimensions: usize,
}

impl SentenceRecipe {
    /// Puts together what the files say: the stages, what the pooling stage's own file says, the prompts; and
    /// how many numbers come out of the last stage.
    ///
    /// A folder without `modules.json` is a bare network: mean pooling, vectors as long as they come.
    pub(crate) fn new(
        stages: &Stages,
        pooling: Pooling,
        prompts: PromptConfig,
        dimensions: usize,
    ) -> Result<Self, RecipeError> {
        let default_prompt = prompts.default_prompt_name;
        if let Some(name) = default_prompt.as_ref().filter(|name| !prompts.prompts.contains_key(*name)) {
            return Err(RecipeError::UnknownDefaultPrompt(name.clone()));
        }
        let prompts =
            prompts.prompts.into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect();
        Ok(Self { pooling, normalize: stages.normalize, prompts, default_prompt, dimensions })
    }

    /// How many numbers an answer has, unless a request asks for fewer.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// All prompts by name.
    pub(crate) fn prompts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.prompts.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Refuses a request that asks for a prompt or a number of dimensions there is not.
    pub(crate) fn validate(&self, request: &EmbedRequest) -> Result<(), InvalidRequest> {
        self.prompt_name(request)?;
        let most = self.dimensions;
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
            normalize_in_place(&mut values);
        }
        Some(values)
    }
}

/// Scales to length 1; a vector of zeros has no direction and stays as it is.
pub(crate) fn normalize_in_place(values: &mut [f32]) {
    let length = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let scale = length.max(1e-12).recip();
    for x in values {
        *x = (f64::from(*x) * scale) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(prompts: &str) -> Result<SentenceRecipe, RecipeError> {
        let stages = Stages { normalize: true, ..Stages::default() };
        SentenceRecipe::new(&stages, Pooling::mean(), serde_json::from_str(prompts).unwrap(), 8)
    }

    #[test]
    fn prompts_are_found_by_name_and_by_default() {
        let prompts = r#"{"prompts":{"query":"query: ","document":null},"default_prompt_name":"query"}"#;
        let recipe = recipe(prompts).unwrap();
        let request = EmbedRequest::new("x");
        assert_eq!(recipe.prompt(recipe.prompt_name(&request).unwrap()), "query: ");
        let named = request.clone().prompt_name("document");
        assert_eq!(recipe.prompt(recipe.prompt_name(&named).unwrap()), "");
        let error = recipe.validate(&request.prompt_name("title")).unwrap_err();
        assert_eq!(error.field, "prompt_name");
        assert!(error.reason.contains("\"query\"") && error.reason.contains("\"document\""), "{error}");
    }

    #[test]
    fn a_default_prompt_must_exist() {
        let error = recipe(r#"{"default_prompt_name":"query"}"#).unwrap_err();
        assert_eq!(error, RecipeError::UnknownDefaultPrompt("query".to_owned()));
    }

    #[test]
    fn dimensions_are_held_to_what_there_is() {
        let recipe = recipe("{}").unwrap();
        for (dimensions, fits) in [(0, false), (1, true), (8, true), (9, false)] {
            let request = EmbedRequest::new("x").dimensions(dimensions);
            assert_eq!(recipe.validate(&request).is_ok(), fits, "{dimensions}");
        }
    }

    #[test]
    fn a_cut_vector_is_scaled_again() {
        let recipe = recipe("{}").unwrap();
        assert_eq!(recipe.finish(vec![3.0, 4.0, 12.0], None, Some(2)), Some(vec![0.6, 0.8]));
        assert_eq!(recipe.finish(vec![3.0, 4.0, 12.0], Some(false), Some(2)), Some(vec![3.0, 4.0]));
        assert_eq!(recipe.finish(vec![0.0, 0.0], None, None), Some(vec![0.0, 0.0]));
        assert_eq!(recipe.finish(vec![1.0, f32::NAN], None, Some(1)), None);
        assert_eq!(recipe.finish(vec![f32::INFINITY], Some(false), None), None);
    }
}
