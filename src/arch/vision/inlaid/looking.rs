//! A request's pictures being looked at, one view at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::plan::too_many;
use super::weights::InlaidWeights;
use crate::arch::decoder::{Inlay, InlayKey, Inlays};
use crate::arch::vision::refusal::{of_image, refused};
use crate::capability::{DescribeRequest, ModelError};
use crate::image::{DecodingRoom, PixelValues, fetch};
use crate::kernels::threads;

/// A request whose pictures are not all seen yet.
#[derive(Debug)]
pub(super) struct Looking {
    pub(super) request: DescribeRequest,
    /// What was made of the first of its pictures.
    pub(super) seen: Vec<Arc<Inlay>>,
    /// The next one, once it is decoded.
    picture: Option<Decoded>,
}

/// A picture of which some views are read.
#[derive(Debug)]
struct Decoded {
    key: InlayKey,
    shape: [usize; 2],
    views: VecDeque<PixelValues>,
    rows: Vec<f32>,
}

/// How far a request's pictures are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All are.
    Done,
    /// There is more to look at.
    More,
    /// There is no room for what was seen before other texts end.
    Waits,
}

impl Looking {
    pub(super) fn new(request: DescribeRequest) -> Self {
        Self { request, seen: Vec::new(), picture: None }
    }

    /// Looks at one view, or finds a picture that was seen before.
    ///
    /// # Errors
    ///
    /// What is wrong with a picture, or with all of them together.
    pub(super) fn go_on(
        &mut self,
        weights: &InlaidWeights,
        inlays: &mut Inlays,
    ) -> Result<Progress, ModelError> {
        let index = self.seen.len();
        if self.picture.is_none() {
            let Some(image) = self.request.images.get(index) else { return Ok(Progress::Done) };
            let (image, key) = fetch(image).map_err(|error| refused(index, &error))?;
            if let Some(inlay) = inlays.find(&key) {
                self.check_length(weights, inlay.ids.len())?;
                return Ok(self.take(inlay));
            }
            let looking = |picture| weights.plan.family.prepare(&picture);
            let prepared = DecodingRoom::default().with_picture(&image, looking);
            let prepared = prepared.map_err(|error| refused(index, &error))?;
            let prepared = prepared.map_err(|reason| of_image(index, &reason))?;
            self.check_length(weights, prepared.rows)?;
            let (shape, views) = (prepared.shape, prepared.views.into());
            let rows = Vec::with_capacity(prepared.rows * weights.plan.decoder.config.hidden_size);
            self.picture = Some(Decoded { key, shape, views, rows });
        }
        let picture = self.picture.as_mut().expect("it was just decoded, or before");
        if let Some(view) = picture.views.pop_front() {
            picture.rows.extend(see(weights, &view)?);
        }
        if !picture.views.is_empty() {
            return Ok(Progress::More);
        }
        match inlays.put(picture.key, picture.shape, std::mem::take(&mut picture.rows)) {
            Ok(inlay) => {
                self.picture = None;
                Ok(self.take(inlay))
            }
            Err(rows) => {
                picture.rows = rows;
                Ok(Progress::Waits)
            }
        }
    }

    fn take(&mut self, inlay: Arc<Inlay>) -> Progress {
        self.seen.push(inlay);
        if self.seen.len() < self.request.images.len() { Progress::More } else { Progress::Done }
    }

    /// Refuses a request of which so many more rows are too many.
    fn check_length(&self, weights: &InlaidWeights, rows: usize) -> Result<(), ModelError> {
        let before: usize = self.seen.iter().map(|inlay| inlay.ids.len()).sum();
        let most = weights.plan.decoder.max_tokens();
        let tokens = before.saturating_add(rows);
        if tokens.saturating_add(self.request.generate.least_tokens()) > most {
            return Err(too_many(tokens, most).into());
        }
        Ok(())
    }
}

/// The rows of a view, one after the other.
fn see(weights: &InlaidWeights, view: &PixelValues) -> Result<Vec<f32>, ModelError> {
    let rows =
        threads::awake(|| weights.eyes.see(view).and_then(|rows| rows.flatten_all()?.to_vec1::<f32>()));
    let rows = rows.map_err(ModelError::failed)?;
    if rows.iter().all(|number| number.is_finite()) {
        return Ok(rows);
    }
    Err(ModelError::Numeric("what was made of a picture has a number that is not finite".to_owned()))
}
