//! Byte-level byte-pair encoding: training, encoding, decoding, and token files.
//!
//! The crate knows nothing of Python, prints nothing and keeps no global state. Text flows
//! through it like this:
//!
//! ```text
//! input (kinds of files) -> corpus (blocks) -> specials -> pretokenize -> count -> train -> vocab
//!                                                  \-> encode -> shard (.bin .idx .json)
//! ```
//!
//! Before that, [`documents`] makes one text of many files and tables: filtered, shuffled, mixed.
//!
//! Every fast path has a slow, obvious twin in `reference.rs`, and a property test that they agree.

pub mod corpus;
pub mod count;
pub mod decode;
pub mod documents;
pub mod encode;
pub mod error;
pub mod format;
mod freed;
mod huge_pages;
pub mod ids;
pub mod input;
mod key;
pub mod measure;
pub mod order;
pub mod peak_memory;
mod prefetch;
pub mod pretokenize;
pub mod progress;
pub mod reference;
pub mod rows;
pub mod shard;
pub mod special;
mod staged;
pub mod train;
pub mod vocab;

pub use decode::{Decoder, StreamDecoder};
pub use encode::{AllowedSpecial, Encoder, StreamEncoder, TrainedTable};
pub use error::{Error, Result};
pub use ids::{Id, Pair, TokenId};
pub use vocab::{Merge, Vocab};

/// The special token that ends a document, unless the caller names another.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// How many threads are started for so many that were asked for.
///
/// 0 is one for each processor that this process may use. Never more than four for each: a slip of
/// the hand must not cost the memory of a hundred thousand threads, and what comes out does not
/// depend on their number.
fn at_work(threads: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if threads == 0 { processors } else { threads.min(4 * processors) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn threads_are_one_a_processor_by_default_and_never_absurdly_many() {
        assert_eq!((super::at_work(0), super::at_work(1)), (super::at_work(0).max(1), 1));
        assert!(super::at_work(usize::MAX) < 100_000);
    }
}
