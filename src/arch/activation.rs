//! What `config.json` calls the functions between two linear layers.

use super::ArchError;
use super::bounds::not_supported;
use crate::kernels::Activation;

/// The function that transformers knows by that name.
pub(crate) fn activation_called(name: &str) -> Result<Activation, ArchError> {
    const NAMES: [&str; 7] = ["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "tanh"];
    match name {
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "quick_gelu" => Ok(Activation::QuickGelu),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        "tanh" => Ok(Activation::Tanh),
        other => Err(not_supported("hidden_act", other, &NAMES)),
    }
}
