//! What lies around: the cache, the settings, the catalog, a server.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Finding;
use crate::cli::catalogs::CatalogArgs;
use crate::cli::client::ClientArgs;
use crate::cli::config::look_up;
use crate::cli::failure::Failure;
use crate::cli::output::counted;
use crate::cli::settings::{SettingArgs, Settings};
use crate::id::ByteSize;
use crate::weights::HubConfig;

/// With less there is hardly a model to fetch.
const LITTLE: ByteSize = ByteSize::gib(2);

/// Whether models can be fetched into the cache.
pub(super) fn cache() -> Finding {
    let what = "cache";
    let folder = HubConfig::from_env().cache_dir;
    let shown = folder.display().to_string();
    // What is not there yet will be made in the first that is.
    let Some(there) = folder.ancestors().find(|folder| folder.exists()) else {
        return Finding::fail(
            what,
            format!("{shown} cannot be made"),
            "set HF_HUB_CACHE to a folder of yours",
        );
    };
    if let Err(error) = tempfile_in(there) {
        let advice = "set HF_HUB_CACHE to a folder that you may write to";
        return Finding::warn(what, format!("{shown} cannot be written: {error}"), advice);
    }
    match free_in(there) {
        Some(free) if free < LITTLE => {
            let advice = "`millpond rm` deletes models that you no longer need";
            Finding::warn(what, format!("{shown}, {free} free on its disk"), advice)
        }
        Some(free) => Finding::ok(what, format!("{shown}, {free} free on its disk")),
        None => Finding::ok(what, shown),
    }
}

/// Makes a file there and takes it away again.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".millpond-doctor-{}", std::process::id()));
    std::fs::File::options().write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)
}

/// What is free on the folder's disk, by the system's own tool.
fn free_in(folder: &Path) -> Option<ByteSize> {
    let told = Command::new("df").arg("-Pk").arg(folder).stdin(Stdio::null()).output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let free = told.lines().nth(1)?.split_whitespace().nth(3)?;
    free.parse().ok().map(ByteSize::kib)
}

/// Whether `millpond serve` would start with what is set here.
pub(super) fn settings() -> Finding {
    let what = "settings";
    let found = Settings::load(&SettingArgs::default()).map_err(Failure::from);
    match found.and_then(|settings| look_up(&settings).map(|()| settings)) {
        Ok(settings) => {
            let file = settings.file.as_ref().map(|file| file.display().to_string());
            let models = match settings.models.len() {
                0 => "no model named, the five that ship are served".to_owned(),
                some => counted(some, "model"),
            };
            Finding::ok(what, format!("{}; {models}", file.unwrap_or_else(|| "no file".to_owned())))
        }
        Err(failure) => {
            Finding::fail(what, failure.to_string(), "`millpond config check` says it line by line")
        }
    }
}

/// Whether short names can be looked up.
pub(super) fn catalog(args: &CatalogArgs) -> Finding {
    let what = "catalog";
    match args.open() {
        Ok(catalogs) => {
            let known = catalogs.into_all().count();
            Finding::ok(what, format!("{} with short names", counted(known, "model")))
        }
        Err(failure) => {
            let advice = "models can be named by path or by org/name; --catalog names a folder of manifests";
            Finding::warn(what, failure.to_string(), advice)
        }
    }
}

/// Whether a server answers.
pub(super) fn server(args: &ClientArgs) -> Finding {
    let what = "server";
    let asked = args.client().and_then(|client| {
        let told: Value = client.get("/health/ready")?;
        Ok((client.url().to_owned(), told))
    });
    match asked {
        Ok((url, _)) => Finding::ok(what, format!("{url} is ready")),
        Err(Failure::Unreachable { url, .. }) if args.named().is_none() => {
            Finding::ok(what, format!("none at {url}; `millpond serve` starts one"))
        }
        Err(failure @ Failure::Unreachable { .. }) => {
            let advice = "start one there with `millpond serve`, or correct --url or MILLPOND_URL";
            Finding::warn(what, failure.to_string(), advice)
        }
        Err(failure) => Finding::warn(what, failure.to_string(), "`millpond ps` may say more"),
    }
}
