//! Reads the one file of a shard, and refuses it if its manifest does not fit.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::super::layout::Placed;
use super::super::{Dtype, Manifest, beside, check_width, hex, misfit};
use crate::progress::Progress;
use crate::{Error, Result, ids::Id};

/// One file of ids that is open for reading, with its manifest if it has one.
#[derive(Debug)]
pub(super) struct OneFile {
    pub(super) path: PathBuf,
    file: File,
    pub(super) dtype: Dtype,
    /// Bytes before the first id.
    offset: u64,
    pub(super) tokens: u64,
    pub(super) manifest: Option<Manifest>,
}

impl OneFile {
    /// Opens `path`, and compares sizes and the first and last block with the manifest.
    pub(super) fn open(path: &Path, manifest: Manifest) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let size = file.metadata().map_err(|source| Error::io(path, source))?.len();
        let dtype = manifest.dtype;
        let width = dtype.width() as u64;
        if size % width != 0 {
            let reason =
                format!("says {} bytes an id, but the file has {size} bytes", dtype.width());
            return Err(misfit(path, "dtype", reason));
        }
        let n_blocks = manifest.block_xxh3.len();
        let mut reader = Self {
            path: path.to_owned(),
            file,
            dtype,
            offset: 0,
            tokens: size / width,
            manifest: Some(manifest),
        };
        reader.check_sizes()?;
        if n_blocks > 0 {
            reader.check_block(0)?;
            reader.check_block(n_blocks - 1)?;
        }
        Ok(reader)
    }

    /// Opens `path`, which has no manifest.
    pub(super) fn bare(path: &Path, placed: Placed) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let Placed { dtype, offset, tokens, .. } = placed;
        Ok(Self { path: path.to_owned(), file, dtype, offset, tokens, manifest: None })
    }

    /// Appends up to `count` ids from position `start` on; fewer only at the end. They must fit.
    pub(super) fn read<I: Id>(&mut self, start: u64, count: usize, out: &mut Vec<I>) -> Result<()> {
        let left = self.tokens.saturating_sub(start);
        let count = usize::try_from(left).map_or(count, |left| left.min(count));
        let width = self.dtype.width();
        let bytes = self.read_bytes(start.min(self.tokens) * width as u64, count * width)?;
        let ids = bytes.chunks_exact(width);
        match self.dtype {
            Dtype::Uint16 => out.extend(ids.map(|id| I::of(<u16 as Id>::from_le(id).id()))),
            Dtype::Uint32 => out.extend(ids.map(|id| I::of(<u32 as Id>::from_le(id)))),
        }
        Ok(())
    }

    /// Where each document starts, in tokens.
    pub(super) fn document_starts(&self) -> Result<Vec<u64>> {
        let Some(manifest) = &self.manifest else {
            let reason = "are not known without a manifest, and there is none";
            return Err(misfit(&self.path, "documents", reason));
        };
        let path = beside(&self.path).0;
        let bytes = std::fs::read(&path).map_err(|source| Error::io(&path, source))?;
        if hex(xxh3_64(&bytes)) != manifest.idx_xxh3 {
            return Err(misfit(&path, "idx_xxh3", "is not the checksum of the file"));
        }
        let starts = bytes.chunks_exact(8).filter_map(|start| start.try_into().ok());
        Ok(starts.map(u64::from_le_bytes).collect())
    }

    /// Reads everything and compares it with the manifest's checksums.
    pub(super) fn verify(&mut self, progress: &Progress) -> Result<()> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        let n_blocks = manifest.block_xxh3.len();
        for block in 0..n_blocks {
            self.check_block(block)?;
            progress.advance(0)?;
        }
        self.check_index()
    }

    fn check_sizes(&self) -> Result<()> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        let refuse = |field: &str, reason: String| Err(misfit(&self.path, field, reason));
        if manifest.tokens != self.tokens {
            let reason = format!("says {}, but the file has {}", manifest.tokens, self.tokens);
            return refuse("tokens", reason);
        }
        if manifest.block_bytes == 0 {
            return refuse("block_bytes", "is 0".to_owned());
        }
        let n_blocks = (self.tokens * self.dtype.width() as u64).div_ceil(manifest.block_bytes);
        if n_blocks != manifest.block_xxh3.len() as u64 {
            let listed = manifest.block_xxh3.len();
            return refuse("block_xxh3", format!("lists {listed} blocks, expected {n_blocks}"));
        }
        let idx = beside(&self.path).0;
        let idx_bytes = idx.metadata().map_err(|source| Error::io(&idx, source))?.len();
        if manifest.documents.checked_mul(8) != Some(idx_bytes) {
            let documents = manifest.documents;
            let reason = format!("says {documents}, but `{}` has {idx_bytes} bytes", idx.display());
            return refuse("documents", reason);
        }
        check_width(self.dtype, manifest.vocab_size)
    }

    fn check_block(&mut self, block: usize) -> Result<()> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        let (start, expected) =
            (block as u64 * manifest.block_bytes, manifest.block_xxh3[block].clone());
        let size = self.tokens * self.dtype.width() as u64;
        let len = usize::try_from((size - start).min(manifest.block_bytes));
        let len = len.map_err(|_| misfit(&self.path, "block_bytes", "is too large"))?;
        let found = hex(xxh3_64(&self.read_bytes(start, len)?));
        if found == expected {
            return Ok(());
        }
        let reason = format!("[{block}] is {expected}, but the file has {found}");
        Err(misfit(&self.path, "block_xxh3", reason))
    }

    fn check_index(&self) -> Result<()> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        let path = beside(&self.path).0;
        let file = File::open(&path).map_err(|source| Error::io(&path, source))?;
        let (mut file, mut checksum) = (BufReader::with_capacity(1 << 20, file), Xxh3::new());
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n_read = file.read(&mut buffer).map_err(|source| Error::io(&path, source))?;
            if n_read == 0 {
                break;
            }
            checksum.update(&buffer[..n_read]);
        }
        if hex(checksum.digest()) == manifest.idx_xxh3 {
            return Ok(());
        }
        Err(misfit(&path, "idx_xxh3", "is not the checksum of the file"))
    }

    fn read_bytes(&mut self, start: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let sought = self.file.seek(SeekFrom::Start(self.offset + start));
        let done = sought.and_then(|_| self.file.read_exact(&mut bytes));
        done.map_err(|source| Error::io(&self.path, source))?;
        Ok(bytes)
    }
}
