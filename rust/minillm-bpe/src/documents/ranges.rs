//! Files, and parts of them, for several who gather.
//!
//! Files of plain text and of jsonl are cut where documents end; a packed one, or one that is one
//! document, stays whole. So all ranges of all parts in order give what the whole files would.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::TextDocuments;
use crate::input::{kind_of, open};
use crate::shard::{document_range, misfit};
use crate::special::SpecialTokens;
use crate::{Error, Result};

/// Some bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// The file.
    pub path: PathBuf,
    /// Its first byte.
    pub start: u64,
    /// The byte behind its last; [`u64::MAX`] for the end of the file.
    pub end: u64,
}

impl FileRange {
    /// All of a file.
    pub fn whole(path: PathBuf) -> Self {
        Self { path, start: 0, end: u64::MAX }
    }

    pub(super) fn is_json_lines(&self) -> bool {
        kind_of(&self.path).0
    }

    /// Bytes of text in it, if that is known before it is read.
    pub(super) fn text_bytes(&self) -> Option<u64> {
        let (_, is_packed) = kind_of(&self.path);
        let facts = self.path.metadata().ok().filter(|facts| facts.is_file() && !is_packed)?;
        Some(self.end.min(facts.len()).saturating_sub(self.start))
    }

    /// Its bytes, unpacked.
    pub(super) fn open(&self) -> Result<Box<dyn Read + Send>> {
        let io = |source| Error::io(&self.path, source);
        if (self.start, self.end) == (0, u64::MAX) {
            return open(&self.path).map_err(io);
        }
        if kind_of(&self.path).1 {
            let size = self.path.metadata().map_err(io)?.len();
            if self.start > 0 || self.end < size {
                return Err(misfit(&self.path, "range", "is not all of it, and it is packed"));
            }
            return open(&self.path).map_err(io);
        }
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(self.start)).map_err(io)?;
        Ok(Box::new(file.take(self.end.saturating_sub(self.start))))
    }

    /// How many lines end before it, for messages.
    pub(super) fn lines_before(&self) -> Result<u64> {
        let io = |source| Error::io(&self.path, source);
        if self.start == 0 {
            return Ok(0);
        }
        let file = File::open(&self.path).map_err(io)?.take(self.start);
        let (mut reader, mut lines) = (BufReader::with_capacity(1 << 18, file), 0);
        loop {
            let bytes = reader.fill_buf().map_err(io)?;
            if bytes.is_empty() {
                return Ok(lines);
            }
            lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
            let n_read = bytes.len();
            reader.consume(n_read);
        }
    }
}

/// Cuts files, one behind the other, into parts of about `part_bytes` bytes, at the ends of
/// documents as [`Gather`](super::Gather) finds them. No part is empty.
///
/// A document belongs to the part in which it begins, and so does a file that is not cut.
///
/// # Errors
///
/// [`Error::Io`] names a file that cannot be read; [`Error::SpecialToken`] if the separator is
/// empty.
pub fn cut_files(
    paths: &[PathBuf],
    part_bytes: u64,
    documents: TextDocuments,
    separator: &str,
) -> Result<Vec<Vec<FileRange>>> {
    let separator = SpecialTokens::new(&[separator.to_owned()])?;
    let line_end = SpecialTokens::new(&["\n".to_owned()])?;
    let part_bytes = part_bytes.max(1);
    let (mut parts, mut base): (Vec<(u64, Vec<FileRange>)>, u64) = (Vec::new(), 0);
    let mut put = |part: u64, range: FileRange| match parts.last_mut() {
        Some((last, ranges)) if *last == part => ranges.push(range),
        _ => parts.push((part, vec![range])),
    };
    for path in paths {
        let size = path.metadata().map_err(|source| Error::io(path, source))?.len();
        let by = match (kind_of(path), documents) {
            ((_, true), _) => None,
            ((true, false), _) | (_, TextDocuments::Line) => Some(&line_end),
            (_, TextDocuments::Separator) => Some(&separator),
            (_, TextDocuments::File) => None,
        };
        for part in base / part_bytes..=(base + size.max(1) - 1) / part_bytes {
            let range = |start, end| FileRange { path: path.clone(), start, end };
            let Some(by) = by else {
                put(part, range(0, size));
                break;
            };
            let ours = |place: u64| (place * part_bytes).saturating_sub(base).min(size);
            let found = document_range(path, ours(part)..ours(part + 1), size, by)?;
            if !found.is_empty() {
                put(part, range(found.start, found.end));
            }
        }
        base += size;
    }
    Ok(parts.into_iter().map(|(_, ranges)| ranges).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_packed_or_one_document_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let paths = [write("a.txt", "one|two|three"), write("b.txt.gz", "not looked at")];
        let cut = |documents| -> Vec<Vec<(u64, u64)>> {
            let parts = cut_files(&paths, 5, documents, "|").unwrap();
            let ends = |range: &FileRange| (range.start, range.end);
            parts.iter().map(|ranges| ranges.iter().map(ends).collect()).collect()
        };
        let expected = vec![vec![(0, 8)], vec![(8, 13)], vec![(0, 13)]];
        assert_eq!(cut(TextDocuments::Separator), expected);
        assert_eq!(cut(TextDocuments::File), [vec![(0, 13)], vec![(0, 13)]]);
        let missing = [PathBuf::from("no.txt")];
        let error = cut_files(&missing, 5, TextDocuments::Line, "|").unwrap_err();
        assert!(error.to_string().starts_with("no.txt: "));
    }
}
