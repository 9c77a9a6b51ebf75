//! Byte-level byte-pair encoding: training, encoding, decoding, and token files.
//!
//! The crate knows nothing of Python, prints nothing and keeps no global state. Text flows
//! through it like this:
//!
//! ```text
//! files -> corpus (blocks) -> specials -> pretokenize -> count -> train -> vocab
//!                                                  \-> encode -> shard (.bin .idx .json)
//! ```
//!
//! Every fast path has a slow, obvious twin in `reference.rs`, and a property test that they agree.

pub mod corpus;
pub mod count;
pub mod decode;
pub mod encode;
pub mod error;
pub mod format;
pub mod ids;
pub mod order;
pub mod pretokenize;
pub mod progress;
pub mod reference;
pub mod shard;
pub mod special;
pub mod train;
pub mod vocab;

pub use decode::Decoder;
pub use encode::{AllowedSpecial, Encoder, StreamEncoder};
pub use error::{Error, Result};
pub use ids::{Pair, TokenId};
pub use vocab::{Merge, Vocab};

/// The special token that ends a document, unless the caller names another.
pub const END_OF_TEXT: &str = "<|endoftext|>";
