//! What a caller of [`encode_files`](super::encode_files) decides, and what he is told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Dtype, Part};
use crate::AllowedSpecial;

/// Where the id of the separator stands, relative to the ids of each document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Eot {
    /// Behind them.
    Append,
    /// Before them.
    Prepend,
    /// Nowhere.
    None,
}

impl Eot {
    /// Its name in options and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Prepend => "prepend",
            Self::None => "none",
        }
    }
}

/// What to write, and where.
#[derive(Clone, Debug)]
pub struct EncodeOptions {
    /// The `.bin` file; index and manifest stand beside it.
    pub out: PathBuf,
    /// The `.bin` file of the documents for validation.
    pub val_out: Option<PathBuf>,
    /// Which part of the documents goes to `val_out`, from 0 to 1.
    pub val_fraction: f64,
    /// Type of the ids; [`None`] for the narrowest that fits.
    pub dtype: Option<Dtype>,
    /// Number of encoding threads.
    pub threads: usize,
    /// Where the id of the separator stands.
    pub eot: Eot,
    /// The string between documents.
    pub separator: String,
    /// The field of jsonl files that the sources were opened with.
    pub field: Option<String>,
    /// Other special tokens to recognize inside documents.
    pub allowed: AllowedSpecial,
    /// After how many bytes of output the state is saved, from which a later run goes on.
    pub sync_every: u64,
    /// Whether to go on where an earlier run stopped, if there is one.
    pub resume: bool,
    /// Which part of the sources to encode, if not all.
    pub part: Option<Part>,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct EncodeReport {
    /// The shard for training.
    pub train: ShardReport,
    /// The shard for validation.
    pub val: Option<ShardReport>,
    /// Pieces between separators that were skipped, being empty or only white space.
    pub n_blank: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// One shard that was written.
#[derive(Clone, Debug)]
pub struct ShardReport {
    /// The `.bin` file.
    pub path: PathBuf,
    /// Type of its ids.
    pub dtype: Dtype,
    /// Number of ids.
    pub tokens: u64,
    /// Number of documents.
    pub documents: u64,
    /// Bytes of text in them.
    pub bytes: u64,
}
