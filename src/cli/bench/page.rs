//! What was measured, for people: a table of times and how they are spread.

use std::time::Duration;

use super::figures::{Figures, milliseconds, quantile, sorted};
use super::round::Sample;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// How many bars the histogram has at most, and how long they are.
const BARS: usize = 10;
const LONGEST: usize = 40;

/// `from` says how requests came, `place` who answered them.
pub(super) fn print(
    output: &mut Output,
    samples: &[Sample],
    figures: &Figures,
    from: &str,
    place: Option<&str>,
) -> Result<(), Failure> {
    let requests = samples.len();
    let tokens = samples.iter().map(|sample| sample.tokens).sum::<usize>() / requests.max(1);
    let size = if tokens > 0 { format!("of {tokens} tokens ") } else { String::new() };
    output.line(format_args!("{requests} requests {size}{from}"))?;
    place.iter().try_for_each(|place| output.line(format_args!("workers         {place}")))?;
    output.line(format_args!("requests/s      {:.1}", figures.requests_per_second))?;
    if figures.tokens_per_second > 0.0 {
        output.line(format_args!("tokens/s        {:.0}", figures.tokens_per_second))?;
    }
    if let Some(memory) = figures.peak_rss_bytes {
        output.line(format_args!("peak memory     {memory}"))?;
    }
    let waited = sorted(samples.iter().map(|sample| sample.waited));
    let first = sorted(samples.iter().filter_map(|sample| sample.first));
    let between = sorted(samples.iter().flat_map(|sample| sample.between.iter().copied()));
    output.line("")?;
    output
        .line(format_args!("{:<15} {:>12} {:>12} {:>12} {:>12}", "time in ms", "p50", "p90", "p99", "max"))?;
    let rows = [("answer", &waited), ("first token", &first), ("between tokens", &between)];
    for (name, times) in rows.into_iter().filter(|(_, times)| !times.is_empty()) {
        output.line(row(name, times))?;
    }
    output.line("")?;
    histogram(&waited).iter().try_for_each(|bar| output.line(bar))
}

fn row(name: &str, times: &[Duration]) -> String {
    let of = |q: f64| format!("{:>12.2}", milliseconds(quantile(times, q)));
    format!("{name:<15} {} {} {} {}", of(0.5), of(0.9), of(0.99), of(1.0))
}

/// How many of `times`, which are sorted, were how long: a line for each range of equal width, from the shortest to the
/// longest.
fn histogram(times: &[Duration]) -> Vec<String> {
    let (Some(least), Some(most)) = (times.first(), times.last()) else { return Vec::new() };
    let width = (most.saturating_sub(*least) / BARS as u32).max(Duration::from_nanos(1));
    let mut counts = [0usize; BARS];
    for time in times {
        let place = (time.saturating_sub(*least).as_nanos() / width.as_nanos()) as usize;
        counts[place.min(BARS - 1)] += 1;
    }
    let fullest = counts.iter().copied().max().unwrap_or(1).max(1);
    let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    let bar = |(place, count): (usize, &usize)| {
        let from = milliseconds(*least + width * place as u32);
        let bar = "#".repeat((count * LONGEST).div_ceil(fullest));
        format!("{from:>10.2} ms  {bar:<LONGEST$} {count}").trim_end().to_owned()
    };
    counts[..used].iter().enumerate().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_one_bar() {
        let times: Vec<_> = (0..100).map(Duration::from_millis).collect();
        let bars = histogram(&times);
        assert_eq!(bars.len(), BARS);
        let counted = |bar: &String| bar.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
        assert_eq!(bars.iter().map(counted).sum::<usize>(), 100);
        assert!(bars[0].starts_with("      0.00 ms  ####"), "{}", bars[0]);
        assert!(bars.iter().all(|bar| bar.chars().count() <= 80));
    }

    #[test]
    fn few_and_equal_times_have_bars_too() {
        assert_eq!(histogram(&[]), [""; 0]);
        assert_eq!(histogram(&[Duration::from_millis(3); 7]).len(), 1);
        let two = histogram(&[Duration::from_millis(1), Duration::from_millis(9)]);
        assert_eq!(two.len(), BARS);
        assert_eq!(two.iter().filter(|bar| bar.contains('#')).count(), 2);
    }

    #[test]
    fn a_row_is_as_wide_as_its_title() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(
            row("answer", &times),
            "answer                 50.00        90.00        99.00       100.00"
        );
    }
}
