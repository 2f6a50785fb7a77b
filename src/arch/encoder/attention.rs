//! Attention over packed texts: every token looks at all tokens of its own text.

use candle_core::{DType, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use rayon::prelude::*;

use std::ops::Range;

/// The most scores held at once by one thread: 128 Ki of f32 are 512 KiB, which a core's own cache holds. A
/// longer text is done in blocks of queries, so that memory grows with its length and not with its square.
const MAX_SCORES: usize = 128 << 10;

/// What one text's attention needs, at most, beyond its input and output, in numbers.
pub(crate) fn scratch_numbers(heads: usize, tokens: usize) -> usize {
    // Scores and their softmax.
    2 * (heads * tokens * tokens).min(MAX_SCORES.max(heads * tokens))
}

/// `softmax(q k^T) v` per head and text.
///
/// `qkv` is `[tokens, 3 x heads x head size]`, the queries already scaled; the result is
/// `[tokens, heads x head size]`. The texts are independent, so they are shared out to the worker's threads.
pub(crate) fn attend(qkv: &Tensor, spans: &[Range<usize>], heads: usize) -> Result<Tensor> {
    let texts = spans.par_iter().map(|span| attend_text(&qkv.narrow(0, span.start, span.len())?, heads));
    let texts = texts.collect::<Result<Vec<_>>>()?;
    match texts.as_slice() {
        [only] => Ok(only.clone()),
        texts => Tensor::cat(texts, 0),
    }
}

fn attend_text(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (tokens, width) = qkv.dims2()?;
    let head_size = width / 3 / heads;
    // [3, heads, tokens, head size]: a view, nothing moves.
    let qkv = qkv.reshape((tokens, 3, heads, head_size))?.permute((1, 2, 0, 3))?;
    let (q, k, v) = (qkv.get(0)?, qkv.get(1)?.t()?, qkv.get(2)?);
    let block = (MAX_SCORES / (heads * tokens)).max(1);
    let blocks = (0..tokens).step_by(block).map(|start| {
        let q = q.narrow(1, start, block.min(tokens - start))?;
        // [heads, queries, tokens]
        let weights = softmax_last_dim(&q.matmul(&k)?)?;
        // [queries, heads x head size]
        weights.matmul(&v)?.transpose(0, 1)?.flatten_from(1)
    });
    let blocks = blocks.collect::<Result<Vec<_>>>()?;
    match blocks.as_slice() {
        [only] => Ok(only.clone()),
        blocks => Tensor::cat(blocks, 0),
    }
}

/// The rows that make queries, scaled by `1 / sqrt(head size)` once at loading instead of at every score.
pub(crate) fn scaled(query: &Tensor, head_size: usize) -> Result<Tensor> {
    debug_assert_eq!(query.dtype(), DType::F32);
    query.affine((head_size as f64).sqrt().recip(), 0.0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Attention as its equation has it, number by number in f64.
    fn by_hand(qkv: &[Vec<f32>], heads: usize) -> Vec<Vec<f32>> {
        let width = qkv[0].len() / 3;
        let size = width / heads;
        let row = |q: &Vec<f32>, head: usize| {
            let at = |x: &[f32], part: usize, i: usize| f64::from(x[part * width + head * size + i]);
            let scores = qkv.iter().map(|k| (0..size).map(|i| at(q, 0, i) * at(k, 1, i)).sum::<f64>().exp());
            let scores: Vec<f64> = scores.collect();
            let total: f64 = scores.iter().sum();
            (0..size)
                .map(move |i| {
                    (qkv.iter().zip(&scores).map(|(v, s)| at(v, 2, i) * s).sum::<f64>() / total) as f32
                })
                .collect::<Vec<_>>()
        };
        qkv.iter().map(|q| (0..heads).flat_map(|head| row(q, head)).collect()).collect()
    }

    #[test]
    fn each_text_attends_to_itself_alone() -> Result<()> {
        let (heads, width) = (2, 6);
        let qkv = Tensor::randn(0f32, 1.0, (9, 3 * width), &Device::Cpu)?;
        let rows = qkv.to_vec2::<f32>()?;
        let spans = [0..2, 2..3, 3..9];
        let got = attend(&qkv, &spans, heads)?.to_vec2::<f32>()?;
        let expected = spans.iter().flat_map(|span| by_hand(&rows[span.clone()], heads)).collect::<Vec<_>>();
        for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
            assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
        }
        Ok(())
    }

    #[test]
    fn blocks_of_queries_do_not_change_the_result() -> Result<()> {
        // 2 heads x 1600^2 scores are twenty times what one block holds.
        let qkv = Tensor::randn(0f32, 1.0, (1600, 12), &Device::Cpu)?;
        let got = attend_text(&qkv, 2)?.narrow(0, 1590, 10)?.to_vec2::<f32>()?;
        let rows = qkv.to_vec2::<f32>()?;
        let expected = by_hand(&rows, 2);
        for (got, expected) in got.iter().flatten().zip(expected[1590..].iter().flatten()) {
            assert!((got - expected).abs() < 1e-4, "{got} is not {expected}");
        }
        Ok(())
    }
}
