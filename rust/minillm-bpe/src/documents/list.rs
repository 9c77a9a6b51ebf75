//! The parts of all sources, and what of each takes part.

use std::path::Path;
use std::sync::Arc;

use super::SourceOfParts;
use super::part::{Head, Manifest, RunFacts};
use super::run::RunReader;
use crate::progress::Stop;
use crate::shard::misfit;
use crate::{Error, Result};

/// A part, as far as it takes part.
pub(super) struct ListedPart {
    pub(super) path: Arc<Path>,
    /// Number of its source.
    pub(super) source: usize,
    pub(super) seed: Option<u64>,
    pub(super) runs: Vec<RunFacts>,
    /// Documents in it.
    pub(super) documents: u64,
    /// Its first documents alone take part: so many,
    most_documents: u64,
    /// and up to so many bytes.
    most_bytes: u64,
    /// A bit for each document that equals another; empty if there is none.
    duplicates: Vec<u64>,
}

impl ListedPart {
    /// Whether a document takes part.
    pub(super) fn takes(&self, head: &Head) -> bool {
        let (word, bit) = place(head.ordinal);
        head.ordinal < self.most_documents
            && head.end <= self.most_bytes
            && self.duplicates.get(word).is_none_or(|bits| bits & bit == 0)
    }

    /// Bytes of the documents that take part; reads all heads.
    fn bytes_taken(&self, stop: &Stop) -> Result<u64> {
        let mut bytes = 0;
        for mut run in RunReader::of_part(self, 0, 0) {
            while run.advance()? {
                stop.check()?;
                bytes += if self.takes(&run.head) { u64::from(run.head.len) } else { 0 };
            }
        }
        Ok(bytes)
    }

    /// Leaves out a document of it.
    pub(super) fn leave_out(&mut self, ordinal: u64) -> Result<()> {
        if ordinal >= self.documents {
            return Err(misfit(&self.path, "documents", "have a number above theirs"));
        }
        if self.duplicates.is_empty() {
            self.duplicates = vec![0; place(self.documents).0 + 1];
        }
        let (word, bit) = place(ordinal);
        if let Some(bits) = self.duplicates.get_mut(word) {
            *bits |= bit;
        }
        Ok(())
    }
}

/// The word of a bit, and the bit in it.
fn place(ordinal: u64) -> (usize, u64) {
    (usize::try_from(ordinal / 64).unwrap_or(usize::MAX - 1), 1 << (ordinal % 64))
}

/// What is known of a source before its documents are read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    /// Bytes that take part, unless a limit of tokens leaves some out.
    pub(super) bytes: u64,
    /// Documents of it that equal others, and their bytes.
    pub(super) duplicates: u64,
    pub(super) duplicate_bytes: u64,
}

/// All parts, in the order of sources and of reading.
pub(super) struct List {
    pub(super) parts: Vec<ListedPart>,
    pub(super) sources: Vec<Expected>,
    /// Whether they were shuffled.
    pub(super) is_shuffled: bool,
}

impl List {
    /// Reads the manifests.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] for a part that is missing, damaged, or was gathered with another seed or
    /// separator than the first; [`Error::Io`]; [`Error::Interrupted`].
    pub(super) fn read(sources: &[SourceOfParts], separator: &str, stop: &Stop) -> Result<Self> {
        let mut list = Self { parts: Vec::new(), sources: Vec::new(), is_shuffled: false };
        for (index, source) in sources.iter().enumerate() {
            list.sources.push(Expected::default());
            let mut documents_left = source.max_documents.unwrap_or(u64::MAX);
            let mut bytes_left = source.max_bytes.unwrap_or(u64::MAX);
            for path in &source.parts {
                let manifest = Manifest::read(path)?;
                let manifest =
                    manifest.ok_or_else(|| misfit(path, "part", "is missing, or not finished"))?;
                list.expect_seed(path, &manifest, separator)?;
                let stats = manifest.stats;
                list.parts.push(ListedPart {
                    path: Arc::from(&**path),
                    source: index,
                    seed: manifest.options.seed,
                    runs: manifest.runs,
                    documents: stats.documents,
                    most_documents: documents_left,
                    most_bytes: bytes_left,
                    duplicates: Vec::new(),
                });
                let is_whole = stats.documents <= documents_left && stats.bytes <= bytes_left;
                list.sources[index].bytes += match list.parts.last() {
                    Some(part) if !is_whole => part.bytes_taken(stop)?,
                    _ => stats.bytes,
                };
                // What follows a document that is left out is left out, however short.
                let is_cut = stats.limited || stats.bytes > bytes_left;
                documents_left = documents_left.saturating_sub(stats.documents);
                bytes_left = bytes_left.saturating_sub(stats.bytes);
                if is_cut || documents_left == 0 {
                    break;
                }
            }
        }
        Ok(list)
    }

    fn expect_seed(&mut self, path: &Path, manifest: &Manifest, separator: &str) -> Result<()> {
        let options = &manifest.options;
        let refuse = |option: &str, found: String, expected: String| -> Result<(), Error> {
            let reason = format!("was {found} when it was gathered, expected {expected}");
            Err(misfit(path, option, reason))
        };
        if options.separator != separator {
            return refuse(
                "separator",
                format!("{:?}", options.separator),
                format!("{separator:?}"),
            );
        }
        self.is_shuffled = options.seed.is_some();
        match self.parts.first() {
            Some(first) if first.seed != options.seed => {
                let name = |seed: Option<u64>| seed.map_or("none".to_owned(), |it| it.to_string());
                let path = first.path.display();
                refuse("seed", name(options.seed), format!("{} as in {path}", name(first.seed)))
            }
            _ => Ok(()),
        }
    }
}
