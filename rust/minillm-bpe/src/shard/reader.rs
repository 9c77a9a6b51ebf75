//! Reads a shard, and refuses one whose manifest does not fit it.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Dtype, FORMAT, FORMAT_VERSION, Manifest, beside, check_width, hex, misfit};
use crate::{Error, Result, TokenId};

/// A shard that is open for reading.
///
/// A `.bin` file without a manifest is read as nanoGPT's: 16-bit ids.
#[derive(Debug)]
pub struct ShardReader {
    path: PathBuf,
    file: File,
    dtype: Dtype,
    tokens: u64,
    manifest: Option<Manifest>,
}

impl ShardReader {
    /// Opens the shard whose ids are in `path`, and compares sizes and the first and last block
    /// with the manifest; [`verify`](Self::verify) compares everything.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] names the field that does not fit; [`Error::Io`] if a file is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let size = file.metadata().map_err(|source| Error::io(path, source))?.len();
        let manifest = read_manifest(&beside(path).1)?;
        let dtype = manifest.as_ref().map_or(Dtype::Uint16, |manifest| manifest.dtype);
        let width = dtype.width() as u64;
        if size % width != 0 {
            let reason =
                format!("says {} bytes an id, but the file has {size} bytes", dtype.width());
            return Err(misfit(path, "dtype", reason));
        }
        let mut reader =
            Self { path: path.to_owned(), file, dtype, tokens: size / width, manifest };
        reader.check_sizes()?;
        let n_blocks = reader.manifest.as_ref().map_or(0, |manifest| manifest.block_xxh3.len());
        if n_blocks > 0 {
            reader.check_block(0)?;
            reader.check_block(n_blocks - 1)?;
        }
        Ok(reader)
    }

    /// Its manifest, if it has one.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// The type of its ids.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of ids.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Appends up to `count` ids from position `start` on; fewer only at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read.
    pub fn read(&mut self, start: u64, count: usize, out: &mut Vec<TokenId>) -> Result<()> {
        let left = self.tokens.saturating_sub(start);
        let count = usize::try_from(left).map_or(count, |left| left.min(count));
        let width = self.dtype.width();
        let bytes = self.read_bytes(start.min(self.tokens) * width as u64, count * width)?;
        match self.dtype {
            Dtype::Uint16 => out.extend(
                bytes.chunks_exact(2).map(|id| TokenId::from(u16::from_le_bytes([id[0], id[1]]))),
            ),
            Dtype::Uint32 => out.extend(
                bytes
                    .chunks_exact(4)
                    .map(|id| TokenId::from_le_bytes([id[0], id[1], id[2], id[3]])),
            ),
        }
        Ok(())
    }

    /// Where each document starts, in tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no index, [`Error::Shard`] if it is not the manifest's.
    pub fn document_starts(&self) -> Result<Vec<u64>> {
        let path = beside(&self.path).0;
        let bytes = std::fs::read(&path).map_err(|source| Error::io(&path, source))?;
        if let Some(manifest) = &self.manifest
            && hex(xxh3_64(&bytes)) != manifest.idx_xxh3
        {
            return Err(misfit(&path, "idx_xxh3", "is not the checksum of the file"));
        }
        let starts = bytes.chunks_exact(8).filter_map(|start| start.try_into().ok());
        Ok(starts.map(u64::from_le_bytes).collect())
    }

    /// Refuses ids that another tokenizer made.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] if the manifest names another one than `sha256`.
    pub fn check_tokenizer(&self, sha256: &str) -> Result<()> {
        match &self.manifest {
            Some(manifest) if manifest.tokenizer_sha256 != sha256 => {
                let reason = format!("is {}, expected {sha256}", manifest.tokenizer_sha256);
                Err(misfit(&self.path, "tokenizer_sha256", reason))
            }
            _ => Ok(()),
        }
    }

    /// Reads everything and compares it with the manifest's checksums.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] names the first block that differs.
    pub fn verify(&mut self) -> Result<()> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        let n_blocks = manifest.block_xxh3.len();
        for block in 0..n_blocks {
            self.check_block(block)?;
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
        let sought = self.file.seek(SeekFrom::Start(start));
        let done = sought.and_then(|_| self.file.read_exact(&mut bytes));
        done.map_err(|source| Error::io(&self.path, source))?;
        Ok(bytes)
    }
}

