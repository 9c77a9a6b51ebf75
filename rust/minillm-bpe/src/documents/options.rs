//! What callers decide about documents, and what they are told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Encoder;

/// What of a text file is a document. A row of a table or of jsonl always is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextDocuments {
    /// What stands between separators.
    Separator,
    /// A line that is not empty.
    Line,
    /// The file.
    File,
}

/// What becomes of a document that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvalidUtf8 {
    /// It stays as it is.
    Keep,
    /// U+FFFD stands for what is invalid, as Python's `errors="replace"` has it.
    Replace,
    /// It is dropped.
    Skip,
    /// It is an error.
    Stop,
}

/// What becomes of a row without a document, or of one that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRow {
    /// It is an error.
    Stop,
    /// It is dropped.
    Skip,
}

/// How a part is gathered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatherOptions {
    /// Shuffles, by a hash that it keys; [`None`] leaves documents in the order of reading.
    pub seed: Option<u64>,
    /// What of a text file is a document.
    pub documents: TextDocuments,
    /// The string between documents; none of them holds it.
    pub separator: String,
    /// Characters that a document has at least, without ASCII white space at both ends.
    pub min_length: u64,
    /// Share of a document's bytes that may be repetition, from 0 to 1.
    pub max_repetition: Option<f64>,
    /// What becomes of documents that are not UTF-8.
    pub invalid_utf8: InvalidUtf8,
    /// What becomes of rows that hold no document.
    pub on_bad_row: OnBadRow,
    /// Documents to keep at most, the first in the order of reading.
    pub max_documents: Option<u64>,
    /// Bytes to keep at most: the documents before the first with which there would be more.
    pub max_bytes: Option<u64>,
}

/// The unit in which sources have their shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weigh {
    /// Documents.
    Documents,
    /// Bytes of text.
    Bytes,
    /// Tokens, that of the separator included.
    Tokens,
}

/// What happens when the next document is due to a source that has none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenExhausted {
    /// The text ends.
    Stop,
    /// The source begins again. Without a limit of all, the text ends when each source has been
    /// read whole.
    Repeat,
    /// The others go on in proportion to their weights.
    Reweight,
}

/// A source of documents: parts that were gathered.
#[derive(Clone, Debug)]
pub struct SourceOfParts {
    /// Its name, for messages and statistics.
    pub name: String,
    /// The parts, in the order of reading.
    pub parts: Vec<PathBuf>,
    /// Its weight, which all sources have or none.
    pub weight: Option<f64>,
    /// Documents of it that take part, the first in the order of reading.
    pub max_documents: Option<u64>,
    /// Bytes of it that take part, at most: the first in the order of reading.
    pub max_bytes: Option<u64>,
    /// Tokens that it gives at most in each epoch, in the order in which it gives them.
    pub max_tokens: Option<u64>,
}

/// Where documents go.
#[derive(Clone, Debug)]
pub enum Out {
    /// All into one text, and what source each is from beside it, in `.sources`.
    One(PathBuf),
    /// Those of each source into a text of its own; weights and limits of all do not count.
    Each(Vec<PathBuf>),
}

/// How parts are arranged.
#[derive(Clone, Debug)]
pub struct ArrangeOptions {
    /// Where documents go.
    pub out: Out,
    /// Whether to keep one of equal documents alone: that of the first source.
    pub deduplicate: bool,
    /// What weights mean.
    pub weigh: Weigh,
    /// What happens when a source has no document left.
    pub when_exhausted: WhenExhausted,
    /// Documents at most.
    pub max_documents: Option<u64>,
    /// Bytes of text at most, without separators.
    pub max_bytes: Option<u64>,
    /// Tokens at most.
    pub max_tokens: Option<u64>,
    /// Counts tokens.
    pub encoder: Option<Encoder>,
    /// What is written behind each document.
    pub separator: String,
    /// The fraction of the documents that the encoder will put apart for validation.
    pub val_fraction: f64,
}

/// How much was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Documents.
    pub documents: u64,
    /// Bytes of text, without separators.
    pub bytes: u64,
    /// Lines of text.
    pub lines: u64,
    /// Tokens, one for each separator included; 0 if they are not counted.
    pub tokens: u64,
}

/// What was taken of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceStats {
    /// Its name.
    pub name: String,
    /// How much was taken of it.
    pub taken: Taken,
    /// Documents of it that were left out because another is equal.
    pub duplicates: u64,
    /// How often it was read.
    pub epochs: f64,
    /// How many documents, of all sources, there were when it first had none left.
    pub ran_out_at: Option<u64>,
}

/// What was arranged.
#[derive(Clone, Debug, PartialEq)]
pub struct Arranged {
    /// Of each source.
    pub sources: Vec<SourceStats>,
    /// Of all.
    pub taken: Taken,
}
