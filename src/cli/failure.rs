//! How the command fails: one line that says why, one that says what to do, and an exit code.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::output::{complain, counted};
use super::settings::Flaws;
use crate::arch::ArchError;
use crate::capability::InvalidRequest;
use crate::catalog::CatalogError;
use crate::id::ByteSize;
use crate::pool::{PoolError, SpawnError};
use crate::server::ServeError;
use crate::weights::{Sha256, SourceError, WeightsError};

/// Why the command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The library refused or failed.
    #[error(transparent)]
    Engine(#[from] crate::Error),
    /// One text or picture of several failed.
    #[error("{place}: {source}")]
    Item { place: String, source: PoolError },
    /// The arguments do not go together.
    #[error("{0}")]
    Usage(&'static str),
    /// The arguments ask for what no model gives.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The model does something else.
    #[error("{model} does {does}, not {wanted}")]
    WrongCapability { model: String, does: String, wanted: String },
    /// A file that the user named could not be read.
    #[error("{file} cannot be read: {source}")]
    File { file: String, source: io::Error },
    /// A file that the user named does not hold what it should.
    #[error("{file} does not hold the JSON that is expected: {source}")]
    NotJson { file: String, source: serde_json::Error },
    /// A file that the user named holds no such tensor.
    #[error("{file} does not hold the tensor that is expected: {reason}")]
    NotATensor { file: String, reason: String },
    /// A file that the user named could not be written.
    #[error("{file} cannot be written: {source}")]
    Unwritable { file: String, source: io::Error },
    /// A picture that was drawn could not become a file.
    #[error(transparent)]
    Image(#[from] crate::image::ImageError),
    /// A file that the user named is absurdly long.
    #[error("{file} is longer than {limit}")]
    FileTooLong { file: String, limit: ByteSize },
    /// A name without a slash that no catalog has.
    #[error("no model is called {name:?}; the catalog has {}", list(known))]
    UnknownModel { name: String, known: Vec<String> },
    /// There is no catalog to look names up in.
    #[error("there is no catalog: no models in {}", list(&looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()))]
    NoCatalog { looked: Vec<PathBuf> },
    /// A file of a model is not the one that its manifest was written for.
    #[error("{model}: {file} {}", match found {
        Some(found) => format!("has the SHA-256 {found}, and its manifest says {expected}"),
        None => "is in its manifest and not in its folder".to_owned(),
    })]
    Digest { model: String, file: String, expected: Sha256, found: Option<Sha256> },
    /// Some of several models were not fetched; each has been complained about.
    #[error("{failed} of {of} models could not be pulled")]
    NotAllPulled { failed: usize, of: usize },
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] Flaws),
    /// A model that the settings name.
    #[error("{at}: {source}")]
    Model { at: String, source: Box<Failure> },
    /// Several models that the settings name.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Models(Vec<Failure>),
    /// The server does not start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// There is no server.
    #[error("no server at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// The server did not do what it was asked.
    #[error("the server at {url} answers {status}: {message}")]
    Refused { url: String, status: u16, message: String },
    /// What answers is no server of ours.
    #[error("what {url} answers is not understood: {reason}")]
    StrangeAnswer { url: String, reason: String },
    /// The cache has nothing of the model.
    #[error("{model} is not here: the cache has nothing of {id}")]
    NotCached { model: String, id: String },
    /// The model lies elsewhere.
    #[error("{model} is not in the cache: it is {path}")]
    NotOfTheCache { model: String, path: String },
    /// The user has thought better of it.
    #[error("nothing was deleted")]
    NotAgreed,
    /// A folder could not be deleted.
    #[error("{path} cannot be deleted: {source}")]
    Undeletable { path: String, source: io::Error },
    /// Something is wrong with this machine; each thing has been told.
    #[error("{} will keep models from being served", counted(*failed, "thing"))]
    Unhealthy { failed: usize },
    /// A line of the input is no text.
    #[error("line {line} of standard input is not valid UTF-8 from byte {byte} on")]
    NotUtf8 { line: usize, byte: usize },
    /// A line of the input is absurdly long.
    #[error("line {line} of standard input is longer than {limit}")]
    LineTooLong { line: usize, limit: ByteSize },
    /// The input could not be read.
    #[error("standard input cannot be read: {0}")]
    Input(io::Error),
    /// The output could not be written.
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
    /// Nobody reads the output any more: no fault of anyone's.
    #[error("standard output was closed")]
    OutputClosed,
    /// The system gave no thread.
    #[error("the system gave no thread: {0}")]
    Thread(io::Error),
    /// Signals could not be listened for.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(#[from] ctrlc::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Says it on standard error and returns the exit code.
    pub(super) fn report(&self) -> ExitCode {
        self.complain();
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Usage(_) | Self::Invalid(_) => ExitCode::from(2),
            Self::Settings(flaws) if flaws.are_usage() => ExitCode::from(2),
            Self::Interrupted => ExitCode::from(INTERRUPTED),
            _ => ExitCode::FAILURE,
        }
    }

    /// Says it on standard error.
    pub(super) fn complain(&self) {
        match self {
            Self::OutputClosed => {}
            // One line for each.
            Self::Settings(Flaws(flaws)) => {
                flaws.iter().for_each(|flaw| complain(format_args!("error: {}", one_line(flaw))));
            }
            Self::Models(failures) => {
                failures.iter().for_each(|failure| complain(format_args!("error: {}", one_line(failure))));
            }
            _ => complain(format_args!("error: {}", one_line(self))),
        }
        if let Some(hint) = self.hint() {
            complain(format_args!("hint: {hint}"));
        }
    }

    /// Whether another request could do better, with the same model in the same process.
    pub(super) fn concerns_one_request(&self) -> bool {
        match self {
            Self::Invalid(_) => true,
            Self::Engine(crate::Error::Pool(error)) => matches!(
                error,
                PoolError::InvalidRequest { .. }
                    | PoolError::ModelError { .. }
                    | PoolError::WorkerPanicked { .. }
                    | PoolError::WorkerLost { .. }
            ),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Interrupted | Self::OutputClosed | Self::Output(_) => None,
            Self::Engine(error) => Some(hint_for(error)),
            Self::Item { source, .. } => Some(hint_for_pool(source)),
            Self::Usage(_) | Self::Invalid(_) => Some("`millpond VERB --help` has examples"),
            Self::WrongCapability { .. } => Some("`millpond inspect` tells what a model does"),
            Self::File { .. } | Self::Unwritable { .. } => Some("check the path"),
            Self::NotATensor { .. } => Some("`millpond draw --help` shows what it should look like"),
            Self::Image(_) => Some(SEE_MORE),
            Self::NotJson { .. } => Some("`millpond generate --help` shows what it should look like"),
            Self::FileTooLong { .. } => Some("no model reads so much: is this the right file?"),
            Self::UnknownModel { .. } => {
                Some("`millpond list` shows the names; a folder or org/name on the hub will do as well")
            }
            Self::NoCatalog { .. } => {
                Some("run from millpond's source folder, or name the folder of the manifests with --catalog")
            }
            Self::Digest { .. } => Some(
                "delete the file and fetch the model again; if it was meant to change, correct the manifest",
            ),
            Self::NotAllPulled { .. } => Some("what was fetched stays; run the same again to go on"),
            Self::NotUtf8 { .. } => Some("convert the input first, for example with iconv -t UTF-8"),
            Self::LineTooLong { .. } => Some("one text per line: is this a text file?"),
            Self::Settings(_) => {
                Some("`millpond config --help` shows a file; `millpond config print` shows what holds")
            }
            Self::Model { source, .. } => source.hint(),
            Self::Models(failures) => failures.iter().find_map(Self::hint),
            Self::Serve(ServeError::Exposed(_)) => Some("`millpond serve --help` has all that can be said"),
            Self::Serve(ServeError::Bind { .. }) => {
                Some("another server may be there: `millpond ps` asks it; --port 0 takes a port that is free")
            }
            Self::Serve(_) => Some(SEE_MORE),
            Self::Unreachable { .. } => {
                Some("start one with `millpond serve`, or say where it is with --url or MILLPOND_URL")
            }
            Self::Refused { status: 401 | 403, .. } => {
                Some("give its key with --api-key or MILLPOND_API_KEY")
            }
            Self::Refused { status: 404, .. } => Some("`millpond ps --all` shows the models that it has"),
            Self::Refused { .. } => Some("the server's log says more"),
            Self::StrangeAnswer { .. } => {
                Some("is it millpond, and of this version? `millpond doctor` looks")
            }
            Self::NotCached { .. } => Some("`millpond pull` fetches it; `millpond list` shows what is here"),
            Self::NotOfTheCache { .. } => {
                Some("only what came from the hub is deleted; the rest is yours to delete")
            }
            Self::NotAgreed => Some("all that are named are deleted, or none; --yes asks nothing"),
            Self::Undeletable { .. } => Some("what is left of it can be deleted by hand"),
            Self::Unhealthy { .. } => Some("each line above that begins with `fail` says what to do"),
            Self::Input(_) | Self::Thread(_) | Self::Signals(_) => Some(SEE_MORE),
        }
    }
}

