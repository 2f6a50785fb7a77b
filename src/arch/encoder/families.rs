//! Which family's `config.json` it is.

use super::bert::BertConfig;
use super::config::EncoderConfig;
use super::distilbert::DistilBertConfig;
use super::modernbert::ModernBertConfig;
use super::mpnet::MpNetConfig;
use super::nomic_bert::NomicBertConfig;
use crate::arch::{ArchError, Architecture, read_required};
use crate::weights::ModelFolder;

impl EncoderConfig {
    /// Reads `config.json` of a network of `family`; `None` for families that are no encoders.
    pub(crate) fn read(folder: &ModelFolder, family: Architecture) -> Result<Option<Self>, ArchError> {
        const FILE: &str = "config.json";
        Ok(Some(match family {
            Architecture::Bert => read_required::<BertConfig>(folder, FILE)?.bert()?,
            Architecture::Roberta | Architecture::XlmRoberta | Architecture::Camembert => {
                read_required::<BertConfig>(folder, FILE)?.roberta(family)?
            }
            Architecture::DistilBert => read_required::<DistilBertConfig>(folder, FILE)?.lower()?,
            Architecture::MpNet => read_required::<MpNetConfig>(folder, FILE)?.lower()?,
            Architecture::ModernBert => read_required::<ModernBertConfig>(folder, FILE)?.lower()?,
            Architecture::NomicBert => read_required::<NomicBertConfig>(folder, FILE)?.lower()?,
            _ => return Ok(None),
        }))
    }
}
