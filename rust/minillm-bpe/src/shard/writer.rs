//! Writes one shard, in order, with bounded memory.

use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{
    BLOCK_BYTES, Dtype, FORMAT, FORMAT_VERSION, Manifest, SourceFacts, beside, check_width, hex,
    misfit,
};
use crate::staged::Staged;
use crate::{Error, Result, TokenId, ids::Id};

/// What the ids of a shard are.
#[derive(Clone, Debug)]
pub struct ShardFacts {
    /// Type of the ids in the file.
    pub dtype: Dtype,
    /// Ids are below this.
    pub vocab_size: u32,
    /// The id behind each document, if there is one.
    pub eot_id: Option<TokenId>,
    /// Hash of the `tokenizer.json` that the ids are from.
    pub tokenizer_sha256: String,
}

/// Writes `NAME.bin` and `NAME.idx` under other names until all is there.
///
/// Dropped half-way, it leaves nothing behind, and an earlier shard of that name as it was.
pub struct ShardWriter {
    facts: ShardFacts,
    bin: Staged,
    idx: Staged,
    /// The part of the present block that is not written yet.
    block: Vec<u8>,
    block_xxh3: Vec<String>,
    idx_xxh3: Xxh3,
    tokens: u64,
    documents: u64,
    bytes: u64,
    /// Where the present document starts.
    document_start: u64,
}

impl ShardWriter {
    /// Begins the shard whose ids will be in `path`.
    ///
    /// # Errors
    ///
    /// [`Error::DtypeTooNarrow`] if 16 bits do not hold the vocabulary, [`Error::Shard`] if `path`
    /// is the name of an index, of a manifest or of the tokenizer, [`Error::Io`] if the folder is
    /// not there or takes no file.
    pub fn create(path: &Path, facts: ShardFacts) -> Result<Self> {
        check_width(facts.dtype, facts.vocab_size)?;
        let (idx, json) = beside(path);
        if path == idx || path == json || json.ends_with("tokenizer.json") {
            let reason = "is taken by another file of the folder; expected a name like `train.bin`";
            return Err(misfit(path, "name", reason));
        }
        Ok(Self {
            bin: Staged::create(path)?,
            idx: Staged::create(&idx)?,
            facts,
            block: Vec::with_capacity(BLOCK_BYTES),
            block_xxh3: Vec::new(),
            idx_xxh3: Xxh3::new(),
            tokens: 0,
            documents: 0,
            bytes: 0,
            document_start: 0,
        })
    }

    /// Appends ids to the present document.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownId`] for an id beyond the vocabulary, [`Error::Io`] if the disk is full.
    pub fn push<I: Id>(&mut self, ids: &[I]) -> Result<()> {
        let is_unknown = |id: &I| id.id() >= self.facts.vocab_size;
        if ids.iter().max().is_some_and(is_unknown) {
            let position = ids.iter().position(is_unknown).unwrap_or(0);
            return Err(Error::UnknownId { id: ids[position].id(), position });
        }
        let width = self.facts.dtype.width();
        let mut rest = ids;
        while !rest.is_empty() {
            let room = (BLOCK_BYTES - self.block.len()) / width;
            let (now, later) = rest.split_at(room.min(rest.len()));
            append(&mut self.block, self.facts.dtype, now);
            rest = later;
            if self.block.len() == BLOCK_BYTES {
                self.write_block()?;
            }
        }
        self.tokens += ids.len() as u64;
        Ok(())
    }

