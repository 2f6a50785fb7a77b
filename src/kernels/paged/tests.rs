use candle_core::Device;

use super::*;

const HEADS: usize = 4;
const KV_HEADS: usize = 2;

fn attention(size: usize) -> PagedAttention {
    PagedAttention {
        heads: HEADS,
        kv_heads: KV_HEADS,
        head_size: size,
        scale: 0.3,
        cap: None,
        direction: Direction::Backward,
        window: None,
        norms: None,
        style: RopeStyle::Halves,
    }
}

fn width(size: usize) -> usize {
    (HEADS + 2 * KV_HEADS) * size
}

/// Attention as its equation has it, in f64; `qkv` is one whole text.
fn by_hand(attention: &PagedAttention, qkv: &[f32]) -> Vec<f32> {
    by_hand_together(attention, qkv, &[])
}

/// The same where some tokens see each other, whichever comes first.
fn by_hand_together(attention: &PagedAttention, qkv: &[f32], together: &[Range<usize>]) -> Vec<f32> {
    let size = attention.head_size;
    let rows: Vec<&[f32]> = qkv.chunks_exact(width(size)).collect();
    let head = |row: usize, head: usize| &rows[row][head * size..][..size];
    let mut out = Vec::new();
    for i in 0..rows.len() {
        for h in 0..HEADS {
            let kv = h / (HEADS / KV_HEADS);
            let window = attention.window.unwrap_or(rows.len());
            let end = match attention.direction {
                Direction::Backward => i + 1,
                Direction::BothWays => rows.len().min(i + window),
            };
            let end = together.iter().find(|span| span.contains(&i)).map_or(end, |span| span.end.max(end));
            let seen = (i + 1).saturating_sub(window)..end;
            let scores: Vec<f64> = seen
                .clone()
                .map(|j| {
                    let dot: f64 = head(i, h)
                        .iter()
                        .zip(head(j, HEADS + kv))
                        .map(|(q, k)| f64::from(*q) * f64::from(*k))
                        .sum();
                    let score = dot * f64::from(attention.scale);
                    attention.cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()).exp()
                })
                .collect();
            let total: f64 = scores.iter().sum();
            out.extend((0..size).map(|d| {
                let mixed = seen.clone().zip(&scores);
                let mixed: f64 = mixed.map(|(j, s)| s * f64::from(head(j, HEADS + KV_HEADS + kv)[d])).sum();
                (mixed / total) as f32
            }));
        }
    }
    out
}

/// Runs texts of `lengths` in steps of at most `chunk` tokens each, all texts side by side; a text's blocks are
/// scattered, and what was in them before is not a number.
fn in_steps(attention: &PagedAttention, texts: &[Vec<f32>], chunk: usize) -> Vec<Vec<f32>> {
    in_steps_with(KvFormat::F32, attention, texts, chunk)
}

fn in_steps_with(
    format: KvFormat,
    attention: &PagedAttention,
    texts: &[Vec<f32>],
    chunk: usize,
) -> Vec<Vec<f32>> {
    let width = width(attention.head_size);
    let longest = texts.iter().map(|text| text.len() / width).max().unwrap();
    let per_text = longest.div_ceil(BLOCK_TOKENS);
    let mut kv = PagedKv::new(format, per_text * texts.len(), KV_HEADS, attention.head_size);
    kv.fill(f32::NAN);
    let blocks: Vec<Vec<u32>> = (0..texts.len())
        .map(|text| (0..per_text).rev().map(|block| (block * texts.len() + text) as u32).collect())
        .collect();
    let mut outs = vec![Vec::new(); texts.len()];
    for start in (0..longest).step_by(chunk) {
        let (mut rows, mut step, mut who) = (Vec::new(), Vec::new(), Vec::new());
        for (i, text) in texts.iter().enumerate() {
            let tokens = (text.len() / width).saturating_sub(start).min(chunk);
            if tokens > 0 {
                rows.extend_from_slice(&text[start * width..][..tokens * width]);
                step.push(PagedText { tokens, position: start, blocks: &blocks[i], together: &[] });
                who.push((i, tokens));
            }
        }
        let qkv = Tensor::from_vec(rows.clone(), (rows.len() / width, width), &Device::Cpu).unwrap();
        let out = attention.forward(&qkv, None, &step, &mut kv).unwrap();
        let mut out = out.to_vec2::<f32>().unwrap().into_iter();
        for (i, tokens) in who {
            outs[i].extend(out.by_ref().take(tokens).flatten());
        }
    }
    outs
}

