//! Ids of a document of which it is not known yet where it goes.
//!
//! That is settled by all of its bytes, so it is known at its end, and a document may be of any
//! length. What does not fit a few megabytes lies in a file without a name, beside the files that
//! are written: the system forgets it with the process.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result, ids::Id};

/// Ids that are held in memory. (Tests have short texts.)
const HELD_BYTES: usize = if cfg!(test) { 16 } else { 8 << 20 };

/// Ids that wait, in memory or on the disk.
#[derive(Debug)]
pub(super) struct HeldIds<I> {
    folder: PathBuf,
    ids: Vec<I>,
    /// The first of them, if they are many.
    file: Option<File>,
}

impl<I: Id> HeldIds<I> {
    /// None; if there will be many, they lie in `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ids: Vec::new(), file: None }
    }

    /// Appends ids.
    pub(super) fn push(&mut self, ids: &[I]) -> Result<()> {
        for some in ids.chunks(HELD_BYTES / size_of::<I>()) {
            self.push_some(some)?;
        }
        Ok(())
    }

    fn push_some(&mut self, ids: &[I]) -> Result<()> {
        self.ids.extend_from_slice(ids);
        if size_of_val(&self.ids[..]) < HELD_BYTES {
            return Ok(());
        }
        let Self { folder, ids, file } = self;
        let write = || {
            let file = match file {
                Some(file) => file,
                none => none.insert(tempfile::tempfile_in(&*folder)?),
            };
            file.write_all(&bytes_of(ids))
        };
        write().map_err(|source| Error::io(&self.folder, source))?;
        self.ids.clear();
        Ok(())
    }

    /// Hands all ids to `write` in order, some at a time; none are left.
    pub(super) fn drain(&mut self, mut write: impl FnMut(&[I]) -> Result<()>) -> Result<()> {
        if let Some(mut file) = self.file.take() {
            let failed = |source| Error::io(&self.folder, source);
            file.rewind().map_err(failed)?;
            let mut bytes = Vec::with_capacity(HELD_BYTES);
            loop {
                bytes.clear();
                let part = (&file).take(HELD_BYTES as u64).read_to_end(&mut bytes);
                if part.map_err(failed)? == 0 {
                    break;
                }
                let ids: Vec<I> = bytes.chunks_exact(size_of::<I>()).map(I::from_le).collect();
                write(&ids)?;
            }
        }
        write(&self.ids)?;
        self.ids.clear();
        Ok(())
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.file = None;
    }
}

fn bytes_of<I: Id>(ids: &[I]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(ids));
    bytes.extend(ids.iter().flat_map(|id| id.id().to_le_bytes().into_iter().take(size_of::<I>())));
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_what_was_held_comes_back_in_order(
            pieces in prop::collection::vec(prop::collection::vec(any::<u16>(), 0..20), 0..10),
            wide in any::<bool>(),
        ) {
            fn there_and_back<I: Id>(pieces: &[Vec<I>]) -> Vec<I> {
                let folder = tempfile::tempdir().unwrap();
                let mut held = HeldIds::new(folder.path());
                held.push(&[I::of(7); 100]).unwrap();
                held.clear();
                for piece in pieces {
                    held.push(piece).unwrap();
                }
                assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
                let mut ids = Vec::new();
                for _ in 0..2 {
                    held.drain(|part| {
                        ids.extend_from_slice(part);
                        Ok(())
                    })
                    .unwrap();
                }
                ids
            }
            let wider: Vec<Vec<u32>> = pieces
                .iter()
                .map(|piece| piece.iter().map(|&id| u32::from(id) << 9).collect())
                .collect();
            if wide {
                prop_assert_eq!(there_and_back(&wider), wider.concat());
            } else {
                prop_assert_eq!(there_and_back(&pieces), pieces.concat());
            }
        }
    }
}
