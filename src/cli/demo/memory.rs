//! The one memory budget, which gets tight.

use super::page::Page;
use crate::cli::failure::Failure;
use crate::engine::Engine;

/// From now on there is no more memory than the models take that are loaded.
pub(super) fn tighten(page: &mut Page, engine: &Engine) -> Result<(), Failure> {
    let budget = engine.budget();
    let (before, taken) = (budget.limit(), budget.reserved());
    budget.set_cap(taken);
    page.say(format_args!(
        "\nUp to here models could take {before}, and they take {taken}. From here on that is all there is, for whoever \
         comes next: somebody has to go."
    ))
}
