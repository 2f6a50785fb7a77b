//! The list as a page of at most 80 columns, and all of each model on several lines.

use super::entry::{Entry, Fit, Form, Place};
use crate::capability::Capabilities;
use crate::catalog::{Fact, Manifest};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, WIDTH};
use crate::id::ByteSize;

/// Where the licence begins, and how wide the columns before it are together.
const BEFORE_LICENSE: usize = 63;

/// A table for each capability, and what its columns mean.
pub(super) fn print(
    output: &mut Output,
    entries: &[Entry],
    only: Option<Capabilities>,
    limit: ByteSize,
) -> Result<(), Failure> {
    let wanted = |capability: &Capabilities| only.is_none_or(|only| only == *capability);
    for capability in Capabilities::ALL.into_iter().filter(wanted) {
        let mut of: Vec<&Entry> =
            entries.iter().filter(|entry| entry.manifest.capabilities.contains(&capability)).collect();
        if of.is_empty() {
            continue;
        }
        of.sort_by_key(|entry| (entry.place != Place::Here, entry.manifest.size));
        output.line(row(capability.name(), "memory", "fits", "size", "where", "licence"))?;
        of.iter().try_for_each(|entry| output.line(row_of(entry)))?;
        output.line("")?;
    }
    legend(output, entries, limit)
}

fn row_of(entry: &Entry) -> String {
    let Manifest { name, size, license, .. } = &entry.manifest;
    let fits = match entry.fit {
        None => "?",
        Some(fit) if !fit.fits => "no",
        Some(fit) => match fit.form {
            Form::Default => "yes",
            Form::Bf16 => "bf16",
            Form::Q4K => "q4_k",
        },
    };
    let told = |fact, size: Option<ByteSize>| match size {
        Some(size) if entry.is_unchecked(fact) => format!("~{size}"),
        Some(size) => size.to_string(),
        None => "?".to_owned(),
    };
    let (memory, size) = (told(Fact::Memory, entry.fit.map(|fit| fit.memory)), told(Fact::Size, *size));
    row(name, &memory, fits, &size, entry.place.name(), license)
}

fn row(name: &str, memory: &str, fits: &str, size: &str, place: &str, license: &str) -> String {
    let license = clipped(license, WIDTH - BEFORE_LICENSE);
    let row = format!("{name:<22} {memory:>11}  {fits:<4} {size:>11}  {place:<7}  {license}");
    row.trim_end().to_owned()
}

fn clipped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

fn legend(output: &mut Output, entries: &[Entry], limit: ByteSize) -> Result<(), Failure> {
    let any = |has: &dyn Fn(&Entry) -> bool| entries.iter().any(has);
    if entries.is_empty() {
        return output.line("no model in the catalog can do that");
    }
    output.line("memory   predicted for one worker of four threads, its weights included")?;
    output
        .line(format_args!("fits     within {limit}; bf16: with --dtype bf16, q4_k: with --quantize q4_k"))?;
    output.line("where    here: in a folder; cached: fetched before; hub: `millpond pull NAME`")?;
    if any(&|entry| entry.place == Place::Missing) {
        output.line("         missing: its folder or file is not there")?;
    }
    if any(&|entry| entry.is_unchecked(Fact::Size) || entry.is_unchecked(Fact::Memory)) {
        output.line("~        not checked: told from the numbers that the model is known to have")?;
    }
    output.line("More: millpond list --long, millpond inspect -m NAME")
}

/// All there is to say.
pub(in crate::cli) fn long(output: &mut Output, entry: &Entry, limit: ByteSize) -> Result<(), Failure> {
    let Manifest { name, capabilities, description, license, architecture, dtype, size, memory, .. } =
        &entry.manifest;
    let joined = |parts: Vec<String>| parts.join(", ");
    let does = joined(capabilities.iter().map(ToString::to_string).collect());
    let stored = dtype.map_or_else(String::new, |dtype| format!(" in {dtype}"));
    let forms = [("f32", memory.f32), ("bf16", memory.bf16), ("q4_k", memory.q4_k)];
    let memory = forms.iter().filter_map(|(form, memory)| Some(format!("{} in {form}", (*memory)?)));
    let unchecked = entry.manifest.unchecked.iter().map(ToString::to_string);
    let lines = [
        ("", description.clone()),
        ("does", does),
        ("network", architecture.as_ref().map_or_else(String::new, |name| format!("{name}{stored}"))),
        ("size", size.map_or_else(String::new, |size| size.to_string())),
        ("memory", joined(memory.collect())),
        ("fits", entry.fit.map_or_else(String::new, |fit| told_fit(fit, limit))),
        ("licence", license.clone()),
        ("where", format!("{}: {}", entry.place.name(), entry.source)),
        ("not checked", joined(unchecked.collect())),
    ];
    output.line(name)?;
    let said = lines.iter().filter(|(_, value)| !value.is_empty());
    said.clone().try_for_each(|(what, value)| match *what {
        "" => output.line(format_args!("    {value}")),
        what => output.line(format_args!("    {what:<12} {value}")),
    })
}

/// `yes: 1.3 GiB of 4.0 GiB, with --quantize q4_k`.
fn told_fit(Fit { fits, form, memory }: Fit, limit: ByteSize) -> String {
    let answer = if fits { "yes" } else { "no" };
    let with = form.option().map_or_else(String::new, |option| format!(", with {option}"));
    format!("{answer}: {memory} of {limit}{with}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_80_columns_wide_and_no_wider() {
        let widest =
            row(&"n".repeat(22), "~1023.9 MiB", "bf16", "~1023.9 MiB", "missing", "MIT OR Apache-2.0");
        assert_eq!(widest.chars().count(), WIDTH);
        let clipped = row("n", "?", "?", "?", "hub", &"l".repeat(64));
        assert_eq!((clipped.chars().count(), clipped.ends_with("l…")), (WIDTH, true));
        assert_eq!(row("n", "", "", "", "", "x").find('x'), Some(BEFORE_LICENSE));
    }
}
