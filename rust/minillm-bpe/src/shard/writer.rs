//! Writes one shard, in order, with bounded memory.

use std::io::{BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::lock::Lock;
use super::sealed_json::seal;
use super::state::SavedState;
use super::{
    BLOCK_BYTES, Dtype, Eot, FORMAT, FORMAT_VERSION, Manifest, PartFacts, SourceFacts, beside,
    check_width, hex, misfit,
};
use crate::staged::{Staged, folder_of, sync_folder, unfinished_path};
use crate::{Error, Result, TokenId, ids::Id};

/// Bytes of the index that wait for being written together.
const INDEX_BYTES: usize = 1 << 16;

/// What the ids of a shard are.
#[derive(Clone, Debug)]
pub struct ShardFacts {
    /// Type of the ids in the file.
    pub dtype: Dtype,
    /// Ids are below this.
    pub vocab_size: u32,
    /// The id of the separator, if there is one.
    pub eot_id: Option<TokenId>,
    /// Where it stands.
    pub eot: Eot,
    /// Hash of the `tokenizer.json` that the ids are from.
    pub tokenizer_sha256: String,
    /// What else is told of one of several parts.
    pub part: Option<PartFacts>,
}

/// Writes `NAME.bin` and `NAME.idx` under other names until all is there.
///
/// Dropped half-way, it leaves nothing behind, and an earlier shard of that name as it was; unless
/// it was asked for its [`progress`](Self::progress), from which another may go on.
pub struct ShardWriter {
    facts: ShardFacts,
    bin: Staged,
    idx: Staged,
    /// The present block, up to where it is filled.
    block: Vec<u8>,
    /// How much of it is in the file already.
    block_written: usize,
    block_xxh3: Vec<u64>,
    /// Document starts that are not written yet.
    starts: Vec<u8>,
    idx_xxh3: Xxh3,
    totals: Totals,
    /// Where the present document starts.
    document_start: u64,
    /// Last, so that the files above are closed or gone before others may begin.
    lock: Option<Lock>,
}

/// How much is in a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Number of ids.
    pub tokens: u64,
    /// Number of documents.
    pub documents: u64,
    /// Bytes of text in the documents.
    pub bytes: u64,
}

/// How far a shard is on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardProgress {
    pub(super) totals: Totals,
    /// Where the present document starts.
    document_start: u64,
    /// Checksum of the checksums of all blocks, the last one being as long as it is.
    bin_xxh3: String,
    idx_xxh3: String,
}

impl ShardWriter {
    /// Begins the shard whose ids will be in `path`. What an unfinished
    /// [`encode_files`](super::encode_files) has left of that name is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if somebody else writes it, [`Error::DtypeTooNarrow`] if 16 bits do not
    /// hold the vocabulary, [`Error::Shard`] if `path` is the name of an index, of a manifest or of
    /// the tokenizer, [`Error::Io`] if the folder is not there or takes no file.
    pub fn create(path: &Path, facts: ShardFacts) -> Result<Self> {
        let lock = Lock::acquire(path)?;
        let writer = Self::begin(path, facts)?;
        SavedState::remove(path)?;
        Ok(Self { lock: Some(lock), ..writer })
    }

    /// [`create`](Self::create) for who has the lock and knows what was left.
    pub(super) fn begin(path: &Path, facts: ShardFacts) -> Result<Self> {
        check_name(path)?;
        check_width(facts.dtype, facts.vocab_size)?;
        let idx = beside(path).0;
        Ok(Self::of(facts, Staged::unfinished(path)?, Staged::unfinished(&idx)?))
    }

    fn of(facts: ShardFacts, bin: Staged, idx: Staged) -> Self {
        Self {
            facts,
            bin,
            idx,
            block: Vec::with_capacity(BLOCK_BYTES),
            block_written: 0,
            block_xxh3: Vec::new(),
            starts: Vec::with_capacity(INDEX_BYTES),
            idx_xxh3: Xxh3::new(),
            totals: Totals::default(),
            document_start: 0,
            lock: None,
        }
    }

