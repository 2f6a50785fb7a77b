//! `millpond completions`: what makes a shell complete the command's words.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::failure::Failure;
use super::output::Output;

/// Print what makes a shell complete millpond's words
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond completions bash > ~/.local/share/bash-completion/completions/millpond
  millpond completions zsh > ~/.zfunc/_millpond        with ~/.zfunc in fpath
  millpond completions fish > ~/.config/fish/completions/millpond.fish")]
pub(super) struct Completions {
    /// For which shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut super::Command::command(), "millpond", &mut script);
        let mut output = Output::stdout();
        output.text(&String::from_utf8_lossy(&script))?;
        output.flush()
    }
}
