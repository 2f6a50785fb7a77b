//! Tiny random encoders compute what transformers computes with them.

use candle_core::Result;

use super::{T5Config, T5Encoder};
use crate::arch::example::{Example, off};

fn encoder(example: &Example) -> T5Encoder {
    let config = T5Config::read(&example.folder).unwrap();
    example.model(|root| T5Encoder::load(root, &config)).unwrap()
}

fn ids(example: &Example) -> Vec<Vec<u32>> {
    let ids = example.tensor("ids").to_vec2::<i64>().unwrap();
    ids.into_iter().map(|text| text.into_iter().map(|id| id as u32).collect()).collect()
}

#[test]
fn texts_are_read_as_the_reference_reads_them() -> Result<()> {
    for name in ["t5", "t5-relu"] {
        let example = Example::of(&format!("diffusion_transformer/{name}"));
        let got = encoder(&example).forward(&ids(&example))?;
        let off = off(&got, example.tensor("output"))?;
        assert!(off < 1e-4, "{name} is off by {off}");
    }
    Ok(())
}

#[test]
fn a_text_has_the_same_bits_alone_and_in_company() -> Result<()> {
    let example = Example::of("diffusion_transformer/t5");
    let (encoder, ids) = (encoder(&example), ids(&example));
    let together = encoder.forward(&ids)?.to_vec2::<f32>()?;
    let alone = encoder.forward(&ids[1..])?.to_vec2::<f32>()?;
    assert_eq!(together[150..], alone);
    Ok(())
}

#[test]
fn texts_of_no_length_or_several_or_unknown_tokens_are_errors() {
    let example = Example::of("diffusion_transformer/t5");
    let encoder = encoder(&example);
    for texts in [vec![], vec![vec![]], vec![vec![2], vec![2, 3]], vec![vec![2; 513]], vec![vec![60]]] {
        assert!(encoder.forward(&texts).is_err(), "{texts:?}");
    }
}
