//! Documents -> one text to encode: read, filtered, shuffled, mixed and freed of duplicates.
//!
//! ```text
//! files, rows -> pieces -> filters -> gather -> part (NAME NAME.json)       one for each part
//!                          parts -> merge -> duplicates -> mix -> arrange -> text, its sources
//! ```
//!
//! A corpus is cut into parts, which machines or threads gather apart; nothing but all of them
//! together is arranged. To shuffle is to sort by a hash of the text that is keyed by the seed: so
//! the order depends on the documents and the seed alone, not on the order of files, the cut into
//! parts or the number of threads, equal documents become neighbours, and memory is bounded, as it
//! is with every sort that merges runs from disk.
//!
//! What is arranged is text, which the encoder turns into token files like any other.

mod arrange;
mod buffered;
mod by_source;
mod duplicates;
mod filter;
mod gather;
mod list;
mod merge;
mod mix;
mod options;
mod part;
mod part_writer;
mod pieces;
mod ranges;
mod repetition;
mod run;
mod separator;
mod stream;
mod template;
mod text_out;

#[cfg(test)]
mod tests;

pub use arrange::arrange;
pub use by_source::{SourceTokens, tokens_by_source};
pub use gather::{Gather, Rows};
pub use options::{
    ArrangeOptions, Arranged, GatherOptions, InvalidUtf8, OnBadRow, Out, SourceOfParts,
    SourceStats, Taken, TextDocuments, Weigh, WhenExhausted,
};
pub use part::{Dropped, GatherStats, gathered};
pub use ranges::{FileRange, cut_files};
pub use template::Text;
