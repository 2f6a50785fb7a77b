//! `millpond doctor`: whether this machine is ready to serve models, and what to do where it is not.

mod machine;
mod place;
mod trial;

use clap::Args;
use serde::Serialize;

use super::catalogs::CatalogArgs;
use super::client::ClientArgs;
use super::failure::Failure;
use super::output::Output;

/// Look whether this machine is ready to serve models
///
/// Looks at the processor, the memory, the threads, the disk, the settings, the catalog and the server, and has a small
/// model compute something. Each line is ok, warn (it works, and could do better) or fail, and says what to do. Exits
/// with 1 if anything fails.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond doctor
  millpond doctor --json | jq -r 'select(.verdict != \"ok\")'
  millpond doctor --url http://box:11435")]
pub(super) struct Doctor {
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// What became of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn warn(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Fail, found: found.into(), advice: Some(advice.into()) }
    }

    fn print(&self, output: &mut Output) -> Result<(), Failure> {
        let Self { what, verdict, found, advice } = self;
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        output.line(format_args!("{verdict:<5} {what:<14} {found}"))?;
        advice.iter().try_for_each(|advice| output.line(format_args!("{:<20} -> {advice}", "")))
    }
}

impl Doctor {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let looks: [&dyn Fn() -> Finding; 9] = [
            &machine::processor,
            &machine::cores,
            &machine::threads,
            &machine::memory,
            &place::cache,
            &place::settings,
            &|| place::catalog(&self.catalog),
            &|| trial::embed(&self.catalog),
            &|| place::server(&self.client),
        ];
        let mut output = Output::stdout();
        let mut failed = 0;
        for look in looks {
            let finding = look();
            failed += usize::from(finding.verdict == Verdict::Fail);
            if self.json {
                output.json(&finding)?;
            } else {
                finding.print(&mut output)?;
            }
            // The next one may take a while.
            output.flush()?;
        }
        if failed == 0 { Ok(()) } else { Err(Failure::Unhealthy { failed }) }
    }
}
