//! From "a batch in, a batch out" to a stepped model.

use super::{Capability, Capacity, JobContext, Model, ModelError, Outbox, Slot};

/// A model that answers a whole batch at once.
pub trait BatchModel<C: Capability> {
    /// How large a batch may be. Default: one request.
    fn capacity(&self) -> Capacity {
        Capacity::default()
    }

    /// Answers every request, in order. An error for the batch as a whole is no verdict on any one request:
    /// each is then tried alone, once.
    fn run(&mut self, batch: &[C::Request]) -> Result<Vec<Result<C::Output, ModelError>>, ModelError>;
}

/// Serves a [`BatchModel`] step by step: what was admitted since the last step is the next batch.
#[derive(Debug)]
pub struct Batched<C: Capability, M> {
    model: M,
    slots: Vec<Slot>,
    requests: Vec<C::Request>,
}

impl<C: Capability, M: BatchModel<C>> Batched<C, M> {
    /// Wraps `model`.
    pub fn new(model: M) -> Self {
        Self { model, slots: Vec::new(), requests: Vec::new() }
    }

    fn run(&mut self, requests: &[C::Request]) -> Result<Vec<Result<C::Output, ModelError>>, ModelError> {
        let results = self.model.run(requests)?;
        if results.len() == requests.len() {
            return Ok(results);
        }
        Err(ModelError::failed(format!(
            "the model gave {} answers to {} requests",
            results.len(),
            requests.len()
        )))
    }
}

impl<C: Capability, M: BatchModel<C>> Model<C> for Batched<C, M> {
    fn capacity(&self) -> Capacity {
        self.model.capacity()
    }

    fn admit(&mut self, slot: Slot, request: C::Request, _: &JobContext) -> Result<(), ModelError> {
        self.slots.push(slot);
        self.requests.push(request);
        Ok(())
    }

    fn step(&mut self, out: &mut Outbox<C>) -> Result<(), ModelError> {
        let slots = std::mem::take(&mut self.slots);
        let requests = std::mem::take(&mut self.requests);
        let results = match self.run(&requests) {
            Ok(results) => results,
            Err(error) if requests.len() <= 1 => slots.iter().map(|_| Err(error.clone())).collect(),
            // One bad request must not fail its neighbours: the batch said no, so each is asked alone.
            Err(_) => requests
                .iter()
                .map(|request| {
                    self.run(std::slice::from_ref(request))?.pop().expect("one answer to one request")
                })
                .collect(),
        };
        for (slot, result) in slots.into_iter().zip(results) {
            match result {
                Ok(output) => out.finish(slot, output),
                Err(error) => out.fail(slot, error),
            }
        }
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        if let Some(index) = self.slots.iter().position(|s| *s == slot) {
            self.slots.remove(index);
            self.requests.remove(index);
        }
    }
}
