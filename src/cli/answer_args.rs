//! The arguments that say how an answer is written.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::files::read_json;
use crate::capability::{GenerateRequest, ResponseFormat, SamplingOptions};

/// How the answer is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "The answer")]
pub(super) struct AnswerArgs {
    /// Write at most so many tokens. Default: 256, or half of what the model reads if that is less.
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// 0 takes the likeliest token always; 1 draws as the model learnt; more is wilder.
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from the likeliest tokens that together have this probability.
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f32,
    /// Draw from so many of the likeliest tokens. Default: from all.
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw from tokens with at least this share of the likeliest one's probability.
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Over 1 discourages what the prompt or the answer has already.
    #[arg(
        long,
        alias = "repetition-penalty",
        value_name = "R",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    repeat_penalty: f32,
    /// Taken off each token that the answer has already.
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Taken off each token that the answer has already, as many times.
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// The same seed draws the same answer. Default: another one each time.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// End before this text; may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Answer with JSON that the JSON schema in this file accepts.
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
}

impl AnswerArgs {
    /// Says it of `request`, to a model that reads `context` tokens.
    pub(super) fn apply(
        &self,
        mut request: GenerateRequest,
        context: usize,
    ) -> Result<GenerateRequest, Failure> {
        let most = GenerateRequest::new(request.prompt.clone()).max_tokens;
        request.max_tokens = self.max_tokens.unwrap_or_else(|| most.min(context / 2).max(1));
        request.sampling = self.sampling();
        request.stop.clone_from(&self.stop);
        if let Some(path) = &self.json_schema {
            request.response_format = ResponseFormat::JsonSchema(read_json(path)?);
        }
        Ok(request)
    }

    fn sampling(&self) -> SamplingOptions {
        let mut sampling = SamplingOptions::with_temperature(self.temperature);
        sampling.top_p = self.top_p;
        sampling.top_k = self.top_k;
        sampling.min_p = self.min_p;
        sampling.repetition_penalty = self.repeat_penalty;
        sampling.presence_penalty = self.presence_penalty;
        sampling.frequency_penalty = self.frequency_penalty;
        sampling.seed = self.seed;
        sampling
    }
}
