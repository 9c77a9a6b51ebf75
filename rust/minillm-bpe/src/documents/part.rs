//! A part: documents that were gathered, in sorted runs.
//!
//! ```text
//! NAME       runs, one behind the other: the heads of its documents, and then their texts
//! NAME.json  options, statistics, and the size of each run, sealed by a checksum
//! ```
//!
//! A head tells a document's key, its number and the bytes up to its end in the order of reading
//! (so that a limit can cut there), and its length. It has a checksum; the key is that of the text.
//! So what is read of a part is checked, however little that is. Heads lie apart from texts, as
//! duplicates are found by heads alone.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::GatherOptions;
use super::filter::Reason;
use crate::shard::{Sealed, misfit};
use crate::{Error, Result};

pub(super) const FORMAT: &str = "minillm.documents";
pub(super) const FORMAT_VERSION: u32 = 1;

/// Bytes of a head in a file.
pub(super) const HEAD_BYTES: usize = 40;

/// What is known of a document without its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The hash of its text, keyed by the seed, or by 0 where there is none.
    pub(super) key: u128,
    /// Its number in the order of reading, from 0.
    pub(super) ordinal: u64,
    /// Bytes of the documents of the part up to its end, in the order of reading.
    pub(super) end: u64,
    /// Its bytes.
    pub(super) len: u32,
}

impl Head {
    pub(super) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..16].copy_from_slice(&self.key.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.end.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.len.to_le_bytes());
        let check = xxh3_64(&bytes[..36]).to_le_bytes();
        bytes[36..].copy_from_slice(&check[..4]);
        bytes
    }

    /// [`None`] if the bytes are not those of a head.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| bytes[at..].first_chunk().copied().map(u64::from_le_bytes);
        let head = Self {
            key: bytes.first_chunk().copied().map(u128::from_le_bytes)?,
            ordinal: number(16)?,
            end: number(24)?,
            len: bytes[32..].first_chunk().copied().map(u32::from_le_bytes)?,
        };
        (head.to_bytes() == bytes).then_some(head)
    }
}

/// The key of a text.
pub(super) fn key(text: &[u8], seed: Option<u64>) -> u128 {
    xxh3_128_with_seed(text, seed.unwrap_or(0))
}

/// The size of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunFacts {
    pub(super) documents: u64,
    pub(super) bytes: u64,
}

impl RunFacts {
    /// Bytes of its heads, if 64 bits can tell.
    pub(super) fn head_bytes(self) -> Option<u64> {
        self.documents.checked_mul(HEAD_BYTES as u64)
    }
}

/// How many documents or rows were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// They hold nothing but ASCII white space.
    pub blank: u64,
    /// They have fewer characters than `min_length`.
    pub short: u64,
    /// More of them than `max_repetition` is repeated.
    pub repetitive: u64,
    /// They are not UTF-8.
    pub invalid_utf8: u64,
    /// The row has no such field.
    pub missing_field: u64,
    /// The field is not a string.
    pub not_text: u64,
    /// The row is not JSON.
    pub not_json: u64,
    /// They have more than a gigabyte.
    pub too_long: u64,
}

impl Dropped {
    /// The numbers and the names of their reasons.
    pub fn by_reason(&self) -> [(&'static str, u64); 8] {
        [
            ("blank", self.blank),
            ("short", self.short),
            ("repetitive", self.repetitive),
            ("invalid_utf8", self.invalid_utf8),
            ("missing_field", self.missing_field),
            ("not_text", self.not_text),
            ("not_json", self.not_json),
            ("too_long", self.too_long),
        ]
    }

    pub(super) fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::Blank => &mut self.blank,
            Reason::Short => &mut self.short,
            Reason::Repetitive => &mut self.repetitive,
            Reason::InvalidUtf8 => &mut self.invalid_utf8,
            Reason::MissingField => &mut self.missing_field,
            Reason::NotText => &mut self.not_text,
            Reason::NotJson => &mut self.not_json,
            Reason::TooLong => &mut self.too_long,
        } += 1;
    }
}

/// What was gathered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatherStats {
    /// Rows of tables and of jsonl that were read, and pieces of text as the options cut them.
    pub rows: u64,
    /// Documents that were kept.
    pub documents: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Lines of their texts.
    pub lines: u64,
    /// What was dropped.
    pub dropped: Dropped,
    /// Whether `max_documents` or `max_bytes` was reached, and reading ended there.
    pub limited: bool,
}

/// What `NAME.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: String,
    pub(super) format_version: u32,
    pub(super) options: GatherOptions,
    pub(super) stats: GatherStats,
    pub(super) runs: Vec<RunFacts>,
    pub(super) tool: String,
}

/// The manifest of the part `path`.
pub(super) fn manifest_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}

impl Manifest {
    /// Reads that of the part `path`, and compares it with the size of the file; [`None`] if there
    /// is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let json = manifest_path(path);
        let Some(sealed) = Sealed::read(&json, FORMAT, FORMAT_VERSION)? else { return Ok(None) };
        let manifest: Self = sealed.parse(&json)?;
        let sum = |of: &dyn Fn(&RunFacts) -> Option<u64>| {
            manifest.runs.iter().try_fold(0_u64, |sum, run| sum.checked_add(of(run)?))
        };
        let documents = sum(&|run| Some(run.documents));
        let bytes = sum(&|run| Some(run.bytes));
        if (documents, bytes) != (Some(manifest.stats.documents), Some(manifest.stats.bytes)) {
            return Err(misfit(&json, "runs", "are not of as many documents and bytes as `stats`"));
        }
        let expected = sum(&|run| run.head_bytes()?.checked_add(run.bytes));
        let found = path.metadata().map_err(|source| Error::io(path, source))?.len();
        if expected != Some(found) {
            let expected = expected.unwrap_or(u64::MAX);
            return Err(misfit(path, "bytes", format!("are {found}, expected {expected}")));
        }
        Ok(Some(manifest))
    }

    /// Refuses a part that was gathered otherwise.
    pub(super) fn expect(&self, path: &Path, options: &GatherOptions) -> Result<()> {
        let json = |options: &GatherOptions| {
            let value = serde_json::to_value(options);
            value.map_err(|error| misfit(path, "options", error.to_string()))
        };
        let (then, now) = (json(&self.options)?, json(options)?);
        for (name, then) in then.as_object().into_iter().flatten() {
            let now = now.get(name).unwrap_or(&Value::Null);
            if then != now {
                let reason = format!("was {then} when it was gathered, and is {now}");
                return Err(misfit(path, name, reason));
            }
        }
        Ok(())
    }
}

/// What the part `out` holds, if it is finished and was gathered with `options`, which are not
/// compared if there are none; [`None`] if it is not there. The file itself is not read.
///
/// # Errors
///
/// [`Error::Shard`] for one that is damaged, or names the option that differs; [`Error::Io`].
pub fn gathered(out: &Path, options: Option<&GatherOptions>) -> Result<Option<GatherStats>> {
    let Some(manifest) = Manifest::read(out)? else { return Ok(None) };
    if let Some(options) = options {
        manifest.expect(out, options)?;
    }
    Ok(Some(manifest.stats))
}
