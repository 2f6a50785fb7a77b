//! `modules.json` of sentence-transformers: the stages that a text goes through.

use serde::Deserialize;

use super::RecipeError;

/// More stages than any model has.
const MOST_STAGES: usize = 16;

/// One entry of `modules.json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ModuleEntry {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// What the entries come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stages {
    /// The folder of the network; `None`: the model's own.
    pub(crate) network: Option<String>,
    /// The folder of the pooling stage; `None`: there is no such stage.
    pub(crate) pooling: Option<String>,
    /// What happens to a pooled vector, in order.
    pub(crate) after: Vec<AfterPooling>,
    /// Whether the vector is scaled to length 1 at the very end.
    pub(crate) normalize: bool,
}

/// A stage after pooling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AfterPooling {
    /// A linear layer, in this folder.
    Dense(String),
    /// The vector is scaled to length 1.
    Normalize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transformer,
    Clip,
    Pooling,
    Dense,
    Normalize,
}

impl ModuleEntry {
    /// By the class's own name: the module it lives in has moved between versions.
    fn kind(&self) -> Result<Kind, RecipeError> {
        match self.kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => Ok(Kind::Transformer),
            "CLIPModel" => Ok(Kind::Clip),
            "Pooling" => Ok(Kind::Pooling),
            "Dense" => Ok(Kind::Dense),
            "Normalize" => Ok(Kind::Normalize),
            other => Err(RecipeError::UnsupportedModule(other.to_owned())),
        }
    }

    /// The folder it names. The path comes from a file: it may name a folder in the model's own and nothing
    /// else.
    fn folder(&self) -> Result<String, RecipeError> {
        let path = self.path.trim_end_matches('/');
        if path.contains(['/', '\\']) || path.starts_with('.') {
            return Err(RecipeError::BadModulePath(self.path.chars().take(96).collect()));
        }
        Ok(path.to_owned())
    }
}

impl Stages {
    /// Puts the entries in order: a network, a pooling unless the network is CLIP, then any number of dense layers
    /// and normalisations.
    pub(crate) fn of(modules: &[ModuleEntry]) -> Result<Self, RecipeError> {
        let kinds = modules.iter().map(ModuleEntry::kind).collect::<Result<Vec<_>, _>>()?;
        let (pooling, before) = match kinds.as_slice() {
            kinds if kinds.len() > MOST_STAGES => return Err(unordered(kinds)),
            [Kind::Transformer, Kind::Pooling, ..] => (Some(modules[1].folder()?), 2),
            // It gives one vector by itself.
            [Kind::Clip, ..] => (None, 1),
            kinds => return Err(unordered(kinds)),
        };
        let network = Some(modules[0].folder()?).filter(|folder| !folder.is_empty());
        let mut stages = Self { network, pooling, ..Self::default() };
        for (module, kind) in modules.iter().zip(&kinds).skip(before) {
            stages.after.push(match kind {
                Kind::Dense => AfterPooling::Dense(module.folder()?),
                Kind::Normalize => AfterPooling::Normalize,
                Kind::Transformer | Kind::Clip | Kind::Pooling => return Err(unordered(&kinds)),
            });
        }
        stages.normalize = stages.after.last() == Some(&AfterPooling::Normalize);
        if stages.normalize {
            stages.after.pop();
        }
        Ok(stages)
    }
}

fn unordered(kinds: &[Kind]) -> RecipeError {
    let kinds = &kinds[..kinds.len().min(MOST_STAGES)];
    RecipeError::UnsupportedOrder(format!(
        "the stages are {kinds:?}; supported are Transformer and Pooling, or CLIPModel, then any of Dense and \
         Normalize"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(modules: &[(&str, &str)]) -> Result<Stages, RecipeError> {
        let entry = |(path, kind): &(&str, &str)| ModuleEntry {
            path: (*path).to_owned(),
            kind: format!("sentence_transformers.models.{kind}"),
        };
        Stages::of(&modules.iter().map(entry).collect::<Vec<_>>())
    }

    #[test]
    fn stages_are_known_by_their_class_wherever_it_lives() {
        let new = |kind: &str| ModuleEntry { path: String::new(), kind: kind.to_owned() };
        let modules = ["sentence_transformers.base.modules.transformer.Transformer", "x.y.Pooling"].map(new);
        assert_eq!(
            Stages::of(&modules).unwrap(),
            Stages { pooling: Some(String::new()), ..Stages::default() }
        );
    }

    #[test]
    fn what_follows_pooling_keeps_its_order() {
        let got = stages(&[
            ("0_Transformer", "Transformer"),
            ("1_Pooling", "Pooling"),
            ("2_Normalize", "Normalize"),
            ("3_Dense", "Dense"),
            ("4_Dense", "Dense"),
            ("5_Normalize", "Normalize"),
        ]);
        let dense = |folder: &str| AfterPooling::Dense(folder.to_owned());
        let expected = Stages {
            network: Some("0_Transformer".to_owned()),
            pooling: Some("1_Pooling".to_owned()),
            after: vec![AfterPooling::Normalize, dense("3_Dense"), dense("4_Dense")],
            normalize: true,
        };
        assert_eq!(got.unwrap(), expected);
    }

    #[test]
    fn clip_needs_no_pooling() {
        let got = stages(&[("0_CLIPModel", "CLIPModel"), ("", "Normalize")]).unwrap();
        let network = Some("0_CLIPModel".to_owned());
        assert_eq!(got, Stages { network, normalize: true, ..Stages::default() });
    }

    #[test]
    fn other_stages_and_orders_are_refused() {
        let error = stages(&[("", "BoW")]).unwrap_err();
        assert_eq!(error, RecipeError::UnsupportedModule("BoW".to_owned()));
        for modules in [
            &[][..],
            &[("", "Transformer")],
            &[("", "Pooling"), ("", "Transformer")],
            &[("", "Transformer"), ("", "Dense")],
            &[("", "CLIPModel"), ("", "Pooling")],
            &[("", "Transformer"), ("", "Pooling"), ("", "Pooling")],
            &[("", "Transformer"); 40],
        ] {
            assert!(matches!(stages(modules), Err(RecipeError::UnsupportedOrder(_))), "{modules:?}");
        }
        for path in ["../1_Pooling", "/etc", "a/b", ".", "a\\b"] {
            let error = stages(&[("", "Transformer"), (path, "Pooling")]).unwrap_err();
            assert!(matches!(error, RecipeError::BadModulePath(_)), "{path}");
        }
    }
}
