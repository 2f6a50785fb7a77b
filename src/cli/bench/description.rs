//! Pictures to describe.

use std::sync::atomic::AtomicBool;

use super::pictures::noise;
use super::round::{Sample, Subject, followed, never_ending};
use crate::arch::VisionPlan;
use crate::capability::{Chat, DescribeRequest, GenerateRequest, Message, Prompt, Vision};
use crate::cli::failure::Failure;
use crate::pool::Pool;

/// What is asked of each picture.
pub(super) const QUESTION: &str = "What is in this picture?";

/// Pictures of noise, each a new one, for a model that sees and writes.
pub(super) struct Questions<'a> {
    pool: &'a Pool<Vision>,
    key: &'a str,
    generate: GenerateRequest,
}

impl<'a> Questions<'a> {
    pub(super) fn new(pool: &'a Pool<Vision>, key: &'a str, plan: &VisionPlan, tokens: usize) -> Self {
        let prompt = if plan.has_chat_template() {
            Prompt::Chat(Chat::new(vec![Message::user(QUESTION)]))
        } else {
            Prompt::Raw(QUESTION.to_owned())
        };
        let mut generate = GenerateRequest::new(prompt).max_tokens(tokens);
        never_ending(&mut generate, plan.ending_tokens());
        Self { pool, key, generate }
    }
}

impl Subject for Questions<'_> {
    fn ask(&self, number: usize, stop: &AtomicBool) -> Result<Sample, Failure> {
        let request = DescribeRequest::new(vec![noise(number)], self.generate.clone());
        followed(stop, || Ok(self.pool.submit(self.key, request)?))
    }
}
