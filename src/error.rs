//! What can go wrong above the pool: one variant per layer, each keeping its own typed error.

use crate::arch::ArchError;
use crate::catalog::CatalogError;
use crate::pool::{PoolError, RegisterError, SpawnError};
use crate::weights::WeightsError;

/// An error of an [`Engine`](crate::Engine).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request was refused or failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A model's files could not be found or used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A model's configuration asks for something that is not implemented, or is wrong.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// A manifest could not be read, or names no model.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A key is taken, or the engine is shutting down.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The system gave no thread.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}
