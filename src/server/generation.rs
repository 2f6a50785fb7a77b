//! A text that is being written, by whichever pool can write it.

use std::future::poll_fn;
use std::pin::Pin;

use futures_util::Stream;

use super::api_error::ApiError;
use super::app::App;
use crate::capability::{
    Capability, DescribeRequest, ResponseFormat, TextCompletion, TextToText, Token, Vision,
};
use crate::engine::Capabilities;
use crate::pool::{Pool, PoolError, SubmitError, SubmitOptions, Ticket};

/// A text that is being written. Dropping it cancels it.
#[derive(Debug)]
#[must_use = "dropping it cancels it"]
pub(super) struct Generation(Way);

#[derive(Debug)]
enum Way {
    Text(Ticket<TextToText>),
    Vision(Ticket<Vision>),
}

impl Generation {
    /// What a model must be able to do to answer a conversation that shows pictures, or one that shows none.
    pub(super) fn wanted(images: bool) -> &'static [Capabilities] {
        if images { &[Capabilities::Vision] } else { &[Capabilities::TextToText, Capabilities::Vision] }
    }

    /// Asks the model `key`: as one that writes if it can and there are no pictures, else as one that sees.
    pub(super) async fn start(app: &App, key: &str, request: DescribeRequest) -> Result<Self, ApiError> {
        // A form is compiled before it is accepted, which may take a while.
        if request.generate.response_format == ResponseFormat::Text {
            return Ok(submit(app, key, request)?);
        }
        let (app, key) = (app.clone(), key.to_owned());
        match tokio::task::spawn_blocking(move || submit(&app, &key, request)).await {
            Ok(submitted) => Ok(submitted?),
            Err(_) => Err(ApiError::draining()),
        }
    }

    /// The next token; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Token> {
        match &mut self.0 {
            Way::Text(ticket) => poll_fn(|context| Pin::new(&mut ticket.events()).poll_next(context)).await,
            Way::Vision(ticket) => poll_fn(|context| Pin::new(&mut ticket.events()).poll_next(context)).await,
        }
    }

    /// The whole answer. Tokens that have not been taken are in it.
    pub(super) async fn finish(self) -> Result<TextCompletion, ApiError> {
        Ok(match self.0 {
            Way::Text(ticket) => ticket.await?,
            Way::Vision(ticket) => ticket.await?,
        })
    }
}

fn submit(app: &App, key: &str, request: DescribeRequest) -> Result<Generation, PoolError> {
    let engine = app.engine();
    if request.images.is_empty() && app.can(key, Capabilities::TextToText) {
        let ticket = hand_in(app, engine.text_to_text(), key, request.generate)?;
        return Ok(Generation(Way::Text(ticket)));
    }
    Ok(Generation(Way::Vision(hand_in(app, engine.vision(), key, request)?)))
}

/// Hands a request to a pool, with the server's own limit on its time.
pub(super) fn hand_in<C: Capability>(
    app: &App,
    pool: &Pool<C>,
    key: &str,
    request: C::Request,
) -> Result<Ticket<C>, PoolError> {
    let options = SubmitOptions::new().timeout(app.config().request_timeout);
    pool.submit_with(key, request, options).map_err(SubmitError::into)
}