/// [`None`] if there is no such file.
fn read_manifest(path: &Path) -> Result<Option<Manifest>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io(path, source)),
    };
    let not_json = |error: serde_json::Error| misfit(path, "manifest", error.to_string());
    let value: Value = serde_json::from_str(&text).map_err(not_json)?;
    // Before the other fields: another version may have others.
    let expected =
        [("format", Value::from(FORMAT)), ("format_version", Value::from(FORMAT_VERSION))];
    for (field, expected) in expected {
        if value[field] != expected {
            return Err(misfit(path, field, format!("is {}, expected {expected}", value[field])));
        }
    }
    serde_json::from_value(value).map(Some).map_err(not_json)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::shard::{BLOCK_BYTES, SealedShard, ShardFacts, ShardWriter};

    const N_TOKENS: usize = BLOCK_BYTES + 10;

    /// A shard of three blocks and two documents.
    fn shard(folder: &TempDir) -> PathBuf {
        let path = folder.path().join("train.bin");
        let facts = ShardFacts {
            dtype: Dtype::Uint16,
            vocab_size: 1000,
            eot_id: None,
            tokenizer_sha256: "abc".to_owned(),
        };
        let mut writer = ShardWriter::create(&path, facts).unwrap();
        let ids: Vec<TokenId> = (0..1000).cycle().take(N_TOKENS).collect();
        writer.push(&ids[..100]).unwrap();
        writer.end_document(1).unwrap();
        writer.push(&ids[100..]).unwrap();
        writer.end_document(1).unwrap();
        let sealed = writer.seal(vec![]).unwrap();
        SealedShard::publish(vec![sealed]).unwrap();
        path
    }

    fn with_manifest(folder: &TempDir, change: impl Fn(&mut Value)) -> PathBuf {
        let path = shard(folder);
        let json = path.with_extension("json");
        let mut manifest: Value =
            serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        change(&mut manifest);
        std::fs::write(json, manifest.to_string()).unwrap();
        path
    }

    #[test]
    fn any_range_is_read() {
        let folder = TempDir::new().unwrap();
        let mut reader = ShardReader::open(&shard(&folder)).unwrap();
        reader.verify().unwrap();
        assert_eq!(reader.tokens(), N_TOKENS as u64);
        assert_eq!(reader.document_starts().unwrap(), [0, 100]);
        let mut ids = Vec::new();
        reader.read(998, 4, &mut ids).unwrap();
        assert_eq!(ids, [998, 999, 0, 1]);
        ids.clear();
        reader.read(N_TOKENS as u64 - 2, 100, &mut ids).unwrap();
        reader.read(N_TOKENS as u64 + 9, 100, &mut ids).unwrap();
        assert_eq!(ids.len(), 2);
    }

    #[test]
    fn bare_file_is_read_as_16_bits() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("bare.bin");
        std::fs::write(&path, [1, 0, 2, 1]).unwrap();
        let mut ids = Vec::new();
        ShardReader::open(&path).unwrap().read(0, 9, &mut ids).unwrap();
        assert_eq!(ids, [1, 258]);
        std::fs::write(&path, [1, 0, 2]).unwrap();
        let message = ShardReader::open(&path).unwrap_err().to_string();
        assert!(
            message.ends_with("bare.bin: `dtype` says 2 bytes an id, but the file has 3 bytes")
        );
    }

    #[test]
    fn manifest_that_does_not_fit_is_refused_by_field() {
        type Change = fn(&mut Value);
        let cases: &[(Change, &str)] = &[
            (
                |m| m["format"] = "other".into(),
                "`format` is \"other\", expected \"minillm.tokens\"",
            ),
            (|m| m["format_version"] = 2.into(), "`format_version` is 2, expected 1"),
            (|m| m["dtype"] = "uint32".into(), "`tokens` says 1048586, but the file has 524293"),
            (|m| m["dtype"] = "float".into(), "`manifest` unknown variant `float`"),
            (|m| m["tokens"] = 5.into(), "`tokens` says 5, but the file has 1048586"),
            (|m| m["documents"] = 5.into(), "`documents` says 5, but"),
            (|m| m["documents"] = u64::MAX.into(), "`documents` says 18446744073709551615, but"),
            (|m| m["block_bytes"] = 0.into(), "`block_bytes` is 0"),
            (|m| m["block_bytes"] = 9.into(), "`block_xxh3` lists 3 blocks, expected 233020"),
            (|m| m["block_xxh3"][2] = "0".into(), "`block_xxh3` [2] is 0, but the file has"),
            (|m| m["vocab_size"] = 70_000.into(), "uint16 holds ids below 65536"),
            (|m| *m = Value::Null, "`format` is null"),
        ];
        for (change, expected) in cases {
            let folder = TempDir::new().unwrap();
            let path = with_manifest(&folder, change);
            let message = ShardReader::open(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should contain {expected:?}");
        }
    }

    #[test]
    fn damage_is_found() {
        let folder = TempDir::new().unwrap();
        let path = shard(&folder);
        let mut bytes = std::fs::read(&path).unwrap();
        // In the middle block, which opening does not read.
        bytes[BLOCK_BYTES + 5] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let message = ShardReader::open(&path).unwrap().verify().unwrap_err().to_string();
        assert!(message.contains("train.bin: `block_xxh3` [1] is "), "{message}");
        bytes[0] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let message = ShardReader::open(&path).unwrap_err().to_string();
        assert!(message.contains("train.bin: `block_xxh3` [0] is "), "{message}");

        let path = shard(&folder);
        std::fs::write(path.with_extension("idx"), [7; 16]).unwrap();
        let mut reader = ShardReader::open(&path).unwrap();
        for result in [reader.verify(), reader.document_starts().map(|_| ())] {
            let message = result.unwrap_err().to_string();
            assert!(message.ends_with("train.idx: `idx_xxh3` is not the checksum of the file"));
        }
    }

    #[test]
    fn other_tokenizer_is_refused() {
        let folder = TempDir::new().unwrap();
        let reader = ShardReader::open(&shard(&folder)).unwrap();
        assert!(reader.check_tokenizer("abc").is_ok());
        let message = reader.check_tokenizer("def").unwrap_err().to_string();
        assert!(message.ends_with("`tokenizer_sha256` is abc, expected def"), "{message}");
    }
}
