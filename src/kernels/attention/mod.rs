//! Attention over packed texts: every token looks at tokens of its own text. Vaswani et al., "Attention Is All You
//! Need", arXiv 1706.03762; windows as in Beltagy et al., "Longformer", arXiv 2004.05150, and biases by distance as
//! in Raffel et al., arXiv 1910.10683, section 2.1.

#[cfg(target_arch = "x86_64")]
mod keys;
#[cfg(target_arch = "x86_64")]
mod packed;

use std::num::NonZeroUsize;
use std::ops::Range;

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::ops::softmax_last_dim;
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::cpu::Vectors;

/// The most scores that candle's form holds at once: 128 Ki of f32 are 512 KiB, which a core's own cache holds. A
/// longer text is done in blocks of queries, so that memory grows with its length and not with its square.
const MAX_SCORES: usize = 128 << 10;

/// How many numbers of f32 attention needs, at most, beyond its input and output, on all of a worker's threads
/// together: over texts of `tokens` with so many heads, all texts' taken together.
pub(crate) fn scratch_numbers(heads: usize, head_size: usize, tokens: usize, threads: NonZeroUsize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if Vectors::detected() != Vectors::Portable {
        let (keys, scores) = packed::scratch_numbers(head_size, tokens);
        return threads.get().min(heads) * keys + threads.get() * scores;
    }
    // Scores and their softmax.
    2 * (heads * tokens * tokens).min(MAX_SCORES.max(heads * tokens))
}

/// Tokens that ask, and those that they ask: rows of two tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) queries: Range<usize>,
    pub(crate) keys: Range<usize>,
}

/// `softmax(scale q k^T + bias) v`, per head and text, in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention<'a> {
    /// How many heads.
    pub(crate) heads: usize,
    /// What scores are multiplied by: usually one over the square root of a head's width.
    pub(crate) scale: f32,
    /// A token looks at tokens at most so many tokens away on either side; `None`: at all of its text.
    pub(crate) window: Option<usize>,
    /// What is added to a score, by how far the key is after the query: `[heads, 2 x reach + 1]`, the middle
    /// one being distance 0. A reach shorter than a text's length less one is an error.
    pub(crate) bias: Option<&'a Tensor>,
}

