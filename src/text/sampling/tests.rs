//! Sampling against the same thing done plainly: everything sorted, in f64.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn sampler(options: &SamplingOptions, seed: u64) -> Sampler {
    Sampler::new(options, None, &[], seed)
}

fn draw(sampler: &mut Sampler, logits: &[f32]) -> u32 {
    sampler.sample(logits, None, &mut SamplingScratch::default()).unwrap().id
}

/// The tokens that a draw may give with their probabilities, as the processors of transformers leave them:
/// each masks what it removes, one after the other.
fn reference(logits: &[f32], options: &SamplingOptions) -> BTreeMap<u32, f64> {
    let scores: Vec<f64> = logits.iter().map(|x| f64::from(*x) / f64::from(options.temperature)).collect();
    let mut ranked: Vec<usize> = (0..scores.len()).collect();
    ranked.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let softmax = |kept: &[usize]| {
        let sum: f64 = kept.iter().map(|id| (scores[*id] - scores[ranked[0]]).exp()).sum();
        kept.iter().map(|id| (scores[*id] - scores[ranked[0]]).exp() / sum).collect::<Vec<f64>>()
    };
    let mut kept = ranked.clone();
    if let Some(k) = options.top_k.filter(|k| *k < kept.len()) {
        let kth = scores[kept[k - 1]];
        kept.retain(|id| scores[*id] >= kth);
    }
    let mut before = 0.0;
    let probabilities = softmax(&kept);
    let nucleus = probabilities.iter().take_while(|p| {
        let inside = before < f64::from(options.top_p);
        before += *p;
        inside
    });
    kept.truncate(nucleus.count());
    let probabilities = softmax(&kept);
    let least = f64::from(options.min_p) * probabilities[0];
    kept.truncate(probabilities.iter().take_while(|p| **p >= least).count().max(1));
    kept.iter().zip(softmax(&kept)).map(|(id, p)| (*id as u32, p)).collect()
}

fn options() -> impl Strategy<Value = SamplingOptions> {
    let top_k = prop_oneof![Just(None), (1usize..40).prop_map(Some)];
    let top_p = prop_oneof![Just(1.0f32), 0.01f32..1.0];
    let min_p = prop_oneof![Just(0.0f32), 0.0f32..0.9];
    (0.1f32..3.0, top_k, top_p, min_p).prop_map(|(temperature, top_k, top_p, min_p)| SamplingOptions {
        top_k,
        top_p,
        min_p,
        ..SamplingOptions::with_temperature(temperature)
    })
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    // Whole numbers make ties; a vocabulary of a few thousand makes blocks and thinning out.
    let few = prop::collection::vec(-8.0f32..8.0, 1..50);
    let ties = prop::collection::vec((-3i8..3).prop_map(f32::from), 1..50);
    let many = any::<u64>().prop_map(|seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..3_000).map(|_| random.f32() * 20.0 - 10.0).collect()
    });
    prop_oneof![few, ties, many]
}

proptest! {
    #[test]
    fn draws_are_those_of_everything_sorted(logits in logits(), options in options(), at in 0.0f64..1.0) {
        let expected = reference(&logits, &options);
        // A hair to either side of where two tokens meet, either is right.
        let mut nearby = [-1e-5, 0.0, 1e-5].map(|step| {
            let mut rest = (at + step).clamp(0.0, 1.0);
            let found = expected.iter().find(|(_, p)| { rest -= **p; rest < 0.0 });
            *found.or(expected.last_key_value()).unwrap().0
        }).to_vec();
        // Where the nucleus ends within rounding of a token, it may end on either side of it.
        for top_p in [options.top_p - 2e-6, options.top_p + 2e-6] {
            let other = reference(&logits, &SamplingOptions { top_p: top_p.clamp(1e-6, 1.0), ..options.clone() });
            if other.len() != expected.len() {
                nearby.extend(other.keys());
            }
        }
        let best = weights::maximum(&logits);
        let mut candidates = Candidates::default();
        let id = candidates.draw(&logits, best, &options, at, &mut Weights::default());
        prop_assert!(nearby.contains(&id), "{id} is none of {nearby:?}");
    }

    #[test]
    fn logprobs_are_those_of_the_logits_as_they_come(logits in logits(), n in 0usize..20) {
        let options = SamplingOptions { repetition_penalty: 3.0, ..SamplingOptions::with_temperature(0.7) };
        let mut sampler = Sampler::new(&options, Some(n), &[0], 5);
        let sampled = sampler.sample(&logits, None, &mut SamplingScratch::default()).unwrap();
        let logprobs = sampled.logprobs.unwrap();
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        let expected = |id: u32| f64::from(logits[id as usize]) - sum.ln();
        prop_assert!((f64::from(logprobs.chosen) - expected(sampled.id)).abs() < 1e-5);
        let mut ranked: Vec<u32> = (0..logits.len() as u32).collect();
        ranked.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
        ranked.truncate(n);
        prop_assert_eq!(logprobs.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ranked);
        prop_assert!(logprobs.top.iter().all(|(id, logprob)| (f64::from(*logprob) - expected(*id)).abs() < 1e-5));
    }

    #[test]
    fn no_request_hears_of_another(logits in prop::collection::vec(logits(), 1..6), seed: u64) {
        let options = SamplingOptions { top_p: 0.9, frequency_penalty: 0.3, ..SamplingOptions::with_temperature(1.0) };
        let mut alone = sampler(&options, seed);
        let expected: Vec<u32> = logits.iter().map(|row| draw(&mut alone, row)).collect();
        let (mut one, mut other) = (sampler(&options, seed), sampler(&options, seed ^ 1));
        let mut scratch = SamplingScratch::default();
        for (row, expected) in logits.iter().zip(expected) {
            other.sample(row, None, &mut scratch).unwrap();
            prop_assert_eq!(one.sample(row, None, &mut scratch).unwrap().id, expected);
            other.sample(row, None, &mut scratch).unwrap();
        }
    }
}

