//! The millpond command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all, while there is one thread. Where it cannot be done, the engine warns and works.
    let _ = millpond::threads::configure();
    millpond::cli::main()
}