impl Attention<'_> {
    /// `qkv` is `[tokens, 3 x heads x head size]`: all queries of a token, then its keys, then its values. `spans`
    /// says which tokens make up which text, in order and without gaps; the result is `[tokens, heads x head size]`.
    /// The texts are independent, so they are shared out to the worker's threads.
    pub(crate) fn forward(&self, qkv: &Tensor, spans: &[Range<usize>]) -> Result<Tensor> {
        #[cfg(target_arch = "x86_64")]
        if qkv.device().is_cpu() && Vectors::detected() != Vectors::Portable {
            return self.packed(qkv, spans, Vectors::detected());
        }
        self.plain(qkv, spans)
    }

    /// The same of texts that ask others: `queries` is `[tokens, heads x head size]`, and `keys_values`, `[other
    /// tokens, 2 x heads x head size]`, has all keys of a token and then its values. The spans tile both, in order.
    /// Windows and biases are for texts that ask themselves: here they are an error.
    pub(crate) fn across(&self, queries: &Tensor, keys_values: &Tensor, spans: &[Span]) -> Result<Tensor> {
        if self.window.is_some() || self.bias.is_some() {
            bail!("attention: distances between the tokens of different texts");
        }
        #[cfg(target_arch = "x86_64")]
        if queries.device().is_cpu() && Vectors::detected() != Vectors::Portable {
            return self.packed_across(queries, keys_values, spans.to_vec(), Vectors::detected());
        }
        self.plain_across(queries, keys_values, spans)
    }

    fn plain_across(&self, queries: &Tensor, keys_values: &Tensor, spans: &[Span]) -> Result<Tensor> {
        check_spans(spans, (queries.dim(0)?, keys_values.dim(0)?))?;
        let texts = spans.par_iter().map(|Span { queries: asking, keys }| {
            let queries = queries.narrow(0, asking.start, asking.len())?;
            self.text(&queries, &keys_values.narrow(0, keys.start, keys.len())?)
        });
        joined(&texts.collect::<Result<Vec<_>>>()?)
    }

    fn plain(&self, qkv: &Tensor, spans: &[Range<usize>]) -> Result<Tensor> {
        let width = qkv.dim(1)? / 3;
        let texts = spans.par_iter().map(|span| {
            let text = qkv.narrow(0, span.start, span.len())?;
            self.text(&text.narrow(1, 0, width)?, &text.narrow(1, width, 2 * width)?)
        });
        joined(&texts.collect::<Result<Vec<_>>>()?)
    }

    /// `queries` is `[tokens, width]`, `keys_values` `[other tokens, 2 x width]`.
    fn text(&self, queries: &Tensor, keys_values: &Tensor) -> Result<Tensor> {
        let ((tokens, width), others) = (queries.dims2()?, keys_values.dim(0)?);
        let head_size = width / self.heads;
        // [heads, tokens, head size], and [2, heads, other tokens, head size]: views, nothing moves.
        let q = queries.reshape((tokens, self.heads, head_size))?.transpose(0, 1)?;
        let kv = keys_values.reshape((others, 2, self.heads, head_size))?.permute((1, 2, 0, 3))?;
        let (k, v) = (kv.get(0)?.t()?, kv.get(1)?);
        let block = (MAX_SCORES / (self.heads * others)).max(1);
        let blocks = (0..tokens).step_by(block).map(|start| {
            let queries = start..(start + block).min(tokens);
            let q = q.narrow(1, start, queries.len())?;
            // [heads, queries, other tokens]
            let scores = self.biased(q.matmul(&k)?.affine(f64::from(self.scale), 0.0)?, queries)?;
            // [queries, heads x head size]
            softmax_last_dim(&scores)?.matmul(&v)?.transpose(0, 1)?.flatten_from(1)
        });
        joined(&blocks.collect::<Result<Vec<_>>>()?)
    }

    /// `scores` is `[heads, queries, tokens]`.
    fn biased(&self, mut scores: Tensor, queries: Range<usize>) -> Result<Tensor> {
        let (_, rows, tokens) = scores.dims3()?;
        if let Some(bias) = self.bias {
            let reach = (bias.dim(1)? - 1) / 2;
            let distances = queries.clone().flat_map(|i| (0..tokens).map(move |j| (reach + j - i) as u32));
            let distances = Tensor::from_vec(distances.collect(), rows * tokens, &Device::Cpu)?;
            let bias = bias.index_select(&distances.to_device(bias.device())?, 1)?;
            scores = (scores + bias.reshape((self.heads, rows, tokens))?)?;
        }
        if let Some(window) = self.window.filter(|window| *window < tokens) {
            let seen = |i: usize, j: usize| if i.abs_diff(j) <= window { 0f32 } else { f32::NEG_INFINITY };
            let mask = queries.flat_map(|i| (0..tokens).map(move |j| seen(i, j)));
            let mask = Tensor::from_vec(mask.collect(), (rows, tokens), scores.device())?;
            scores = scores.broadcast_add(&mask)?;
        }
        Ok(scores)
    }
}

fn joined(parts: &[Tensor]) -> Result<Tensor> {
    match parts {
        [only] => Ok(only.clone()),
        parts => Tensor::cat(parts, 0),
    }
}

/// `count` texts of `length` tokens each, one after the other.
pub(crate) fn equal_spans(count: usize, length: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..count).map(move |text| text * length..(text + 1) * length)
}

