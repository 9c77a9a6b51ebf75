//! A staged file that is written in pieces of one size, between looks at the wish to stop.

use std::path::Path;

use crate::progress::Progress;
use crate::staged::Staged;
use crate::{Error, Result};

/// What is written at once. (Tests have short texts.)
const WRITE_BYTES: usize = if cfg!(test) { 32 } else { 1 << 20 };

/// A staged file, and what is not written of it.
pub(super) struct Buffered {
    pub(super) file: Staged,
    pub(super) buffer: Vec<u8>,
    /// Bytes that it will have, or, if that is not known, has, for a disk that is full.
    needed: u64,
    written: u64,
}

impl Buffered {
    /// Begins the file `path`, which will have `needed` bytes; 0 if that is not known.
    pub(super) fn create(path: &Path, needed: u64) -> Result<Self> {
        Ok(Self { file: Staged::unfinished(path)?, buffer: Vec::new(), needed, written: 0 })
    }

    pub(super) fn write(&mut self, bytes: &[u8], progress: &Progress) -> Result<()> {
        for piece in bytes.chunks(WRITE_BYTES) {
            if self.buffer.len() + piece.len() > WRITE_BYTES {
                self.flush(progress)?;
            }
            self.buffer.extend_from_slice(piece);
        }
        Ok(())
    }

    fn flush(&mut self, progress: &Progress) -> Result<()> {
        progress.advance(0)?;
        self.written += self.buffer.len() as u64;
        let written = self.file.write(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| self.or_disk_full(error))
    }

    /// Writes the rest, and waits until all of it is on the disk.
    pub(super) fn sync(&mut self, progress: &Progress) -> Result<()> {
        self.flush(progress)?;
        self.file.sync().map_err(|error| self.or_disk_full(error))
    }

    fn or_disk_full(&self, error: Error) -> Error {
        error.or_disk_full(Some(if self.needed == 0 { self.written } else { self.needed }))
    }
}
