//! Tensors in, tensors out.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::output::{Data, HEAD_LENGTH, Output, answer, check};
use super::parameters::terms;
use super::path::Action;
use super::plan::Work;
use super::signature::Signature;
use super::tensor::Asked;
use crate::capability::{DescribeRequest, Drawing};
use crate::engine::Capabilities;
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::arrival::Arrival;
use crate::server::generation::Generation;
use crate::server::in_flight::Tracked;
use crate::server::json_body::read_as;
use crate::server::many::answer_all_on;
use crate::server::terms::Terms;

/// How many texts that came as one request are written at once, at most.
const WRITTEN_AT_ONCE: usize = 64;

/// Answers one request for tensors.
pub(super) async fn infer(arrival: &Arrival, model: &str, request: Request) -> Result<Response, ApiError> {
    let app = &arrival.app;
    let key = app.find(Some(model), &Capabilities::ALL)?;
    let tracked = arrival.track_at(Action::Infer.endpoint(), &key);
    let work = async {
        let head = head_length(request.headers())?;
        let depth = app.config().limits.depth;
        let mut asked = read_as(request, app, move |body| Asked::read(body, head, depth)).await?;
        let can = app.abilities(&key);
        check(&asked, &Signature::of(&can, None).output_names())?;
        let terms = terms(Terms::of(app), &asked.parameters)?;
        let inputs = std::mem::take(&mut asked.inputs);
        let work = Work::plan(&can, inputs, &asked.parameters)?;
        let output = carry_out(app, &key, work, terms, &tracked).await?;
        Ok(answer(model, &asked, &output))
    };
    tracked.run(work).await
}

/// How many bytes of the body are JSON, if the request says so.
fn head_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(length) = headers.get(HEAD_LENGTH) else { return Ok(None) };
    let read = length.to_str().ok().and_then(|length| length.parse().ok());
    let wrong = || ApiError::invalid("Inference-Header-Content-Length", "it is no number of bytes");
    read.ok_or_else(wrong).map(Some)
}

async fn carry_out(
    app: &App,
    key: &str,
    work: Work,
    terms: Terms,
    tracked: &Tracked,
) -> Result<Output, ApiError> {
    let engine = app.engine();
    match work {
        Work::EmbedTexts(requests) => {
            let all = answer_all_on(terms, engine.text_embedding(), key, requests.into_iter()).await?;
            vectors(all.into_iter().map(|embedding| embedding.values))
        }
        Work::EmbedImages(requests) => {
            let all = answer_all_on(terms, engine.image_embedding(), key, requests.into_iter()).await?;
            vectors(all.into_iter().map(|vector| vector.values))
        }
        Work::Write(requests) => {
            let texts = write(app, key, requests, terms, tracked).await?;
            Ok(Output { name: "text_output", shape: vec![texts.len()], data: Data::Texts(texts) })
        }
        Work::Draw(requests) => {
            pixels(answer_all_on(terms, engine.text_to_image(), key, requests.into_iter()).await?)
        }
    }
}

/// Vectors of one length, one below the other.
fn vectors(rows: impl ExactSizeIterator<Item = Vec<f32>>) -> Result<Output, ApiError> {
    let count = rows.len();
    let all: Vec<f32> = rows.flatten().collect();
    let dimensions = all.len() / count.max(1);
    if dimensions * count != all.len() {
        return Err(ragged());
    }
    Ok(Output { name: "embedding", shape: vec![count, dimensions], data: Data::Floats(all) })
}

/// Pictures of one size, one after the other.
fn pixels(drawings: Vec<Drawing>) -> Result<Output, ApiError> {
    let pictures: Vec<_> = drawings.into_iter().flat_map(|drawing| drawing.pictures).collect();
    let pixels = |side: u32| usize::try_from(side).unwrap_or(usize::MAX);
    let size = pictures.first().map(|first| (first.width, first.height)).unwrap_or_default();
    if pictures.iter().any(|picture| (picture.width, picture.height) != size) {
        return Err(ragged());
    }
    let shape = vec![pictures.len(), pixels(size.1), pixels(size.0), 3];
    let rgb = pictures.into_iter().flat_map(|picture| picture.rgb).collect();
    Ok(Output { name: "image", shape, data: Data::Bytes(rgb) })
}

/// Rows of one tensor that are not of one length.
fn ragged() -> ApiError {
    let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
    ApiError::new(status, "the model's answers are not of one size").code("model_error")
}

async fn write(
    app: &App,
    key: &str,
    requests: Vec<DescribeRequest>,
    terms: Terms,
    tracked: &Tracked,
) -> Result<Vec<String>, ApiError> {
    let written = async |request| {
        let completion = Generation::start_on(app, key, request, terms).await?.finish().await?;
        tracked.advance(completion.completion_tokens() as u64);
        Ok(completion.choices.into_iter().next().map(|choice| choice.text).unwrap_or_default())
    };
    stream::iter(requests).map(written).buffered(at_once(app, key)).try_collect().await
}

/// How many texts are written at once: no more than may wait for the model, for none is to crowd out another.
fn at_once(app: &App, key: &str) -> usize {
    let engine = app.engine();
    let settings = [engine.text_to_text().key_config(key), engine.vision().key_config(key)];
    let rooms = settings.into_iter().flatten().map(|settings| settings.queue_capacity);
    rooms.filter(|room| *room > 0).fold(WRITTEN_AT_ONCE, usize::min)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::capability::DrawnPicture;

    #[test]
    fn answers_of_one_size_are_one_tensor() {
        let all = vectors([vec![1.0, 2.0], vec![3.0, 4.0], vec![5.0, 6.0]].into_iter()).unwrap();
        assert_eq!(all.shape, [3, 2]);
        assert!(vectors([vec![1.0], vec![3.0, 4.0]].into_iter()).is_err());
        let drawn = |width, height| Drawing {
            pictures: vec![DrawnPicture { width, height, rgb: vec![7; (width * height * 3) as usize] }],
            seed: 1,
            truncated: false,
        };
        assert_eq!(pixels(vec![drawn(4, 2), drawn(4, 2)]).unwrap().shape, [2, 2, 4, 3]);
        assert!(pixels(vec![drawn(4, 2), drawn(2, 4)]).is_err());
    }

    #[test]
    fn the_length_of_the_head_is_a_number() {
        let read = |text: &'static str| {
            head_length(&HeaderMap::from_iter([(HEAD_LENGTH, HeaderValue::from_static(text))]))
        };
        assert_eq!(read("12"), Ok(Some(12)));
        assert_eq!(head_length(&HeaderMap::new()), Ok(None));
        for wrong in ["-1", "", "x", "99999999999999999999999", "1.5"] {
            assert_eq!(read(wrong).unwrap_err().status.as_u16(), 400, "{wrong}");
        }
    }
}