/// Refuses spans that do not tile so many tokens that ask and that are asked.
fn check_spans(spans: &[Span], rows: (usize, usize)) -> Result<()> {
    let mut end = (0, 0);
    for Span { queries, keys } in spans {
        if (queries.start, keys.start) != end || queries.is_empty() || keys.is_empty() {
            bail!(
                "attention: texts must follow each other, and {queries:?} of {keys:?} does not follow {end:?}"
            );
        }
        end = (queries.end, keys.end);
    }
    if end != rows {
        bail!("attention: texts of {end:?} tokens in all, and {rows:?} rows");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one text is a span like any other")]
mod tests {
    use super::*;

    fn full(heads: usize) -> Attention<'static> {
        Attention { heads, scale: 1.0, window: None, bias: None }
    }

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

    /// Three texts, whose heads are `size` wide.
    fn texts(heads: usize, size: usize) -> Result<(Tensor, [Range<usize>; 3])> {
        Ok((Tensor::randn(0f32, 1.0, (140, 3 * heads * size), &Device::Cpu)?, [0..2, 2..3, 3..140]))
    }

    #[test]
    fn each_text_attends_to_itself_alone() -> Result<()> {
        let heads = 2;
        for size in [1, 3, 32, 40] {
            let (qkv, spans) = texts(heads, size)?;
            let rows = qkv.to_vec2::<f32>()?;
            let expected: Vec<_> =
                spans.iter().flat_map(|span| by_hand(&rows[span.clone()], heads)).collect();
            for got in [full(heads).forward(&qkv, &spans)?, full(heads).plain(&qkv, &spans)?] {
                let got = got.to_vec2::<f32>()?;
                for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
                    assert!((got - expected).abs() < 2e-5, "heads of {size}: {got} is not {expected}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn windows_and_biases_agree_with_the_plain_form() -> Result<()> {
        let bias = Tensor::randn(0f32, 1.0, (4, 2 * 150 + 1), &Device::Cpu)?;
        for (window, bias) in [(Some(0), None), (Some(5), None), (Some(64), Some(&bias)), (None, Some(&bias))]
        {
            for size in [8, 64] {
                let (qkv, spans) = texts(4, size)?;
                let attention = Attention { heads: 4, scale: 0.3, window, bias };
                let off = (attention.forward(&qkv, &spans)? - attention.plain(&qkv, &spans)?)?;
                let off = off.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(off < 2e-5, "window {window:?}, heads of {size}: off by {off}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_text_has_the_same_bits_alone_and_in_company() -> Result<()> {
        let (qkv, spans) = texts(3, 16)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let together = pool.install(|| full(3).forward(&qkv, &spans))?.to_vec2::<f32>()?;
        for span in spans {
            let alone = full(3).forward(&qkv.narrow(0, span.start, span.len())?, &[0..span.len()])?;
            assert_eq!(alone.to_vec2::<f32>()?, together[span]);
        }
        Ok(())
    }

    #[test]
    fn texts_that_ask_others_agree_with_the_plain_form() -> Result<()> {
        let spans = [(0..5, 0..77), (5..6, 77..78), (6..300, 78..155)];
        let spans = spans.map(|(queries, keys)| Span { queries, keys });
        for (heads, size) in [(1, 7), (2, 40), (5, 64)] {
            let q = Tensor::randn(0f32, 1.0, (300, heads * size), &Device::Cpu)?;
            let kv = Tensor::randn(0f32, 1.0, (155, 2 * heads * size), &Device::Cpu)?;
            let attention = Attention { scale: 0.3, ..full(heads) };
            let got = attention.across(&q, &kv, &spans)?;
            let off = (got - attention.plain_across(&q, &kv, &spans)?)?.abs()?.max_all()?;
            assert!(off.to_scalar::<f32>()? < 2e-5, "{heads} heads of {size}: off by {off}");
            assert!(attention.across(&q, &kv, &spans[..2]).is_err());
            assert!(Attention { window: Some(3), ..attention }.across(&q, &kv, &spans).is_err());
        }
        Ok(())
    }

    #[test]
    fn few_heads_use_all_threads_to_the_same_bits() -> Result<()> {
        let qkv = Tensor::randn(0f32, 1.0, (200, 3 * 48), &Device::Cpu)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let spread = pool.install(|| full(1).forward(&qkv, &[0..200]))?.to_vec2::<f32>()?;
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(single.install(|| full(1).forward(&qkv, &[0..200]))?.to_vec2::<f32>()?, spread);
        Ok(())
    }

    #[test]
    fn texts_must_tile_the_rows_and_a_bias_must_reach() -> Result<()> {
        let (qkv, _) = texts(2, 4)?;
        for spans in [vec![0..139], vec![0..10, 11..140], vec![0..141], vec![]] {
            assert!(full(2).forward(&qkv, &spans).is_err(), "{spans:?}");
        }
        let bias = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu)?;
        assert!(Attention { bias: Some(&bias), ..full(2) }.forward(&qkv, &[0..140]).is_err());
        Ok(())
    }

    #[test]
    fn blocks_of_queries_do_not_change_the_result() -> Result<()> {
        // 2 heads x 1600^2 scores are twenty times what one block holds.
        let qkv = Tensor::randn(0f32, 1.0, (1600, 12), &Device::Cpu)?;
        let expected = by_hand(&qkv.to_vec2::<f32>()?, 2);
        for got in [full(2).plain(&qkv, &[0..1600])?, full(2).forward(&qkv, &[0..1600])?] {
            let got = got.narrow(0, 1590, 10)?.to_vec2::<f32>()?;
            for (got, expected) in got.iter().flatten().zip(expected[1590..].iter().flatten()) {
                assert!((got - expected).abs() < 1e-4, "{got} is not {expected}");
            }
        }
        Ok(())
    }
}
