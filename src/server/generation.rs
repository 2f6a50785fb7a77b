//! A text that is being written, by whichever pool can write it.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use tokio::time::timeout;

use super::api_error::ApiError;
use super::app::App;
use super::terms::Terms;
use crate::capability::{DescribeRequest, ResponseFormat, TextCompletion, TextToText, Token, Vision};
use crate::engine::Capabilities;
use crate::pool::{PoolError, Ticket};

/// A text that is being written. Dropping it cancels it.
#[derive(Debug)]
#[must_use = "dropping it cancels it"]
pub(super) struct Generation {
    way: Way,
    /// A token that has come already.
    ahead: Option<Token>,
}

#[derive(Debug)]
enum Way {
    Text(Ticket<TextToText>),
    Vision(Ticket<Vision>),
    Ended(Box<TextCompletion>),
}

impl Generation {
    /// What a model must be able to do to answer a conversation that shows pictures, or one that shows none.
    pub(super) fn wanted(images: bool) -> &'static [Capabilities] {
        if images { &[Capabilities::Vision] } else { &[Capabilities::TextToText, Capabilities::Vision] }
    }

    /// Asks the model `key`: as one that writes if it can and there are no pictures, else as one that sees.
    pub(super) async fn start(app: &App, key: &str, request: DescribeRequest) -> Result<Self, ApiError> {
        Self::start_on(app, key, request, Terms::of(app)).await
    }

    /// [`start`](Self::start), on terms of its caller's.
    pub(super) async fn start_on(
        app: &App,
        key: &str,
        request: DescribeRequest,
        terms: Terms,
    ) -> Result<Self, ApiError> {
        // A form is compiled before it is accepted, which may take a while.
        if request.generate.response_format == ResponseFormat::Text {
            return Ok(submit(app, key, request, terms)?);
        }
        let (app, key) = (app.clone(), key.to_owned());
        Ok(tokio::task::spawn_blocking(move || submit(&app, &key, request, terms)).await??)
    }

    /// Awaits the first token, for so long as `patience`: what fails before it can still be told by a status, and a
    /// stream need not begin.
    pub(super) async fn opened(mut self, patience: Duration) -> Result<Self, ApiError> {
        match timeout(patience, self.next()).await {
            Ok(Some(token)) => Ok(Self { ahead: Some(token), ..self }),
            Ok(None) => Ok(Self { way: Way::Ended(Box::new(self.finish().await?)), ahead: None }),
            Err(_) => Ok(self),
        }
    }

    /// The next token; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Token> {
        if let Some(token) = self.ahead.take() {
            return Some(token);
        }
        match &mut self.way {
            Way::Text(ticket) => poll_fn(|context| Pin::new(&mut ticket.events()).poll_next(context)).await,
            Way::Vision(ticket) => poll_fn(|context| Pin::new(&mut ticket.events()).poll_next(context)).await,
            Way::Ended(_) => None,
        }
    }

    /// The whole answer. Tokens that have not been taken are in it.
    pub(super) async fn finish(self) -> Result<TextCompletion, ApiError> {
        Ok(match self.way {
            Way::Text(ticket) => ticket.await?,
            Way::Vision(ticket) => ticket.await?,
            Way::Ended(completion) => *completion,
        })
    }
}

impl From<Way> for Generation {
    fn from(way: Way) -> Self {
        Self { way, ahead: None }
    }
}

fn submit(app: &App, key: &str, request: DescribeRequest, terms: Terms) -> Result<Generation, PoolError> {
    let engine = app.engine();
    if request.images.is_empty() && app.can(key, Capabilities::TextToText) {
        let ticket = terms.hand_in(engine.text_to_text(), key, request.generate)?;
        return Ok(Way::Text(ticket).into());
    }
    Ok(Way::Vision(terms.hand_in(engine.vision(), key, request)?).into())
}
