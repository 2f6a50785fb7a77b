//! Pictures: from files and bytes to the numbers that a network reads.
//!
//! [`decode`] makes a [`Picture`] of an [`ImageSource`](crate::capability::ImageSource): 8 bits of red, green and
//! blue, upright. Whatever a file claims is checked against limits before memory is taken for it ([`MAX_SIDE`],
//! [`MAX_PIXELS`], [`MAX_DECODING`]), and a decoder that panics costs its caller an error.
//!
//! A [`Preprocessor`] is what a model's `preprocessor_config.json` says: it resizes, cuts, scales and normalises,
//! and gives [`PixelValues`]. Colours and resizing are those of Pillow, which the models were trained with, to one
//! grey level of 256.
//!
//! Nothing here knows of tensors.
//!
//! ```
//! use millpond::capability::ImageSource;
//! use millpond::image::{ImageError, decode};
//!
//! let red_dot = "data:image/gif;base64,R0lGODlhAQABAPAAAP8AAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==";
//! let picture = decode(&ImageSource::data_url(red_dot))?;
//! assert_eq!((picture.width(), picture.height(), picture.rgb()), (1, 1, &[255, 0, 0][..]));
//! # Ok::<(), ImageError>(())
//! ```

mod decode;
mod encode;
mod error;
mod fitting;
mod format;
mod patch_budget;
mod picture;
mod preprocess;
mod processor_config;
mod processor_kind;
mod resample;
mod resize;
mod rgb;
mod source;
mod tiles;
mod window;

pub(crate) use decode::{DecodingRoom, SMALL_DECODING};
pub use decode::{MAX_DECODING, MAX_PIXELS, MAX_SIDE, check, decode};
pub use encode::{Encoding, encode, encode_png};
pub use error::ImageError;
pub(crate) use fitting::Fitting;
pub use format::Format;
pub use picture::Picture;
pub use preprocess::{PixelValues, Preprocessor};
pub(crate) use processor_config::PreprocessorConfig;
pub use processor_config::PreprocessorError;
pub(crate) use processor_kind::ProcessorKind;
pub use resample::Resample;
pub use source::MAX_ENCODED;
pub(crate) use source::fetch;
pub(crate) use tiles::Tiling;