    /// Ends the present document, which was made from `bytes` bytes of text.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the disk is full.
    pub fn end_document(&mut self, bytes: u64) -> Result<()> {
        let start = self.document_start.to_le_bytes();
        self.idx_xxh3.update(&start);
        self.idx.write(&start)?;
        self.document_start = self.tokens;
        self.documents += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Number of documents so far.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Writes what is left and waits until all of it is on the disk, still under other names.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the disk is full.
    pub fn seal(mut self, sources: Vec<SourceFacts>) -> Result<SealedShard> {
        if !self.block.is_empty() {
            self.write_block()?;
        }
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            dtype: self.facts.dtype,
            tokens: self.tokens,
            documents: self.documents,
            bytes: self.bytes,
            vocab_size: self.facts.vocab_size,
            eot_id: self.facts.eot_id,
            tokenizer_sha256: self.facts.tokenizer_sha256,
            block_bytes: BLOCK_BYTES as u64,
            block_xxh3: self.block_xxh3,
            idx_xxh3: hex(self.idx_xxh3.digest()),
            sources,
            tool: concat!("minillm ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let (_, json_path) = beside(&self.bin.path);
        let mut json = Staged::create(&json_path)?;
        let text = serde_json::to_string_pretty(&manifest)
            .map_err(|error| misfit(&json_path, "manifest", error.to_string()))?;
        json.write(text.as_bytes())?;
        json.write(b"\n")?;
        for staged in [&self.bin, &self.idx, &json] {
            staged.sync()?;
        }
        Ok(SealedShard { bin: self.bin, idx: self.idx, json, manifest })
    }

    fn write_block(&mut self) -> Result<()> {
        self.block_xxh3.push(hex(xxh3_64(&self.block)));
        self.bin.write(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

/// Appends `ids`, which fit `dtype`, as little-endian bytes.
fn append<I: Id>(bytes: &mut Vec<u8>, dtype: Dtype, ids: &[I]) {
    match dtype {
        Dtype::Uint16 => bytes.extend(ids.iter().flat_map(|id| {
            let [low, high, ..] = id.id().to_le_bytes();
            [low, high]
        })),
        Dtype::Uint32 => bytes.extend(ids.iter().flat_map(|id| id.id().to_le_bytes())),
    }
}

/// A shard that is complete and on the disk, but has not its name yet.
#[derive(Debug)]
pub struct SealedShard {
    bin: Staged,
    idx: Staged,
    json: Staged,
    manifest: Manifest,
}

impl SealedShard {
    /// What its manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Gives the files of all `shards` their names, of each the manifest first and the ids last.
    ///
    /// Not the other way round: ids without a manifest would pass for a bare file of 16-bit ids. A
    /// crash between the renames leaves no ids, or old ids under a new manifest; their number or
    /// their checksums differ, and [`ShardReader`](super::ShardReader) refuses them.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be renamed.
    pub fn publish(shards: Vec<Self>) -> Result<()> {
        for Self { bin, idx, json, .. } in shards {
            for staged in [json, idx, bin] {
                staged.publish()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(dtype: Dtype, vocab_size: u32) -> ShardFacts {
        ShardFacts { dtype, vocab_size, eot_id: None, tokenizer_sha256: String::new() }
    }

    #[test]
    fn id_beyond_the_vocabulary_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.bin");
        let mut writer = ShardWriter::create(&path, facts(Dtype::Uint16, 10)).unwrap();
        let message = writer.push(&[1_u32, 9, 10, 11]).unwrap_err().to_string();
        assert_eq!(message, "id 10 at position 2 is not in the vocabulary");
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn ids_are_little_endian() {
        for (dtype, expected) in [
            (Dtype::Uint16, &[0x34, 0x12, 0xff, 0xff][..]),
            (Dtype::Uint32, &[0x34, 0x12, 0, 0, 0xff, 0xff, 0, 0]),
        ] {
            let mut bytes = Vec::new();
            append(&mut bytes, dtype, &[0x1234_u32, 0xffff]);
            assert_eq!(bytes, expected);
        }
    }

    #[cfg(unix)]
    #[test]
    fn files_are_readable_by_others_as_far_as_the_umask_allows() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.bin");
        let writer = ShardWriter::create(&path, facts(Dtype::Uint16, 10)).unwrap();
        SealedShard::publish(vec![writer.seal(vec![]).unwrap()]).unwrap();
        std::fs::write(folder.path().join("plain"), "").unwrap();
        let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode("train.bin"), mode("plain"));
    }

    #[test]
    fn no_ids_have_their_name_before_their_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.bin");
        let sealed = ShardWriter::create(&path, facts(Dtype::Uint32, 10)).unwrap().seal(vec![]);
        // A folder in the way of the index: the renames end half-way.
        std::fs::create_dir_all(folder.path().join("train.idx/x")).unwrap();
        let message = SealedShard::publish(vec![sealed.unwrap()]).unwrap_err().to_string();
        assert!(message.contains("train.idx: "), "{message}");
        assert!(!path.exists());
    }
}
