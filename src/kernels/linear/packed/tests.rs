use std::slice;

use candle_core::DType;

use super::super::tile_unit::emulated::Emulated;
use super::*;

/// bf16 weights, as they are packed and as they are: `[out, in]`, and a bias.
fn layer(inputs: usize, outputs: usize) -> Result<(Packed, Tensor, Tensor)> {
    let weight = Tensor::randn(0f32, 1.0, (outputs, inputs), &Device::Cpu)?;
    let weight = weight.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
    let bias = Tensor::randn(0f32, 1.0, outputs, &Device::Cpu)?;
    let (weights, biases) = (slice::from_ref(&weight), slice::from_ref(&bias));
    let packed = Packed::new(weights, biases, Precision::Bf16, Vectors::Avx512)?;
    Ok((packed, weight, bias))
}

/// `[rows, in]` to `[rows, out]` on the emulated unit, in tasks of so many rows and panels.
fn in_emulated_tiles(
    packed: &Packed,
    xs: &[f32],
    (row_step, panel_step): (usize, usize),
    activation: Activation,
) -> Vec<f32> {
    let Panels::Bf16(words) = &packed.panels else { panic!("panels of bf16") };
    let (rows, panels) = (xs.len() / packed.inputs, packed.bias.len() / tiles::WIDTH);
    let mut out = vec![f32::NAN; rows * packed.outputs];
    out.clear();
    let target = Output::of(&mut out);
    for row in (0..rows).step_by(row_step) {
        for panel in (0..panels).step_by(panel_step) {
            let rows = row..(row + row_step).min(rows);
            let panels = panel..(panel + panel_step).min(panels);
            let task = Task { xs, rows, panels, out: target, activation };
            packed.task_in_tiles(&mut Emulated::new(), words, task);
        }
    }
    // SAFETY: it had this length before, and all in it has been written once more.
    #[allow(unsafe_code)]
    unsafe {
        out.set_len(rows * packed.outputs);
    }
    out
}

#[test]
fn products_in_tiles_agree_with_plain_ones() -> Result<()> {
    for (inputs, outputs) in
        [(1, 1), (2, 31), (31, 16), (32, 32), (33, 33), (63, 47), (64, 64), (65, 48), (97, 100)]
    {
        let (packed, weight, bias) = layer(inputs, outputs)?;
        for rows in 1..=40 {
            let xs = Tensor::randn(0f32, 1.0, (rows, inputs), &Device::Cpu)?;
            let rounded = xs.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
            let expected = rounded.matmul(&weight.t()?)?.broadcast_add(&bias)?.gelu_erf()?;
            let xs = xs.flatten_all()?.to_vec1::<f32>()?;
            let got = in_emulated_tiles(&packed, &xs, (rows, usize::MAX), Activation::Gelu);
            for (at, (got, expected)) in got.iter().zip(expected.flatten_all()?.to_vec1::<f32>()?).enumerate()
            {
                assert!(
                    (got - expected).abs() < 2e-5,
                    "{inputs} to {outputs}, {rows} rows: {got} at {at} is {expected}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn tasks_of_any_size_give_the_same_bits_in_tiles() -> Result<()> {
    let (packed, ..) = layer(77, 101)?;
    let xs = Tensor::randn(0f32, 1.0, (71, 77), &Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let bits = |cut| {
        let results = in_emulated_tiles(&packed, &xs, cut, Activation::Identity);
        results.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let whole = bits((71, 4));
    for cut in [(1, 1), (7, 2), (16, 3), (32, 1), (33, 4)] {
        assert_eq!(bits(cut), whole, "cut {cut:?}");
    }
    Ok(())
}

#[test]
fn what_is_no_number_stays_in_its_row() -> Result<()> {
    let (packed, ..) = layer(40, 40)?;
    let mut xs = vec![1.0; 20 * 40];
    let clean = in_emulated_tiles(&packed, &xs, (20, 2), Activation::Identity);
    xs[3 * 40 + 39] = f32::NAN;
    xs[18 * 40] = f32::INFINITY;
    let got = in_emulated_tiles(&packed, &xs, (20, 2), Activation::Identity);
    for (row, (got, clean)) in got.chunks(40).zip(clean.chunks(40)).enumerate() {
        match row {
            3 => assert!(got.iter().all(|x| x.is_nan()), "{got:?}"),
            18 => assert!(got.iter().all(|x| !x.is_finite()), "{got:?}"),
            _ => assert_eq!(got, clean, "row {row}"),
        }
    }
    Ok(())
}
