//! One model of the list: its manifest, and what this machine makes of it.

use serde::Serialize;

use crate::catalog::{Fact, Manifest, PredictedMemory, StoredDtype};
use crate::cli::catalogs::Named;
use crate::id::ByteSize;
use crate::kernels::Dtype;
use crate::weights::{Hub, ModelSource};

/// A model with a name.
pub(in crate::cli) struct Entry {
    pub(super) manifest: Manifest,
    pub(super) source: ModelSource,
    pub(super) place: Place,
    pub(super) fit: Option<Fit>,
}

/// Whether it is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder or a file that is here.
    Here,
    /// From the hub, and here already.
    Cached,
    /// On the hub.
    Hub,
    /// A folder or a file that is not there.
    Missing,
}

/// How it would go into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) fits: bool,
    pub(super) form: Form,
    /// What that takes.
    pub(super) memory: ByteSize,
}

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// As they are where the user says nothing.
    Default,
    /// With `--dtype bf16`.
    Bf16,
    /// With `--quantize q4_k`.
    Q4K,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Cached => "cached",
            Self::Hub => "hub",
            Self::Missing => "missing",
        }
    }
}

impl Form {
    /// What is to be written on the command line.
    pub(super) fn option(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Bf16 => Some("--dtype bf16"),
            Self::Q4K => Some("--quantize q4_k"),
        }
    }
}

impl Fit {
    /// The first form within `limit`, by how little is given up for it; the smallest where none is.
    fn of(memory: &PredictedMemory, limit: ByteSize) -> Option<Self> {
        let by_default = if Dtype::Auto.is_bf16() { memory.bf16 } else { memory.f32 };
        let forms = [(Form::Default, by_default), (Form::Bf16, memory.bf16), (Form::Q4K, memory.q4_k)];
        let known = forms.into_iter().filter_map(|(form, memory)| Some((form, memory?)));
        let fits = |(form, memory)| Self { fits: memory <= limit, form, memory };
        let mut all: Vec<Self> = known.map(fits).collect();
        let first = all.iter().position(|fit| fit.fits);
        first.map(|at| all[at]).or_else(|| {
            all.sort_by_key(|fit| fit.memory);
            all.first().copied()
        })
    }
}

/// What `--json` prints.
#[derive(Serialize)]
pub(in crate::cli) struct Line<'a> {
    name: &'a str,
    /// The foremost.
    capability: &'static str,
    capabilities: Vec<&'static str>,
    description: &'a str,
    license: &'a str,
    architecture: Option<&'a str>,
    dtype: Option<StoredDtype>,
    size: Option<ByteSize>,
    memory: PredictedMemory,
    /// Whether that is within the budget; nobody knows where no memory was predicted.
    fits: Option<bool>,
    /// The option that it takes to fit, or to come as near as can be.
    with: Option<&'static str>,
    /// The folder or file, or the id on the hub.
    source: String,
    kind: &'static str,
    /// Whether it is on this machine.
    present: bool,
    unchecked: Vec<Fact>,
}

impl Entry {
    pub(in crate::cli) fn new(Named { source, manifest }: Named, hub: &Hub, limit: ByteSize) -> Self {
        let place = match &source {
            ModelSource::Hub(id) if hub.cached(id).is_some() => Place::Cached,
            ModelSource::Hub(_) => Place::Hub,
            ModelSource::Folder(path) if path.is_dir() => Place::Here,
            ModelSource::Gguf(path) if path.is_file() => Place::Here,
            _ => Place::Missing,
        };
        let fit = Fit::of(&manifest.memory, limit);
        Self { manifest, source, place, fit }
    }

    pub(in crate::cli) fn line(&self) -> Line<'_> {
        let Manifest { name, capabilities, description, license, architecture, dtype, size, .. } =
            &self.manifest;
        let capabilities: Vec<&str> = capabilities.iter().map(|capability| capability.name()).collect();
        Line {
            name,
            capability: capabilities.first().copied().unwrap_or_default(),
            capabilities,
            description,
            license,
            architecture: architecture.as_deref(),
            dtype: *dtype,
            size: *size,
            memory: self.manifest.memory,
            fits: self.fit.map(|fit| fit.fits),
            with: self.fit.and_then(|fit| fit.form.option()),
            source: self.source.to_string(),
            kind: match self.source {
                ModelSource::Hub(_) => "hub",
                ModelSource::Folder(_) => "folder",
                ModelSource::Gguf(_) => "file",
            },
            present: matches!(self.place, Place::Here | Place::Cached),
            unchecked: self.manifest.unchecked.iter().copied().collect(),
        }
    }

    /// Whether the manifest says that nobody has checked this.
    pub(super) fn is_unchecked(&self, fact: Fact) -> bool {
        self.manifest.unchecked.contains(&fact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_kept_in_the_first_form_that_fits_and_else_in_the_smallest() {
        let sizes = |f32, bf16, q4_k| {
            let written = format!("{{\"f32\":{f32},\"bf16\":{bf16},\"q4_k\":{q4_k}}}");
            serde_json::from_str::<PredictedMemory>(&written).unwrap()
        };
        let fit = |limit| {
            let found = Fit::of(&sizes(400, 200, 60), ByteSize::new(limit)).unwrap();
            (found.fits, found.form, found.memory.bytes())
        };
        let by_default = if Dtype::Auto.is_bf16() { 200 } else { 400 };
        assert_eq!(fit(400), (true, Form::Default, by_default));
        assert_eq!(fit(200).2, 200);
        assert_eq!(fit(199), (true, Form::Q4K, 60));
        assert_eq!(fit(59), (false, Form::Q4K, 60));
        assert_eq!(Fit::of(&PredictedMemory::default(), ByteSize::MAX), None);
    }
}
