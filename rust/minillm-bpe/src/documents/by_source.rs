//! How many tokens of a token file are of which source.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::text_out::{ENTRY_BYTES, IS_VAL, MAGIC};
use crate::shard::{ShardReader, misfit};
use crate::{Error, Result};

/// What one source has in one token file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceTokens {
    /// Documents.
    pub documents: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Their tokens, those of separators included.
    pub tokens: u64,
}

/// What each of `n_sources` has in the token files that an arranged text was encoded to: for
/// training, and for validation. `sources` is the file beside that text.
///
/// # Errors
///
/// [`Error::Shard`] if the files are not of the same documents, or damaged; [`Error::Io`].
pub fn tokens_by_source(
    sources: &Path,
    train: &Path,
    val: Option<&Path>,
    n_sources: usize,
) -> Result<Vec<[SourceTokens; 2]>> {
    let mut lengths = [Lengths::read(train)?, val.map_or(Ok(Lengths::default()), Lengths::read)?];
    let mut found = vec![[SourceTokens::default(); 2]; n_sources];
    for_each_entry(sources, |source, is_val, bytes| {
        // Without a file for validation, all are in the other.
        let file = usize::from(is_val && val.is_some());
        let Some(counts) = found.get_mut(usize::from(source)) else {
            let reason = format!("has a document of source {source}, expected below {n_sources}");
            return Err(misfit(sources, "source", reason));
        };
        let path = if file == 0 { Some(train) } else { val };
        let tokens = lengths[file].next().ok_or_else(|| {
            misfit(path.unwrap_or(train), "documents", "are fewer than in the text; encode it anew")
        })?;
        counts[file].documents += 1;
        counts[file].bytes += u64::from(bytes);
        counts[file].tokens += tokens;
        Ok(())
    })?;
    for (lengths, path) in lengths.iter_mut().zip([Some(train), val]) {
        if lengths.next().is_some() {
            let path = path.unwrap_or(train);
            return Err(misfit(path, "documents", "are more than in the text; encode it anew"));
        }
    }
    Ok(found)
}

/// The tokens of each document of a token file, in turn.
#[derive(Default)]
struct Lengths {
    starts: std::vec::IntoIter<u64>,
    at: u64,
    end: u64,
    left: usize,
}

impl Lengths {
    fn read(path: &Path) -> Result<Self> {
        let reader = ShardReader::open(path)?;
        let starts = reader.document_starts()?;
        let left = starts.len();
        let mut starts = starts.into_iter();
        let at = starts.next().unwrap_or(0);
        Ok(Self { starts, at, end: reader.tokens(), left })
    }

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let end = self.starts.next().unwrap_or(self.end);
        let tokens = end.saturating_sub(self.at);
        self.at = end;
        Some(tokens)
    }
}

/// Calls `each` with source, whether it is for validation, and bytes of each document.
fn for_each_entry(path: &Path, mut each: impl FnMut(u16, bool, u32) -> Result<()>) -> Result<()> {
    let io = |source: std::io::Error| match source.kind() {
        ErrorKind::UnexpectedEof => misfit(path, "bytes", "end before the checksum"),
        _ => Error::io(path, source),
    };
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic).map_err(io)?;
    let entries = size.checked_sub(16).filter(|bytes| bytes % ENTRY_BYTES as u64 == 0);
    let (Some(bytes), true) = (entries, magic == *MAGIC) else {
        return Err(misfit(path, "magic", "is not that of a file of sources"));
    };
    let mut hash = Xxh3::new();
    for _ in 0..bytes / ENTRY_BYTES as u64 {
        let mut entry = [0; ENTRY_BYTES];
        reader.read_exact(&mut entry).map_err(io)?;
        hash.update(&entry);
        let [a, b, len @ ..] = entry;
        let source = u16::from_le_bytes([a, b]);
        each(source & !IS_VAL, source & IS_VAL != 0, u32::from_le_bytes(len))?;
    }
    let mut checksum = [0; 8];
    reader.read_exact(&mut checksum).map_err(io)?;
    if u64::from_le_bytes(checksum) == hash.digest() {
        return Ok(());
    }
    Err(misfit(path, "checksum", "is not that of the entries: it is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::text_out::{TextOut, sources_path};
    use crate::progress::Progress;

    #[test]
    fn entries_are_those_that_were_written_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("all.txt");
        let progress = Progress::default();
        let mut out = TextOut::create(&text, "|", 0.5, true, 0).unwrap();
        let documents: Vec<String> = (0..20).map(|i| "x".repeat(i)).collect();
        for (source, document) in (0..).zip(&documents) {
            out.push(source, document.as_bytes(), &progress).unwrap();
        }
        out.finish(&progress).unwrap();
        let (path, mut found) = (sources_path(&text), Vec::new());
        let read = |found: &mut Vec<_>| {
            for_each_entry(&path, |source, is_val, bytes| {
                found.push((source, is_val, bytes));
                Ok(())
            })
        };
        read(&mut found).unwrap();
        assert!(found.iter().zip(0..).all(|(entry, i)| (entry.0, entry.2) == (i, i.into())));
        let n_val = found.iter().filter(|(_, is_val, _)| *is_val).count();
        assert!((3..18).contains(&n_val));
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            assert!(read(&mut found).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(read(&mut found).is_err(), "{len} bytes");
        }
    }
}