fn texts(lengths: &[usize], size: usize) -> Vec<Vec<f32>> {
    let numbers = |n: usize| {
        let random = Tensor::randn(0f32, 1.0, n, &Device::Cpu).unwrap();
        random.to_vec1::<f32>().unwrap()
    };
    lengths.iter().map(|tokens| numbers(tokens * width(size))).collect()
}

#[test]
fn each_text_sees_its_own_past_or_all_of_itself() {
    let kinds = [(None, None), (Some(1), None), (Some(5), None), (Some(20), Some(2.0)), (None, Some(0.5))];
    for (window, cap) in kinds {
        for (size, direction) in [8, 16, 20, 64].into_iter().flat_map(both_directions) {
            let attention = PagedAttention { cap, direction, window, ..attention(size) };
            let texts = texts(&[1, 16, 33, 50], size);
            let got = in_steps(&attention, &texts, 100);
            for (text, got) in texts.iter().zip(got) {
                for (got, expected) in got.iter().zip(by_hand(&attention, text)) {
                    assert!((got - expected).abs() < 1e-5, "{got} is not {expected}: {attention:?}");
                }
            }
        }
    }
}

fn both_directions(size: usize) -> [(usize, Direction); 2] {
    [(size, Direction::Backward), (size, Direction::BothWays)]
}

#[test]
fn company_changes_no_bit_of_a_text_seen_whole() {
    for window in [None, Some(19)] {
        let attention = PagedAttention { direction: Direction::BothWays, window, ..attention(20) };
        let texts = texts(&[3, 40, 61], 20);
        for (text, together) in texts.iter().zip(in_steps(&attention, &texts, 100)) {
            assert_eq!(in_steps(&attention, std::slice::from_ref(text), 100)[0], together, "alone");
        }
    }
}

#[test]
fn company_and_cuts_change_no_bit() {
    for window in [None, Some(19)] {
        let attention = PagedAttention { window, ..attention(20) };
        let texts = texts(&[3, 40, 61], 20);
        let whole = in_steps(&attention, &texts, 100);
        for chunk in [1, 7, 16, 29] {
            assert_eq!(in_steps(&attention, &texts, chunk), whole, "in steps of {chunk}");
        }
        for (text, whole) in texts.iter().zip(&whole) {
            assert_eq!(&in_steps(&attention, std::slice::from_ref(text), 100)[0], whole, "alone");
        }
    }
}

#[test]
fn keys_and_values_of_half_the_width_are_those_rounded() {
    let attention = PagedAttention { window: Some(19), ..attention(20) };
    let mut texts = texts(&[3, 40, 61], 20);
    let halves = in_steps_with(KvFormat::F16, &attention, &texts, 100);
    for chunk in [1, 7, 16, 29] {
        assert_eq!(in_steps_with(KvFormat::F16, &attention, &texts, chunk), halves, "in steps of {chunk}");
    }
    for row in texts.iter_mut().flat_map(|text| text.chunks_exact_mut(width(20))) {
        let kept = row[HEADS * 20..].iter_mut();
        kept.for_each(|x| *x = half::f16::from_f32(*x).to_f32());
    }
    assert_eq!(in_steps(&attention, &texts, 100), halves);
}

#[test]
fn what_no_f16_can_be_is_the_largest() {
    let attention = attention(8);
    let mut text = vec![0f32; width(8)];
    text[(HEADS + KV_HEADS) * 8] = 1e9;
    let out = in_steps_with(KvFormat::F16, &attention, &[text], 1);
    assert_eq!(out[0][0].to_bits(), 65504f32.to_bits());
}