#[test]
fn greedy_takes_the_first_of_equals() {
    let mut greedy = sampler(&SamplingOptions::greedy(), 1);
    assert_eq!(draw(&mut greedy, &[0.0, 3.0, 1.0, 3.0]), 1);
    let biased =
        SamplingOptions { logit_bias: BTreeMap::from([(2, 5.0), (99, 5.0)]), ..SamplingOptions::greedy() };
    assert_eq!(draw(&mut sampler(&biased, 1), &[0.0, 3.0, 1.0, 3.0]), 2);
    let tiny = SamplingOptions::with_temperature(1e-9);
    assert_eq!(draw(&mut sampler(&tiny, 1), &[0.0, 3.0, 1.0, 3.0]), 1);
}

#[test]
fn draws_come_as_often_as_they_should() {
    let logits = [1.0f32, 2.0, 0.0, -1.0];
    for top_k in [None, Some(3)] {
        let options = SamplingOptions { top_k, ..SamplingOptions::with_temperature(0.8) };
        let expected = reference(&logits, &options);
        let mut sampler = sampler(&options, 42);
        let mut counts = [0u32; 4];
        for _ in 0..40_000 {
            counts[draw(&mut sampler, &logits) as usize] += 1;
        }
        for (id, count) in (0..).zip(counts) {
            let (p, seen) = (expected.get(&id).copied().unwrap_or(0.0), f64::from(count) / 40_000.0);
            let deviation = (p * (1.0 - p) / 40_000.0).sqrt();
            assert!((seen - p).abs() <= 4.0 * deviation, "token {id}: {seen} instead of {p}");
        }
    }
}

#[test]
fn what_is_not_allowed_is_never_taken() {
    let logits: Vec<f32> = (0..100).map(|x| x as f32 / 10.0).collect();
    // Tokens 3, 5 and 33; there is no word for those past 63.
    let allowed = [1 << 3 | 1 << 5, 1 << 1];
    let mut scratch = SamplingScratch::default();
    let mut seen = std::collections::BTreeSet::new();
    let mut hot = sampler(&SamplingOptions::with_temperature(5.0), 1);
    for _ in 0..300 {
        seen.insert(hot.sample(&logits, Some(&allowed), &mut scratch).unwrap().id);
    }
    assert_eq!(seen, [3, 5, 33].into());
    let mut greedy = sampler(&SamplingOptions::greedy(), 1);
    assert_eq!(greedy.sample(&logits, Some(&allowed), &mut scratch).unwrap().id, 33);
    assert!(matches!(greedy.sample(&logits, Some(&[0, 0]), &mut scratch), Err(ModelError::Numeric(_))));
    assert!(matches!(hot.sample(&logits, Some(&[]), &mut scratch), Err(ModelError::Numeric(_))));
}

#[test]
fn numbers_that_went_wrong_are_an_error() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for options in [SamplingOptions::greedy(), SamplingOptions::with_temperature(1.0)] {
            let mut logits = vec![0.5f32; 1_000];
            logits[700] = bad;
            let error = sampler(&options, 1).sample(&logits, None, &mut SamplingScratch::default());
            assert!(matches!(error, Err(ModelError::Numeric(_))), "{bad}");
        }
    }
    let mut scratch = SamplingScratch::default();
    assert!(sampler(&SamplingOptions::greedy(), 1).sample(&[], None, &mut scratch).is_err());
    // Finite logits whose penalties are not.
    let harsh = SamplingOptions { repetition_penalty: 0.01, ..SamplingOptions::with_temperature(1.0) };
    let mut sampler = Sampler::new(&harsh, None, &[0], 1);
    assert!(matches!(sampler.sample(&[3e38, 0.0], None, &mut scratch), Err(ModelError::Numeric(_))));
}

#[test]
fn nothing_is_allocated_twice() {
    let mut scratch = SamplingScratch::default();
    let options = SamplingOptions { top_k: Some(50), top_p: 0.9, ..SamplingOptions::with_temperature(1.0) };
    let mut sampler = sampler(&options, 1);
    let logits: Vec<f32> = (0..5_000u32).map(|x| (x.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6).collect();
    sampler.sample(&logits, None, &mut scratch).unwrap();
    let room = scratch.scores.as_ptr();
    for _ in 0..20 {
        sampler.sample(&logits, None, &mut scratch).unwrap();
    }
    assert_eq!(scratch.scores.as_ptr(), room);
}
