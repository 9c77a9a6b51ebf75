//! Writes documents as text, and beside it from which source each is.
//!
//! ```text
//! NAME          each document, and behind it the separator
//! NAME.sources  magic; for each document u16: its source, and 2^15 if it is for validation, and
//!               u32: its bytes; then the XXH3-64 of all that. Little-endian.
//! ```

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::buffered::Buffered;
use crate::progress::Progress;
use crate::shard::{Lock, is_for_val};
use crate::{Error, Result};

pub(super) const MAGIC: &[u8; 8] = b"mlm-src1";

/// The bit of a document for validation.
pub(super) const IS_VAL: u16 = 1 << 15;

/// Bytes for a document.
pub(super) const ENTRY_BYTES: usize = 6;

/// Documents on their way into one text. Dropped unfinished, it leaves nothing behind.
pub(super) struct TextOut {
    text: Buffered,
    sources: Option<(Buffered, Xxh3)>,
    separator: Vec<u8>,
    val_fraction: f64,
    _lock: Lock,
}

/// The file beside the text `path` that tells the source of each document.
pub(super) fn sources_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sources");
    PathBuf::from(name)
}

impl TextOut {
    /// Begins the text `path`, of about `bytes` bytes; `has_sources`: and the file beside it.
    pub(super) fn create(
        path: &Path,
        separator: &str,
        val_fraction: f64,
        has_sources: bool,
        bytes: u64,
    ) -> Result<Self> {
        let lock = Lock::beside(path)?;
        let sources = || {
            let mut sources = Buffered::create(&sources_path(path), bytes)?;
            sources.buffer.extend_from_slice(MAGIC);
            Ok::<_, Error>((sources, Xxh3::new()))
        };
        Ok(Self {
            text: Buffered::create(path, bytes)?,
            sources: has_sources.then(sources).transpose()?,
            separator: separator.as_bytes().to_vec(),
            val_fraction,
            _lock: lock,
        })
    }

    /// Appends a document of the source of that number, which is below 2^15.
    pub(super) fn push(&mut self, source: u16, text: &[u8], progress: &Progress) -> Result<()> {
        self.text.write(text, progress)?;
        self.text.write(&self.separator, progress)?;
        if let Some((sources, hash)) = &mut self.sources {
            let is_val = if is_for_val(text, self.val_fraction) { IS_VAL } else { 0 };
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            let mut entry = [0; ENTRY_BYTES];
            entry[..2].copy_from_slice(&(source | is_val).to_le_bytes());
            entry[2..].copy_from_slice(&len.to_le_bytes());
            hash.update(&entry);
            sources.write(&entry, progress)?;
        }
        Ok(())
    }

    /// Gives the files their names.
    pub(super) fn finish(mut self, progress: &Progress) -> Result<()> {
        if let Some((sources, hash)) = &mut self.sources {
            sources.write(&hash.digest().to_le_bytes(), progress)?;
            sources.sync(progress)?;
        }
        self.text.sync(progress)?;
        if let Some((sources, _)) = self.sources {
            sources.file.publish()?;
        }
        self.text.file.publish()
    }
}
