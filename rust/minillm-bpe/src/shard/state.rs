//! What a later run needs to go on where this one is stopped.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::recipe::Recipe;
use super::sealed_json::{Sealed, seal};
use super::skip::Position;
use super::writer::ShardProgress;
use super::{hidden, misfit};
use crate::Result;
use crate::staged::{self, Staged, unfinished_path};

const FORMAT: &str = "minillm.encode-state";
const FORMAT_VERSION: u32 = 2;

/// A moment at which all that was written is on the disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedState {
    /// What the run was about.
    pub(super) recipe: Recipe,
    /// How far the sources were read.
    pub(super) position: Position,
    /// Bytes read of each source.
    pub(super) source_bytes: Vec<u64>,
    /// Pieces that were skipped.
    pub(super) n_blank: u64,
    /// Bytes of the document that has begun, all of which are written; 0 between documents.
    pub(super) document_bytes: u64,
    /// How far the files were, that for training first; none if all of them are complete and want
    /// nothing but their names.
    pub(super) shards: Option<Vec<ShardProgress>>,
}

/// A state as it is written.
#[derive(Serialize)]
struct Written<'s> {
    format: &'static str,
    format_version: u32,
    #[serde(flatten)]
    state: &'s SavedState,
}

impl SavedState {
    /// What the run that writes `out` saved last; [`None`] if it did not yet.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`](crate::Error::Shard) if the file is damaged or of another version.
    pub(super) fn load(out: &Path) -> Result<Option<Self>> {
        let path = path(out);
        let Some(sealed) = Sealed::read(&path, FORMAT, FORMAT_VERSION)? else { return Ok(None) };
        let state: Self = sealed.parse(&path)?;
        if state.source_bytes.len() != state.recipe.sources.len() {
            return Err(misfit(&path, "source_bytes", "has not one number for each source"));
        }
        Ok(Some(state))
    }

    /// Puts the state in the place of the last one, so that either of them is there at any moment.
    pub(super) fn save(&self, out: &Path) -> Result<()> {
        let path = path(out);
        let mut file = Staged::unfinished(&path)?;
        let written = Written { format: FORMAT, format_version: FORMAT_VERSION, state: self };
        file.write(seal(&path, &written)?.as_bytes())?;
        file.sync()?;
        file.publish()
    }

    /// Removes what the run that writes `out` saved, if it did.
    pub(super) fn remove(out: &Path) -> Result<()> {
        let path = path(out);
        staged::remove(&unfinished_path(&path))?;
        staged::remove(&path)
    }
}

/// Where the run that writes `out` saves its state.
pub(super) fn path(out: &Path) -> PathBuf {
    hidden(out, "state")
}
