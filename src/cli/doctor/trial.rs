//! Whether models compute, and compute what they should.

use std::time::Instant;

use super::Finding;
use crate::cli::catalogs::CatalogArgs;
use crate::cli::failure::Failure;
use crate::engine::{Engine, ModelOptions};
use crate::pool::{KeyConfig, PoolConfig};

/// The smallest model that ships.
const MODEL: &str = "shapes-embed";

/// Has a small model embed three texts: its vectors have length 1, and of what means the same they are near.
pub(super) fn embed(catalog: &CatalogArgs) -> Finding {
    let what = "computing";
    match try_out(catalog) {
        Ok(Trial { loaded, embedded, same, other, length }) => {
            let told = format!(
                "{MODEL} loaded in {loaded:.0} ms and embedded a text in {embedded:.1} ms; \
                 the same meaning {same:.2}, another {other:.2}"
            );
            if same > other && (length - 1.0).abs() < 1e-3 {
                Finding::ok(what, told)
            } else {
                Finding::fail(
                    what,
                    told,
                    "this processor computes wrongly; say --dtype f32, and please report it",
                )
            }
        }
        Err(Failure::UnknownModel { .. } | Failure::NoCatalog { .. }) => {
            let advice = "run from millpond's source folder, or name its models with --catalog";
            Finding::warn(what, format!("not tried: {MODEL} is not here"), advice)
        }
        Err(failure) => Finding::fail(what, failure.to_string(), "`millpond demo -v` shows more of it"),
    }
}

struct Trial {
    /// In milliseconds, as is the next.
    loaded: f64,
    embedded: f64,
    /// Cosines.
    same: f32,
    other: f32,
    length: f32,
}

fn try_out(catalog: &CatalogArgs) -> Result<Trial, Failure> {
    let files = catalog.open()?.get(MODEL)?.source.resolve().map_err(crate::Error::from)?;
    let config = PoolConfig::default().workers(1);
    let engine = Engine::builder().config(config.clone()).build()?;
    engine.add_files_with(MODEL, files, KeyConfig::of(&config), ModelOptions::default())?;
    let began = Instant::now();
    let first = engine.embed(MODEL, "a red circle")?.values;
    let loaded = began.elapsed().as_secs_f64() * 1e3;
    let began = Instant::now();
    let same = engine.embed(MODEL, "a circle that is red")?.values;
    let embedded = began.elapsed().as_secs_f64() * 1e3;
    let other = engine.embed(MODEL, "a blue square")?.values;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let length = dot(&first, &first).sqrt();
    Ok(Trial { loaded, embedded, same: dot(&first, &same), other: dot(&first, &other), length })
}