/// The exit code of an interrupted process.
pub(super) const INTERRUPTED: u8 = 130;

const SEE_MORE: &str = "-v shows what happened before";
const MODEL_NAMES: &str =
    "-m takes a folder in Hugging Face layout, a name that `millpond list` shows, or org/name on the hub";

fn hint_for(error: &crate::Error) -> &'static str {
    match error {
        crate::Error::Pool(error) => hint_for_pool(error),
        crate::Error::Weights(WeightsError::Source(SourceError::HubDisabled { .. })) => SEE_MORE,
        crate::Error::Weights(WeightsError::Source(_))
        | crate::Error::Arch(ArchError::MissingFile { .. }) => MODEL_NAMES,
        crate::Error::Weights(WeightsError::Hub(_)) => {
            "`millpond list` shows what is here already; a folder that is on this machine needs no hub: give its path"
        }
        crate::Error::Weights(_) => "download the model again, or convert it to safetensors",
        crate::Error::Arch(ArchError::Unsupported {
            what:
                "quantization of text embedding"
                | "quantization of image embedding"
                | "quantization of text to image",
            ..
        }) => "leave the option out: models that embed or draw compute in f32 or bf16, see --dtype",
        crate::Error::Arch(ArchError::Unsupported { .. }) => "README.md says which models are served",
        crate::Error::Arch(_) => "`millpond inspect` tells what the model's files say",
        crate::Error::Catalog(CatalogError::Manifest { .. }) => {
            "correct the manifest; `millpond list --help` shows one"
        }
        _ => SEE_MORE,
    }
}

fn hint_for_pool(error: &PoolError) -> &'static str {
    match error {
        PoolError::MemoryExhausted { .. }
        | PoolError::SpawnFailed { source: SpawnError::TooLarge(_), .. } => {
            "`millpond inspect` shows what the model needs; fewer --workers or a larger --memory may do"
        }
        PoolError::SpawnFailed { .. } => "`millpond inspect` tells what the model's files say",
        PoolError::InvalidRequest { .. } | PoolError::ModelError { .. } => {
            "`millpond inspect` shows the model's limits and prompts"
        }
        _ => SEE_MORE,
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The error and its causes, those left out that it names already.
fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once_and_on_one_line() {
        let source = io::Error::other("no such\ndevice");
        let read = WeightsError::Read { file: "mean/model.safetensors".to_owned(), source };
        let failure = Failure::Engine(read.into());
        assert_eq!(one_line(&failure), "mean/model.safetensors cannot be read: no such device");
        let named = Failure::Input(io::Error::other("gone"));
        assert_eq!(one_line(&named), "standard input cannot be read: gone");
    }
}
