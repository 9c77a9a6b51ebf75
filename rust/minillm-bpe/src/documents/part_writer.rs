//! Writes a part: sorts what memory holds, and writes it as a run.

use std::path::Path;

use super::GatherOptions;
use super::buffered::Buffered;
use super::part::{
    FORMAT, FORMAT_VERSION, GatherStats, Head, Manifest, RunFacts, key, manifest_path,
};
use crate::progress::Progress;
use crate::shard::{Lock, TOOL, seal};
use crate::staged::{Staged, remove};
use crate::{Error, Result};

/// Memory of a run: texts, and what is known of each. (Tests have short texts.)
const RUN_BYTES: usize = if cfg!(test) { 256 } else { 64 << 20 };

/// A part that grows. Dropped unfinished, it leaves nothing behind.
pub(super) struct PartWriter {
    file: Buffered,
    seed: Option<u64>,
    /// Texts of the open run, one behind the other in the order of reading.
    texts: Vec<u8>,
    /// What is known of each, and where its text begins in `texts`.
    heads: Vec<(Head, usize)>,
    runs: Vec<RunFacts>,
    documents: u64,
    bytes: u64,
    /// Last, as it is to be given back last.
    _lock: Lock,
}

impl PartWriter {
    /// Begins the part `path`; what is there is replaced when this is finished.
    pub(super) fn create(path: &Path, seed: Option<u64>) -> Result<Self> {
        let lock = Lock::beside(path)?;
        Ok(Self {
            file: Buffered::create(path, 0)?,
            seed,
            texts: Vec::new(),
            heads: Vec::new(),
            runs: Vec::new(),
            documents: 0,
            bytes: 0,
            _lock: lock,
        })
    }

    /// Documents and bytes so far.
    pub(super) fn taken(&self) -> (u64, u64) {
        (self.documents, self.bytes)
    }

    /// Appends a document, which has fewer than 2^32 bytes.
    pub(super) fn push(&mut self, text: &[u8], progress: &Progress) -> Result<()> {
        let held = self.texts.len() + self.heads.len() * size_of::<(Head, usize)>();
        if held + text.len() > RUN_BYTES {
            self.finish_run(progress)?;
        }
        self.bytes += text.len() as u64;
        let head = Head {
            key: key(text, self.seed),
            ordinal: self.documents,
            end: self.bytes,
            len: u32::try_from(text.len()).unwrap_or(u32::MAX),
        };
        self.documents += 1;
        self.heads.push((head, self.texts.len()));
        self.texts.extend_from_slice(text);
        Ok(())
    }

    fn finish_run(&mut self, progress: &Progress) -> Result<()> {
        if self.heads.is_empty() {
            return Ok(());
        }
        if self.seed.is_some() {
            self.heads.sort_unstable_by_key(|(head, _)| (head.key, head.ordinal));
        }
        let (heads, texts) = (std::mem::take(&mut self.heads), std::mem::take(&mut self.texts));
        self.runs.push(RunFacts { documents: heads.len() as u64, bytes: texts.len() as u64 });
        for (head, _) in &heads {
            self.file.write(&head.to_bytes(), progress)?;
        }
        for &(head, start) in &heads {
            self.file.write(&texts[start..start + head.len as usize], progress)?;
        }
        (self.heads, self.texts) = (heads, texts);
        self.heads.clear();
        self.texts.clear();
        // A document that is longer than a run has made it grow.
        self.texts.shrink_to(RUN_BYTES);
        Ok(())
    }

    /// Gives the part its name.
    pub(super) fn finish(
        mut self,
        options: GatherOptions,
        stats: GatherStats,
        progress: &Progress,
    ) -> Result<()> {
        self.finish_run(progress)?;
        self.file.sync(progress)?;
        let json = manifest_path(&self.file.file.path);
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            options,
            stats,
            runs: self.runs,
            tool: TOOL.to_owned(),
        };
        let mut staged = Staged::unfinished(&json)?;
        let written = staged.write(seal(&json, &manifest)?.as_bytes()).and_then(|()| staged.sync());
        written.map_err(|error: Error| error.or_disk_full(None))?;
        // One manifest never describes two files: the old one goes before its file does.
        remove(&json)?;
        self.file.file.publish()?;
        staged.publish()
    }
}
