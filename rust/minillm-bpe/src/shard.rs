//! Shards: files of token ids, which training reads and other programs may map into memory.
//!
//! `NAME.bin` holds little-endian ids and nothing else, so that `np.memmap` and other programs read
//! it. `NAME.idx` holds where each document starts, in tokens, as u64. `NAME.json` is the manifest:
//! what the ids are, where they come from, and checksums. All three are written aside and renamed,
//! the ids last; so a shard is either whole, or refused, or the one that was there before.
//!
//! Meanwhile `.NAME.bin.unfinished` and the like grow, a saved state in `.NAME.state` says up to
//! where they can be relied upon, and `.NAME.lock` keeps others away.

mod convert;
mod document;
mod held;
mod join;
mod layout;
mod lock;
mod npy_header;
mod options;
mod part;
mod pipeline;
mod reader;
mod recipe;
mod run;
mod sealed_json;
mod skip;
mod state;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, TokenId};
pub use convert::{Converted, convert};
pub(crate) use document::is_for_val;
pub use join::{JoinedManifest, PartEntry, join};
pub use layout::{Layout, Placed};
pub(crate) use lock::Lock;
pub use options::{EncodeOptions, EncodeReport, Eot, ShardReport};
pub use part::Part;
pub(crate) use part::document_range;
pub use pipeline::encode_files;
pub use reader::ShardReader;
pub use recipe::{Input, Recipe};
pub use run::unfinished;
pub(crate) use sealed_json::{Sealed, seal};
pub use writer::{SealedShard, ShardFacts, ShardWriter, Totals};

const FORMAT: &str = "minillm.tokens";
const FORMAT_VERSION: u32 = 1;

/// The program that writes the files.
pub(crate) const TOOL: &str = concat!("minillm ", env!("CARGO_PKG_VERSION"));

/// Bytes of `NAME.bin` under one checksum.
const BLOCK_BYTES: usize = 1 << 20;

/// The type of an id in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 16 bits: vocabularies up to 65,536.
    Uint16,
    /// 32 bits.
    Uint32,
}

impl Dtype {
    /// The narrowest that holds every id below `vocab_size`.
    pub fn for_vocab(vocab_size: u32) -> Self {
        if Self::Uint16.holds(vocab_size) { Self::Uint16 } else { Self::Uint32 }
    }

    /// That of ids of so many bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if it is neither 2 nor 4.
    pub fn from_width(width: usize) -> Result<Self> {
        let found = [Self::Uint16, Self::Uint32].into_iter().find(|dtype| dtype.width() == width);
        let refused = || format!("ids of {width} bytes, expected 2 or 4");
        found.ok_or_else(|| Error::Rows { reason: refused() })
    }

    /// Bytes of an id.
    pub fn width(self) -> usize {
        match self {
            Self::Uint16 => 2,
            Self::Uint32 => 4,
        }
    }

    /// The name that numpy has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
        }
    }

    fn holds(self, vocab_size: u32) -> bool {
        self == Self::Uint32 || vocab_size <= 1 << 16
    }
}

/// What `NAME.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `minillm.tokens`.
    pub format: String,
    /// 1.
    pub format_version: u32,
    /// Type of the ids.
    pub dtype: Dtype,
    /// Number of ids.
    pub tokens: u64,
    /// Number of documents.
    pub documents: u64,
    /// Bytes of text in the documents.
    pub bytes: u64,
    /// Ids are below this.
    pub vocab_size: u32,
    /// The id of the separator, if there is one.
    pub eot_id: Option<TokenId>,
    /// Where it stands.
    pub eot: Eot,
    /// Hash of the `tokenizer.json` that the ids are from.
    pub tokenizer_sha256: String,
    /// Bytes of `NAME.bin` under each of the checksums.
    pub block_bytes: u64,
    /// XXH3-64 of each block, in hexadecimal.
    pub block_xxh3: Vec<String>,
    /// XXH3-64 of `NAME.idx`, in hexadecimal.
    pub idx_xxh3: String,
    /// What was read.
    pub sources: Vec<SourceFacts>,
    /// What it is one part of, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartFacts>,
    /// The program that wrote it.
    pub tool: String,
}

/// What the manifest of one of several parts tells besides, for [`join`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartFacts {
    /// Whether its documents are those for validation.
    pub is_val: bool,
    /// Which part it is, and what all parts have in common.
    pub recipe: Recipe,
}

/// One source of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// Its path as it was given, or its name.
    pub path: String,
    /// Bytes read from it, for whichever shard.
    pub bytes: u64,
}

/// The other files of the shard whose ids are in `bin`: index and manifest.
fn beside(bin: &Path) -> (PathBuf, PathBuf) {
    (bin.with_extension("idx"), bin.with_extension("json"))
}

/// A file beside the shard in `bin` that is there only while it is written.
fn hidden(bin: &Path, extension: &str) -> PathBuf {
    let stem = bin.file_stem().unwrap_or_default().to_string_lossy();
    bin.with_file_name(format!(".{stem}.{extension}"))
}

pub(crate) fn hex(checksum: u64) -> String {
    format!("{checksum:016x}")
}

pub(crate) fn misfit(path: &Path, field: &str, reason: impl Into<String>) -> Error {
    Error::Shard { path: path.to_owned(), field: field.to_owned(), reason: reason.into() }
}

/// Refuses 16 bits where they do not hold the vocabulary.
pub(crate) fn check_width(dtype: Dtype, vocab_size: u32) -> Result<()> {
    if dtype.holds(vocab_size) { Ok(()) } else { Err(Error::DtypeTooNarrow { vocab_size }) }
}
