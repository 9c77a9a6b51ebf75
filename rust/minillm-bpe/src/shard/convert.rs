//! A token file for other programs, or one of theirs for yet another.
//!
//! Streams, so the size of the file does not matter. What is written has no manifest: other programs
//! read none, and ours tells their files by the first bytes.

use std::path::Path;

use super::layout::Layout;
use super::{Dtype, ShardReader};
use crate::progress::Progress;
use crate::staged::Staged;
use crate::{Error, Result, TokenId};

/// Ids in memory at a time.
const PIECE: usize = if cfg!(test) { 7 } else { 1 << 20 };

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Whose file was read; [`None`] for one with a manifest.
    pub from: Option<Layout>,
    /// Type of the ids.
    pub dtype: Dtype,
    /// Number of ids.
    pub tokens: u64,
}

/// Writes the ids of the token file at `path` to `out`, as another program reads them.
///
/// # Errors
///
/// [`Error::IdTooWide`] if the ids have 32 bits and one does not fit nanoGPT's 16;
/// [`Error::TooManyForLlmc`]; otherwise as [`ShardReader::open`], and [`Error::Interrupted`].
pub fn convert(path: &Path, to: Layout, out: &Path, progress: &Progress) -> Result<Converted> {
    let mut reader = ShardReader::open(path)?;
    let dtype = if to == Layout::NanoGpt { Dtype::Uint16 } else { reader.dtype() };
    let tokens = reader.tokens();
    let mut target = Staged::create(out)?;
    target.write(&to.header(dtype, tokens)?)?;
    let (mut start, mut ids, mut bytes) = (0, Vec::with_capacity(PIECE), Vec::new());
    while start < tokens {
        ids.clear();
        bytes.clear();
        reader.read::<TokenId>(start, PIECE, &mut ids)?;
        match dtype {
            Dtype::Uint32 => bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes())),
            Dtype::Uint16 => {
                for (position, &id) in (start..).zip(&ids) {
                    let narrow = u16::try_from(id).map_err(|_| Error::IdTooWide {
                        path: path.to_owned(),
                        id,
                        position,
                    })?;
                    bytes.extend(narrow.to_le_bytes());
                }
            }
        }
        target.write(&bytes)?;
        start += ids.len() as u64;
        progress.advance(ids.len() as u64)?;
    }
    target.sync()?;
    target.publish()?;
    Ok(Converted { from: reader.layout(), dtype, tokens })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const IDS: [u32; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];

    fn bare(folder: &TempDir, ids: &[u32]) -> std::path::PathBuf {
        let path = folder.path().join("a.bin");
        let mut file = Layout::Llmc.header(Dtype::Uint32, ids.len() as u64).unwrap();
        file.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        std::fs::write(&path, file).unwrap();
        path
    }

    fn ids_of(path: &Path) -> Vec<TokenId> {
        let mut ids = Vec::new();
        ShardReader::open(path).unwrap().read(0, 100, &mut ids).unwrap();
        ids
    }

    #[test]
    fn ids_are_the_same_in_every_layout() {
        let folder = TempDir::new().unwrap();
        let from = bare(&folder, &IDS);
        for to in Layout::ALL {
            let out = folder.path().join(to.name());
            let converted = convert(&from, to, &out, &Progress::default()).unwrap();
            assert_eq!((converted.from, converted.tokens), (Some(Layout::Llmc), 20));
            assert_eq!(converted.dtype == Dtype::Uint16, to == Layout::NanoGpt);
            assert_eq!(ids_of(&out), IDS);
            let back = folder.path().join("back.npy");
            convert(&out, Layout::Npy, &back, &Progress::default()).unwrap();
            assert_eq!(ids_of(&back), IDS);
        }
    }

    #[test]
    fn ids_that_do_not_fit_are_named_and_nothing_is_left() {
        let folder = TempDir::new().unwrap();
        let mut ids = IDS.to_vec();
        ids[17] = 65_536;
        let (from, out) = (bare(&folder, &ids), folder.path().join("x.bin"));
        let error = convert(&from, Layout::NanoGpt, &out, &Progress::default()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("`: id 65536 at position 17 does not fit nanoGPT's 16 bits\nhint")
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