#[test]
fn turning_keeps_lengths_and_differs_by_position() {
    let mut angles = Angles::new(4);
    (0..3).for_each(|position| angles.push(position, &[1.0, 0.5, 0.25, 0.125], 1.0));
    for style in [RopeStyle::Halves, RopeStyle::Interleaved] {
        let mut turned: Vec<Vec<f32>> = vec![(1..=20i16).map(f32::from).collect(); 3];
        turned.iter_mut().enumerate().for_each(|(i, row)| turn(row, 10, angles.of(i), style));
        let squares = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>();
        assert_eq!(turned[0], (1..=20i16).map(f32::from).collect::<Vec<_>>());
        assert!((squares(&turned[2]) / squares(&turned[0]) - 1.0).abs() < 1e-6);
        assert!(turned[1] != turned[2]);
        // What is beyond the pairs stays.
        assert_eq!((turned[2][8], turned[2][9], turned[2][18]), (9.0, 10.0, 19.0));
    }
    let mut pair = [1.0, 0.0];
    let mut quarter = Angles::new(1);
    quarter.push(1, &[std::f32::consts::FRAC_PI_2], 2.0);
    turn(&mut pair, 2, quarter.of(0), RopeStyle::Interleaved);
    assert!(pair[0].abs() < 1e-6 && (pair[1] - 2.0).abs() < 1e-6);
}

#[test]
fn what_does_not_fit_is_refused() {
    let attention = attention(8);
    let mut kv = PagedKv::new(KvFormat::F32, 2, KV_HEADS, 8);
    let qkv = Tensor::zeros((20, width(8)), candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut run = |tokens, position, blocks: &[u32]| {
        attention
            .forward(&qkv, None, &[PagedText { tokens, position, blocks, together: &[] }], &mut kv)
            .is_ok()
    };
    assert!(run(20, 0, &[0, 1]));
    assert!(!run(20, 13, &[0, 1]), "past the blocks");
    assert!(!run(20, 0, &[0, 2]), "no such block");
    assert!(!run(19, 0, &[0, 1]), "another number of tokens");
}

#[test]
fn tokens_that_see_each_other_do_so_in_whatever_steps_they_are_computed() {
    let size = 8;
    let together = [3..19, 24..31, 31..33];
    for window in [None, Some(6)] {
        let attention = PagedAttention { window, ..attention(size) };
        let mut draw = fastrand::Rng::with_seed(3);
        let qkv: Vec<f32> = (0..40 * width(size)).map(|_| draw.f32() - 0.5).collect();
        let expected = by_hand_together(&attention, &qkv, &together);
        for steps in [&[0, 40][..], &[0, 2, 19, 24, 40], &[0, 3, 19, 20, 33, 39, 40]] {
            let blocks = [2, 0, 1];
            let mut kv = PagedKv::new(KvFormat::F32, 3, KV_HEADS, size);
            kv.fill(f32::NAN);
            let mut got = Vec::new();
            for step in steps.windows(2) {
                let (position, tokens) = (step[0], step[1] - step[0]);
                let rows = qkv[position * width(size)..][..tokens * width(size)].to_vec();
                let rows = Tensor::from_vec(rows, (tokens, width(size)), &Device::Cpu).unwrap();
                let text = PagedText { tokens, position, blocks: &blocks, together: &together };
                let out = attention.forward(&rows, None, &[text], &mut kv).unwrap();
                got.extend(out.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            }
            let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(got.len() == expected.len() && off < 1e-5, "{window:?} {steps:?}: off by {off}");
        }
        // Parted, they cannot be computed.
        let rows = Tensor::zeros((10, width(size)), candle_core::DType::F32, &Device::Cpu).unwrap();
        let mut kv = PagedKv::new(KvFormat::F32, 3, KV_HEADS, size);
        let text = PagedText { tokens: 10, position: 0, blocks: &[0, 1, 2], together: &together };
        assert!(attention.forward(&rows, None, &[text], &mut kv).is_err());
    }
}
