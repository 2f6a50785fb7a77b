//! Running code that is not ours: models, loaders, tokenizers, callbacks and wakers may panic.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Runs `foreign`; a panic in it ends here and leaves its message.
pub(crate) fn contain<R>(foreign: impl FnOnce() -> R) -> Result<R, Arc<str>> {
    catch_unwind(AssertUnwindSafe(foreign)).map_err(|panic| {
        let message = message_of(&*panic);
        // What was thrown is foreign too, and may panic when it is dropped.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
        message
    })
}

/// How a foreign error reads.
pub(crate) fn describe(error: &impl fmt::Display) -> String {
    contain(|| error.to_string())
        .unwrap_or_else(|message| format!("an error that cannot be shown: {message}"))
}

pub(crate) fn message_of(panic: &(dyn Any + Send)) -> Arc<str> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Arc::from(text.unwrap_or("a panic without a message"))
}