    /// Goes on where an earlier writer was when it gave its progress.
    ///
    /// # Errors
    ///
    /// [`Error::CannotResume`] if what is on the disk is not what it was then, [`Error::Io`].
    pub(super) fn resume(path: &Path, facts: ShardFacts, progress: &ShardProgress) -> Result<Self> {
        let totals = progress.totals;
        let reopened = Staged::reopen(path);
        let bin = reopened.and_then(|bin| Ok((bin, Staged::reopen(&beside(path).0)?)));
        let (bin, idx) = bin.map_err(|error| refuse(path, error.to_string()))?;
        let mut writer = Self::of(facts, bin, idx);
        let bin_bytes = totals.tokens.saturating_mul(writer.facts.dtype.width() as u64);
        let idx_bytes = totals.documents.saturating_mul(8);
        for_each_block(&writer.bin, bin_bytes, |block| {
            if block.len() == BLOCK_BYTES {
                writer.block_xxh3.push(xxh3_64(block));
            } else {
                writer.block.extend_from_slice(block);
            }
        })?;
        writer.block_written = writer.block.len();
        for_each_block(&writer.idx, idx_bytes, |starts| writer.idx_xxh3.update(starts))?;
        writer.totals = totals;
        writer.document_start = progress.document_start;
        for (staged, found, expected) in [
            (&writer.bin, writer.blocks_xxh3(), &progress.bin_xxh3),
            (&writer.idx, hex(writer.idx_xxh3.digest()), &progress.idx_xxh3),
        ] {
            if found != *expected {
                let file = unfinished_path(&staged.path);
                let reason = format!("`{}` is damaged: its checksum is another", file.display());
                return Err(refuse(path, reason));
            }
        }
        writer.bin.truncate(bin_bytes)?;
        writer.idx.truncate(idx_bytes)?;
        Ok(writer)
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
                self.end_block()?;
            }
        }
        self.totals.tokens += ids.len() as u64;
        Ok(())
    }

    /// Ends the present document, which was made from `bytes` bytes of text.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the disk is full.
    pub fn end_document(&mut self, bytes: u64) -> Result<()> {
        self.starts.extend_from_slice(&self.document_start.to_le_bytes());
        if self.starts.len() >= INDEX_BYTES {
            self.write_starts()?;
        }
        self.document_start = self.totals.tokens;
        self.totals.documents += 1;
        self.totals.bytes += bytes;
        Ok(())
    }

    /// The folder of its files.
    pub(super) fn folder(&self) -> &Path {
        folder_of(&self.bin.path)
    }

    /// How much there is so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Bytes that have been written, or soon will be.
    pub(super) fn written(&self) -> u64 {
        self.totals.tokens * self.facts.dtype.width() as u64 + self.totals.documents * 8
    }

    /// Writes what there is, waits until it is on the disk, and tells how much it is.
    pub(super) fn progress(&mut self) -> Result<ShardProgress> {
        self.flush()?;
        self.bin.sync()?;
        self.idx.sync()?;
        sync_folder(&self.bin.path)?;
        Ok(ShardProgress {
            totals: self.totals,
            document_start: self.document_start,
            bin_xxh3: self.blocks_xxh3(),
            idx_xxh3: hex(self.idx_xxh3.digest()),
        })
    }

    /// Drops the writer and the files, however often their progress was asked for.
    pub(super) fn discard(mut self) {
        for staged in [&mut self.bin, &mut self.idx] {
            staged.keep(false);
        }
    }

    /// Writes what is left and the manifest, and waits until all is on the disk, still under other
    /// names.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the disk is full.
    pub fn seal(mut self, sources: Vec<SourceFacts>) -> Result<SealedShard> {
        self.flush()?;
        if !self.block.is_empty() {
            self.block_xxh3.push(xxh3_64(&self.block));
        }
        let Totals { tokens, documents, bytes } = self.totals;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            dtype: self.facts.dtype,
            tokens,
            documents,
            bytes,
            vocab_size: self.facts.vocab_size,
            eot_id: self.facts.eot_id,
            eot: self.facts.eot,
            tokenizer_sha256: self.facts.tokenizer_sha256,
            block_bytes: BLOCK_BYTES as u64,
            block_xxh3: self.block_xxh3.iter().map(|&checksum| hex(checksum)).collect(),
            idx_xxh3: hex(self.idx_xxh3.digest()),
            sources,
            part: self.facts.part,
            tool: super::TOOL.to_owned(),
        };
        let json_path = beside(&self.bin.path).1;
        let mut json = Staged::unfinished(&json_path)?;
        json.write(seal(&json_path, &manifest)?.as_bytes())?;
        for staged in [&self.bin, &self.idx, &json] {
            staged.sync()?;
        }
        sync_folder(&self.bin.path)?;
        Ok(SealedShard { bin: self.bin, idx: self.idx, json, manifest, _lock: self.lock })
    }

    /// Lets the files stay, whatever happens to the writer.
    pub(super) fn keep(&mut self) {
        self.bin.keep(true);
        self.idx.keep(true);
    }

    fn blocks_xxh3(&self) -> String {
        let mut hash = Xxh3::new();
        for checksum in &self.block_xxh3 {
            hash.update(&checksum.to_le_bytes());
        }
        hash.update(&xxh3_64(&self.block).to_le_bytes());
        hex(hash.digest())
    }

    fn end_block(&mut self) -> Result<()> {
        self.block_xxh3.push(xxh3_64(&self.block));
        self.bin.write(&self.block[self.block_written..])?;
        self.block.clear();
        self.block_written = 0;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.bin.write(&self.block[self.block_written..])?;
        self.block_written = self.block.len();
        self.write_starts()
    }

    fn write_starts(&mut self) -> Result<()> {
        self.idx_xxh3.update(&self.starts);
        self.idx.write(&self.starts)?;
        self.starts.clear();
        Ok(())
    }
}

