//! How much of the picture is left at each of the times that a network was trained on.
//!
//! The tables are in f32, made in the order in which the reference makes them: what is left at the last times is the
//! small difference of large numbers, in which a more exact table would be another one.

/// How noise grows with time.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Growth {
    /// From one share to another in even steps.
    Linear { from: f64, to: f64 },
    /// Likewise, of the shares' roots.
    ScaledLinear { from: f64, to: f64 },
    /// So that what is left of the picture follows a squared cosine.
    SquaredCosine,
    /// As listed.
    Listed(Vec<f32>),
}

/// The share of noise that each of `times` steps adds: `[times]`.
fn betas(growth: &Growth, times: usize) -> Vec<f32> {
    match growth {
        Growth::Linear { from, to } => evenly(*from as f32, *to as f32, times),
        Growth::ScaledLinear { from, to } => {
            let roots = evenly(from.sqrt() as f32, to.sqrt() as f32, times);
            roots.into_iter().map(|root| root * root).collect()
        }
        Growth::SquaredCosine => {
            let left = |time: usize| {
                let place = (time as f64 / times as f64 + 0.008) / 1.008;
                (place * std::f64::consts::FRAC_PI_2).cos().powi(2)
            };
            (0..times).map(|time| (1.0 - left(time + 1) / left(time)).min(0.999) as f32).collect()
        }
        Growth::Listed(betas) => betas.clone(),
    }
}

/// The variance of the picture in what the network sees at each of `times`; that of noise is the rest: `[times]`.
/// With `to_nothing` the betas are stretched so that the last time is pure noise (Lin et al., arXiv 2305.08891).
pub(super) fn shares(growth: &Growth, times: usize, to_nothing: bool) -> Vec<f32> {
    let betas = betas(growth, times);
    let shares = products(betas.into_iter().map(|beta| 1.0 - beta));
    if to_nothing { stretched(&shares) } else { shares }
}

fn stretched(shares: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = shares.iter().map(|share| share.sqrt()).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let stretch = first / (first - last);
    let shares: Vec<f32> = roots.into_iter().map(|root| ((root - last) * stretch).powi(2)).collect();
    let steps = shares.windows(2).map(|pair| pair[1] / pair[0]);
    let alphas = std::iter::once(shares[0]).chain(steps);
    products(alphas.map(|alpha| 1.0 - (1.0 - alpha)))
}

fn products(alphas: impl Iterator<Item = f32>) -> Vec<f32> {
    let products = alphas.scan(1.0f64, |product, alpha| {
        *product *= f64::from(alpha);
        Some(*product as f32)
    });
    products.collect()
}

/// `count` numbers `from` one `to` another, from both ends towards the middle.
fn evenly(from: f32, to: f32, count: usize) -> Vec<f32> {
    let step = (to - from) / (count.max(2) - 1) as f32;
    let number = |at: usize| {
        if at < count / 2 { from + step * at as f32 } else { to - step * (count - 1 - at) as f32 }
    };
    (0..count).map(number).collect()
}

/// How many times as strong as the picture noise is, by a share of the picture.
pub(super) fn noise_level(share: f32) -> f32 {
    ((1.0 - share) / share).sqrt()
}
