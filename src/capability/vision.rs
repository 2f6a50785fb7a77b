//! Pictures and text in, text out.

use super::{Capability, GenerateRequest, ImageSource, TextCompletion, Token};

/// Answers questions about pictures.
#[derive(Clone, Copy, Debug)]
pub struct Vision;

impl Capability for Vision {
    const NAME: &'static str = "vision";
    type Request = DescribeRequest;
    type Event = Token;
    type Output = TextCompletion;
}

/// Pictures and what to say of them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DescribeRequest {
    /// The pictures, in the order in which the prompt speaks of them.
    pub images: Vec<ImageSource>,
    /// The question, and how to generate the answer.
    pub generate: GenerateRequest,
}

impl DescribeRequest {
    /// Asks `generate` about `images`.
    pub fn new(images: Vec<ImageSource>, generate: GenerateRequest) -> Self {
        Self { images, generate }
    }
}
