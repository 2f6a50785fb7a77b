//! The `millpond` command: the library's first user.
//!
//! One verb per file. Results go to standard output, as text or with `--json` as one object per line;
//! progress, logs and errors go to standard error. The exit code is 0, 1 (failed), 2 (wrong usage) or 130
//! (interrupted).

mod answer_args;
mod answer_lines;
mod bench;
mod catalogs;
mod client;
mod completions;
mod config;
mod conversation;
mod demo;
mod describe;
mod doctor;
mod draw;
mod embed;
mod embed_image;
mod events;
mod failure;
mod files;
mod follow;
mod generate;
mod inspect;
mod interrupt;
mod lines;
mod list;
mod loading;
mod model;
mod output;
mod progress;
mod ps;
mod pull;
mod question_args;
mod rm;
mod run;
mod serve;
mod settings;
mod show;
mod status;
mod stop;
mod stream;
mod telling;
mod top;
mod writer;

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

const ABOUT: &str = "\
Keeps machine-learning models loaded and serves them from pools of worker threads, in one process and under \
one memory budget.

A model is named by its folder (Hugging Face layout, safetensors) or its GGUF file, by a name that \
`millpond list` knows, or by org/name[@revision] on the hub, from where it is fetched once. Its configuration \
says what it is; each worker is a thread that owns it, and its weights are in memory once, however many workers \
share them.";

const EXAMPLES: &str = "\
Examples:
  millpond demo                                         what works, offline, in seconds
  millpond embed -m shapes-embed \"a red circle\"         a vector, as text
  millpond embed -m shapes-embed --json - < texts.txt   one JSON object per line of the file
  millpond embed-image -m openai/clip-vit-base-patch32 --json photo.jpg
  millpond generate -m Qwen/Qwen3-0.6B \"Why is the sky blue?\"
  millpond draw -m stabilityai/sd-turbo \"a mill by a pond\" --out mill.png
  millpond describe -m llava-hf/llava-1.5-7b-hf --image photo.jpg \"What is this?\"
  millpond run -m ./model.gguf                          a conversation, at the terminal
  millpond list                                         models with short names, and which of them fit
  millpond pull all-minilm-l6-v2                        fetches one, to be used without a network
  millpond serve                                        all of it over HTTP, with a page to look at
  millpond inspect -m sentence-transformers/all-MiniLM-L6-v2
  millpond bench embed -m shapes-embed --concurrency 16

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Ctrl-C lets go of what waits and ends in order; \
a second one ends at once. MILLPOND_LOG sets the log filter, as in MILLPOND_LOG=millpond=debug.";

#[derive(Debug, Parser)]
#[command(name = "millpond", version, about = "Serves machine-learning models from pools of worker threads")]
#[command(long_about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
    /// Say on standard error what the pools do; twice: in detail.
    #[arg(short, long, action = ArgAction::Count, global = true, display_order = 100)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::Demo),
    Embed(embed::Embed),
    EmbedImage(embed_image::EmbedImage),
    Generate(generate::Generate),
    Draw(draw::Draw),
    Describe(describe::Describe),
    Run(run::Run),
    Inspect(inspect::Inspect),
    Bench(bench::Bench),
    List(list::List),
    Pull(pull::Pull),
    Show(show::Show),
    Rm(rm::Rm),
    Serve(serve::Serve),
    Ps(ps::Ps),
    Stop(stop::Stop),
    Top(top::Top),
    Config(config::Config),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// A blank variable is none, as for settings.
fn without_blank_variables(command: clap::Command) -> clap::Command {
    let blank = |arg: &clap::Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        value.is_some_and(|value| value.to_string_lossy().trim().is_empty())
    };
    let command = command.mut_args(|arg| if blank(&arg) { arg.env(Resettable::Reset) } else { arg });
    command.mut_subcommands(without_blank_variables)
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let matches = without_blank_variables(Command::command()).get_matches();
    let command = Command::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // Whoever starts a server wants to see what it does.
    let told = matches!(command.verb, Verb::Serve(_));
    log_to_stderr(command.verbose.saturating_add(told.into()));
    let done = match &command.verb {
        Verb::Demo(verb) => verb.run(),
        Verb::Embed(verb) => verb.run(),
        Verb::EmbedImage(verb) => verb.run(),
        Verb::Generate(verb) => verb.run(),
        Verb::Draw(verb) => verb.run(),
        Verb::Describe(verb) => verb.run(),
        Verb::Run(verb) => verb.run(),
        Verb::Inspect(verb) => verb.run(),
        Verb::Bench(verb) => verb.run(),
        Verb::List(verb) => verb.run(),
        Verb::Pull(verb) => verb.run(),
        Verb::Show(verb) => verb.run(),
        Verb::Rm(verb) => verb.run(),
        Verb::Serve(verb) => verb.run(),
        Verb::Ps(verb) => verb.run(),
        Verb::Stop(verb) => verb.run(),
        Verb::Top(verb) => verb.run(),
        Verb::Config(verb) => verb.run(),
        Verb::Doctor(verb) => verb.run(),
        Verb::Completions(verb) => verb.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn log_to_stderr(verbose: u8) {
    let default = match verbose {
        // What becomes of a request is told as its error.
        0 => "warn,millpond::pool=error",
        1 => "millpond=info,warn",
        _ => "millpond=debug,info",
    };
    let filter = EnvFilter::try_from_env("MILLPOND_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colored = output::in_color(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colored).with_writer(std::io::stderr).init();
}
