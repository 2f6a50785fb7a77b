//! Manifests say what is true of the models.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use millpond::ByteSize;
use millpond::arch::{Architecture, DiffusionPlan};
use millpond::catalog::{Catalog, Manifest, ManifestSource, StoredDtype};
use millpond::weights::Sha256;
use serde_json::Value;

use crate::support::millpond;

fn catalog() -> Catalog {
    Catalog::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("models")).unwrap()
}

/// Every safetensors file below `folder`, by its path in it.
fn weight_files(folder: &Path) -> Vec<String> {
    let mut open = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "safetensors") {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// What `inspect` says with one worker of four threads.
fn inspect(folder: &Path, options: &[&str]) -> Value {
    let fixed = ["inspect", "-m", folder.to_str().unwrap(), "--json", "--workers", "1", "--threads", "4"];
    millpond(fixed.iter().chain(options)).ok().json().remove(0)
}

/// The lines of a manifest that its folder decides, as models/training/manifest.py writes them.
fn lines_of(folder: &Path) -> String {
    let report = inspect(folder, &[]);
    let writes = ["text-to-text", "vision"].contains(&report["capability"].as_str().unwrap());
    let q4_k = ["--dtype", "f32", "--quantize", "q4_k"];
    let forms: [(&str, &[&str]); 3] =
        [("f32", &["--dtype", "f32"]), ("bf16", &["--dtype", "bf16"]), ("q4_k", &q4_k)];
    let known = forms.iter().filter(|(form, _)| writes || *form != "q4_k");
    let memory =
        known.map(|(form, options)| format!("{form} = {}", inspect(folder, options)["footprint"]["total"]));
    let files = weight_files(folder);
    let size: u64 = files.iter().map(|file| fs::metadata(folder.join(file)).unwrap().len()).sum();
    let mut lines = format!(
        "architecture = {}\ndtype = {}\nsize = {size}\nmemory = {{ {} }}\n\n[sha256]\n",
        report["architecture"],
        report["dtype"],
        memory.collect::<Vec<_>>().join(", ")
    );
    for file in &files {
        writeln!(lines, "{file:?} = \"{}\"", Sha256::of_file(&folder.join(file)).unwrap()).unwrap();
    }
    lines
}

#[test]
fn shipped_folders_are_what_their_manifests_say() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut checked = 0;
    for manifest in catalog().manifests() {
        let Manifest { name, source: ManifestSource::Folder(folder), capabilities, .. } = manifest else {
            continue;
        };
        let folder: PathBuf = models.join(folder);
        let (right, text) =
            (lines_of(&folder), fs::read_to_string(models.join(format!("{name}.toml"))).unwrap());
        assert!(
            text.ends_with(&right),
            "models/{name}.toml is not of what is in {}; `python models/training/manifest.py {name}` writes:\n{right}",
            folder.display()
        );
        assert_eq!(inspect(&folder, &[])["capability"], capabilities[0].name(), "{name}");
        checked += 1;
    }
    assert_eq!(checked, 5);
}

#[test]
fn every_architecture_is_one_that_is_served() {
    let networks = Architecture::ALL.iter().map(|architecture| architecture.model_type());
    let served: BTreeSet<&str> = networks.chain(DiffusionPlan::FAMILIES).collect();
    for manifest in catalog().manifests() {
        let architecture = manifest.architecture.as_deref().unwrap();
        assert!(served.contains(architecture), "{}: {architecture} is none of {served:?}", manifest.name);
    }
}

/// What is predicted has room for each number of the weight files: 4 bytes in f32, 2 in bf16, 4.5 bits in `q4_k`.
/// Computing takes no more than the weights in f32 once more, or in a small model no more than pictures do.
#[test]
fn predictions_are_not_less_than_the_weights_and_not_much_more() {
    const PICTURES: u64 = 768 << 20;
    for Manifest { name, dtype, size, memory, .. } in catalog().manifests() {
        let stored = if *dtype == Some(StoredDtype::F32) { 4 } else { 2 };
        let numbers = size.unwrap().bytes() / stored;
        let f32 = memory.f32.unwrap().bytes();
        for (form, predicted, weights) in [
            ("f32", memory.f32, numbers * 4),
            ("bf16", memory.bf16, numbers * 2),
            ("q4_k", memory.q4_k, numbers * 9 / 16),
        ] {
            let Some(predicted) = predicted.map(ByteSize::bytes) else { continue };
            assert!(predicted >= weights, "{name} in {form}: {predicted} for weights of {weights}");
            assert!(predicted <= f32, "{name} takes more in {form} than in f32");
        }
        assert!(f32 - numbers * 4 <= PICTURES.max(numbers * 4), "{name}: {f32} for {numbers} numbers");
    }
}
