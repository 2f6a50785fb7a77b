//! Progress bars, on standard error where that is a terminal.

use std::collections::BTreeSet;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::id::ByteSize;
use crate::weights::DownloadProgress;

/// A bar for `total` requests.
pub(super) fn requests(total: u64, what: &'static str) -> ProgressBar {
    ProgressBar::new(total)
        .with_style(style("{msg:>9} [{bar:40}] {pos}/{len}  {per_sec}  {eta} left"))
        .with_message(what)
}

/// A count of texts, for as long as it takes until the end is known.
pub(super) fn texts() -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style("{spinner} {pos} texts embedded  {per_sec}"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The weights of a model on their way into memory.
pub(super) fn loading(model: &str, weights: ByteSize) -> ProgressBar {
    ProgressBar::new(weights.bytes())
        .with_style(style(
            "{msg:!24} [{wide_bar}] {percent:>3}% of {total_bytes}  {bytes_per_sec}  {eta} left",
        ))
        .with_message(format!("loading {model}"))
}

/// Denoising steps, as many as the first of them says; until then the model is loaded and the prompt read.
pub(super) fn steps() -> ProgressBar {
    ProgressBar::new(0).with_style(style("{msg} [{bar:40}] {pos}/{len}  {eta} left")).with_message("drawing")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// One bar after the other, one for each file.
#[derive(Default)]
pub(super) struct Downloads {
    bar: Mutex<Option<ProgressBar>>,
    /// Their names: a file whose transfer is cut starts more than once.
    files: Mutex<BTreeSet<String>>,
}

impl Downloads {
    /// How many files were not there yet.
    pub(super) fn files(&self) -> usize {
        self.files.lock().len()
    }
}

impl DownloadProgress for Downloads {
    fn started(&self, file: &str, total: ByteSize) {
        self.files.lock().insert(file.to_owned());
        let bar = ProgressBar::new(total.bytes())
            .with_style(style(
                "{msg:!24} [{wide_bar}] {percent:>3}% of {total_bytes}  {bytes_per_sec}  {eta} left",
            ))
            .with_message(file.to_owned());
        *self.bar.lock() = Some(bar);
    }

    fn advanced(&self, _: &str, done: ByteSize) {
        if let Some(bar) = &*self.bar.lock() {
            let first = bar.position() == 0;
            bar.set_position(done.bytes());
            if first {
                // What an earlier attempt left came at no speed.
                bar.reset_eta();
            }
        }
    }

    fn finished(&self, _: &str) {
        if let Some(bar) = self.bar.lock().take() {
            bar.finish();
        }
    }
}
