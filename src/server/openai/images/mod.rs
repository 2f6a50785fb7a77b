//! `POST /v1/images/generations`.
//!
//! Beside OpenAI's fields there are `seed`, `steps`, `guidance_scale` and `negative_prompt`. What is drawn comes as
//! base64 in the answer; a stream has up to `partial_images` pictures on the way. `quality`, `style` and `moderation`
//! are hints to models that are not here, and change nothing.

mod request;

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use request::ImagesRequest;
use serde::Serialize;
use tokio::time::timeout;

use super::now;
use crate::capability::{DenoisingStep, Drawing, DrawnPicture, TextToImage};
use crate::engine::Capabilities;
use crate::image::{Encoding, Picture, encode};
use crate::pool::Ticket;
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::arrival::Arrival;
use crate::server::in_flight::Tracked;
use crate::server::json_body::JsonBody;
use crate::server::sse::{self, Writer};
use crate::server::terms::Terms;

pub(super) fn routes() -> axum::Router<App> {
    axum::Router::new().route("/v1/images/generations", post(draw))
}

/// How an answer is to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Manner {
    encoding: Encoding,
    /// At most so many pictures on the way, of a stream.
    stream: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Drawn {
    created: u64,
    data: Vec<OneDrawn>,
    size: String,
    output_format: &'static str,
    /// Ours: draws the same again.
    seed: u64,
}

#[derive(Debug, Serialize)]
struct OneDrawn {
    b64_json: String,
}

/// An event of a stream.
#[derive(Debug, Serialize)]
struct Event {
    r#type: &'static str,
    b64_json: String,
    created_at: u64,
    size: String,
    output_format: &'static str,
    /// Counts those on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_image_index: Option<u32>,
}

async fn draw(arrival: Arrival, JsonBody(request): JsonBody<ImagesRequest>) -> Result<Response, ApiError> {
    let app = &arrival.app;
    let key = app.find(request.model(), &[Capabilities::TextToImage])?;
    let (request, manner) = request.read()?;
    let tracked = arrival.track(&key);
    let mut ticket = Terms::of(app).hand_in(app.engine().text_to_image(), &key, request).map_err(as_said)?;
    if let Some(most) = manner.stream {
        let keep_alive = app.config().keep_alive;
        let begun = tracked.run(begun(ticket, keep_alive)).await.map_err(as_said)?;
        return Ok(sse::events(keep_alive, move |writer| async move {
            let telling = tell(&writer, manner.encoding, most, begun, &tracked);
            if let Err(error) = tracked.run(telling).await {
                writer.error(&as_said(error)).await;
            }
        }));
    }
    let draw = async {
        while StreamExt::next(&mut ticket.events()).await.is_some() {
            tracked.advance(1);
        }
        let drawing = ticket.await.map_err(as_said)?;
        let size = drawing.pictures.first().map(size_of).unwrap_or_default();
        let mut data = Vec::with_capacity(drawing.pictures.len());
        for picture in drawing.pictures {
            data.push(OneDrawn { b64_json: written(picture, manner.encoding).await? });
        }
        let output_format = format_of(manner.encoding);
        Ok(Json(Drawn { created: now(), data, size, output_format, seed: drawing.seed }).into_response())
    };
    tracked.run(draw).await
}

/// A drawing that has begun, and its first step if that did not take too long.
enum Begun {
    UnderWay { first: Option<DenoisingStep>, ticket: Ticket<TextToImage> },
    Done(Drawing),
}

/// Awaits the first step, for so long as `patience`: what fails before it can still be told by a status.
async fn begun(mut ticket: Ticket<TextToImage>, patience: Duration) -> Result<Begun, ApiError> {
    match timeout(patience, StreamExt::next(&mut ticket.events())).await {
        Ok(None) => Ok(Begun::Done(ticket.await?)),
        Ok(first) => Ok(Begun::UnderWay { first, ticket }),
        Err(_) => Ok(Begun::UnderWay { first: None, ticket }),
    }
}

/// Tells up to `most` pictures on the way, and then what is drawn.
async fn tell(
    writer: &Writer,
    encoding: Encoding,
    most: u32,
    begun: Begun,
    tracked: &Tracked,
) -> Result<(), ApiError> {
    let drawing = match begun {
        Begun::Done(drawing) => drawing,
        Begun::UnderWay { first, mut ticket } => {
            let (mut told, mut ahead) = (0, first);
            while let Some(step) = next_step(&mut ahead, &mut ticket).await {
                tracked.advance(1);
                let last = step.step >= step.of;
                for picture in step.preview.into_iter().take(usize::from(told < most && !last)) {
                    let r#type = "image_generation.partial_image";
                    event(writer, r#type, picture, encoding, Some(told)).await?;
                    told += 1;
                }
            }
            ticket.await?
        }
    };
    for picture in drawing.pictures {
        event(writer, "image_generation.completed", picture, encoding, None).await?;
    }
    writer.done().await;
    Ok(())
}

/// The step that has come already, or the next.
async fn next_step(
    ahead: &mut Option<DenoisingStep>,
    ticket: &mut Ticket<TextToImage>,
) -> Option<DenoisingStep> {
    match ahead.take() {
        Some(step) => Some(step),
        None => StreamExt::next(&mut ticket.events()).await,
    }
}

async fn event(
    writer: &Writer,
    r#type: &'static str,
    picture: DrawnPicture,
    encoding: Encoding,
    partial_image_index: Option<u32>,
) -> Result<(), ApiError> {
    let (created_at, output_format) = (now(), format_of(encoding));
    let size = size_of(&picture);
    let b64_json = written(picture, encoding).await?;
    writer
        .named(r#type, &Event { r#type, b64_json, created_at, size, output_format, partial_image_index })
        .await;
    Ok(())
}

fn size_of(picture: &DrawnPicture) -> String {
    format!("{}x{}", picture.width, picture.height)
}

fn format_of(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Jpeg { .. } => "jpeg",
        Encoding::WebP => "webp",
        _ => "png",
    }
}

/// The picture's file as base64; compressing takes a while, so it is done where that delays nobody.
async fn written(picture: DrawnPicture, encoding: Encoding) -> Result<String, ApiError> {
    let write = move || {
        let DrawnPicture { width, height, rgb } = picture;
        Picture::new(width, height, rgb)
            .and_then(|picture| encode(&picture, encoding))
            .map(|file| STANDARD.encode(file))
    };
    let written = tokio::task::spawn_blocking(write).await?;
    written.map_err(|error| ApiError::invalid("output_format", error.to_string()))
}

/// The error with the name that the wrong field has in a request to this endpoint.
fn as_said(error: impl Into<ApiError>) -> ApiError {
    let mut error = error.into();
    if error.param.as_deref() == Some("guidance") {
        error.param = Some("guidance_scale".to_owned());
    }
    error
}