/// Refuses what would be the name of another file of the shard, or of the tokenizer.
pub(super) fn check_name(path: &Path) -> Result<()> {
    let (idx, json) = beside(path);
    if path == idx || path == json || json.ends_with("tokenizer.json") {
        let reason = "is taken by another file of the folder; expected a name like `train.bin`";
        return Err(misfit(path, "name", reason));
    }
    Ok(())
}

fn refuse(path: &Path, reason: String) -> Error {
    Error::CannotResume { path: path.to_owned(), reason }
}

/// Reads the first `len` bytes of what an earlier process left, block by block.
fn for_each_block(staged: &Staged, len: u64, mut take: impl FnMut(&[u8])) -> Result<()> {
    let (file, found) = staged.contents()?;
    if found < len {
        let file = unfinished_path(&staged.path);
        let reason = format!("`{}` has {found} bytes, expected {len} or more", file.display());
        return Err(refuse(&staged.path, reason));
    }
    let mut file = BufReader::new(file);
    let (mut left, mut block) = (len, Vec::with_capacity(BLOCK_BYTES));
    while left > 0 {
        block.clear();
        let n_read = file.by_ref().take(left.min(BLOCK_BYTES as u64)).read_to_end(&mut block);
        let n_read = n_read.map_err(|source| Error::io(&staged.path, source))?;
        take(&block);
        left = left.saturating_sub(n_read.max(1) as u64);
    }
    Ok(())
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
    /// Until the files have their names, or are gone.
    _lock: Option<Lock>,
}

impl SealedShard {
    /// What its manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// From now on the files stay, for [`publish_files`].
    pub(super) fn keep(&mut self) {
        for staged in [&mut self.bin, &mut self.idx, &mut self.json] {
            staged.keep(true);
        }
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
        for mut shard in shards {
            shard.keep();
            publish_files(&shard.bin.path)?;
        }
        Ok(())
    }
}

/// Gives those files of the shard in `bin` their names that have not got them yet.
pub(super) fn publish_files(bin: &Path) -> Result<()> {
    let (idx, json) = beside(bin);
    for path in [&json, &idx, bin] {
        if unfinished_path(path).exists() || !path.exists() {
            Staged::reopen(path)?.publish()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(dtype: Dtype, vocab_size: u32) -> ShardFacts {
        ShardFacts {
            dtype,
            vocab_size,
            eot_id: None,
            eot: Eot::None,
            tokenizer_sha256: String::new(),
            part: None,
        }
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
    fn one_writes_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.bin");
        let create = || ShardWriter::create(&path, facts(Dtype::Uint16, 10));
        let sealed = create().unwrap().seal(vec![]).unwrap();
        let message = create().map(drop).unwrap_err().to_string();
        assert!(message.contains("train.bin: another process is writing it"), "{message}");
        SealedShard::publish(vec![sealed]).unwrap();
        drop(create().unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
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
