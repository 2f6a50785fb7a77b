//! What a model's card claims, and whether a score bears it out.

use std::collections::BTreeMap;

use millpond::Dtype;

use crate::served::folder;

/// Heads the table of a card.
const HEADER: [&str; 3] = ["measure", "trained", "held out"];

/// How many were right of how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    right: usize,
    of: usize,
}

impl Score {
    pub(crate) fn of(answers: impl IntoIterator<Item = bool>) -> Self {
        answers.into_iter().fold(Self { right: 0, of: 0 }, |score, right| Self {
            right: score.right + usize::from(right),
            of: score.of + 1,
        })
    }

    /// From 0 to 1.
    pub(crate) fn share(self) -> f64 {
        self.right as f64 / self.of as f64
    }

    /// Whether a model that is right as often as `claim` could do no better on so many questions by chance. They are
    /// not the questions that the claim was measured on: the margin is three standard errors of a sample of this size,
    /// and at least 2 points.
    fn bears_out(self, claim: f64) -> bool {
        let error = (claim * (1.0 - claim) / self.of as f64).sqrt();
        self.of > 0 && self.share() >= claim - (3.0 * error).max(0.02)
    }
}

/// What the card claims of held-out combinations, from 0 to 1, by measure.
fn claims(model: &str) -> BTreeMap<String, f64> {
    let card = folder(model).join("README.md");
    let text = std::fs::read_to_string(&card).unwrap_or_else(|error| panic!("{}: {error}", card.display()));
    claims_in(&text)
}

fn claims_in(text: &str) -> BTreeMap<String, f64> {
    let mut rows = text.lines().map(cells).skip_while(|cells| cells != &HEADER);
    rows.next().expect("the card has a table of measures");
    assert!(rows.next().is_some_and(|cells| cells.iter().all(|cell| cell == "---")), "a line below its head");
    let rows = rows.take_while(|cells| cells.len() == HEADER.len());
    let claims = rows.map(|cells| {
        let percent = cells[2].strip_suffix(" %").and_then(|number| number.parse::<f64>().ok());
        let percent = percent.unwrap_or_else(|| panic!("{:?} claims {:?}", cells[0], cells[2]));
        assert!((0.0..=100.0).contains(&percent), "{percent} %");
        (cells[0].clone(), percent / 100.0)
    });
    claims.collect()
}

/// What stands between the bars of a row of a table; nothing of any other line.
fn cells(line: &str) -> Vec<String> {
    let row = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|'));
    row.map_or_else(Vec::new, |row| row.split('|').map(|cell| cell.trim().to_owned()).collect())
}

/// Every measure of the card, and no other, was taken, and none falls short.
#[track_caller]
pub(crate) fn holds(model: &str, dtype: Dtype, scores: &[(&str, Score)]) {
    let claims = claims(model);
    let measured: Vec<_> = scores.iter().map(|(measure, _)| *measure).collect();
    assert!(claims.len() == measured.len(), "{model}: the card has {:?}, not {measured:?}", claims.keys());
    let mut short = Vec::new();
    for (measure, score) in scores {
        let claim = claims.get(*measure).unwrap_or_else(|| panic!("{model}'s card has no {measure:?}"));
        let line = format!(
            "{model} in {dtype}: {measure}: {:.1} % ({} of {}), the card says {:.1} %",
            100.0 * score.share(),
            score.right,
            score.of,
            100.0 * claim
        );
        println!("{line}");
        if !score.bears_out(*claim) {
            short.push(line);
        }
    }
    assert!(short.is_empty(), "short of the card\n{}", short.join("\n"));
}

#[test]
fn a_score_may_fall_short_by_chance_and_no_further() {
    let score = |right| Score { right, of: 400 };
    // Three standard errors of 80 % of 400 are 6 points.
    assert!(score(296).bears_out(0.8) && !score(295).bears_out(0.8));
    assert!(score(392).bears_out(1.0) && !score(391).bears_out(1.0));
    assert!(!Score::of([]).bears_out(0.0), "nothing measured bears nothing out");
    assert_eq!(Score::of([true, false, true]), Score { right: 2, of: 3 });
}

#[test]
fn a_card_is_read_from_its_table() {
    let card = "# x\n\n| a | b |\n\n| measure | trained | held out |\n| --- | --- | --- |\n| shape, seen | 99.0 % | 12.5 % |\n\n| left | 1.0 % | 2.0 % |\n";
    assert_eq!(claims_in(card), BTreeMap::from([("shape, seen".to_owned(), 0.125)]));
}
