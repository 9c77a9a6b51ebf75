//! Reads one run of a part: heads and texts, each through a buffer of its own.
//!
//! A merge reads thousands of runs, and a process may have no more than about a thousand files open:
//! a file is open only while a buffer is filled.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::list::ListedPart;
use super::part::{HEAD_BYTES, Head, RunFacts};
use crate::shard::misfit;
use crate::{Error, Result};

/// Heads that are read at once.
const HEADS: usize = if cfg!(test) { 2 } else { 128 };

/// A stretch of a file that is read front to back.
struct Stretch {
    path: Arc<Path>,
    /// Where the file goes on behind the buffer, and where the stretch ends.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// What of the buffer is handed out.
    done: usize,
    buffer_bytes: usize,
}

impl Stretch {
    fn new(path: &Arc<Path>, range: Range<u64>, buffer_bytes: usize) -> Self {
        let (path, Range { start: at, end }) = (Arc::clone(path), range);
        Self { path, at, end, buffer: Vec::new(), done: 0, buffer_bytes }
    }

    /// The place in the buffer of the next `n` bytes.
    fn take(&mut self, n: usize) -> Result<Range<usize>> {
        if self.buffer.len() - self.done < n {
            self.fill(n)?;
        }
        self.done += n;
        Ok(self.done - n..self.done)
    }

    fn fill(&mut self, n: usize) -> Result<()> {
        self.buffer.drain(..self.done);
        self.done = 0;
        let missing = (n - self.buffer.len()) as u64;
        let left = self.end - self.at;
        if missing > left {
            return Err(misfit(&self.path, "documents", "have more bytes than their run"));
        }
        let wanted = missing.max(self.buffer_bytes as u64).min(left);
        // A document that is longer than the buffer has made it grow.
        self.buffer.shrink_to(2 * self.buffer_bytes);
        let reserved = usize::try_from(wanted).unwrap_or(usize::MAX);
        self.buffer.reserve_exact(reserved);
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.at))?;
            file.take(wanted).read_to_end(&mut self.buffer)
        });
        let n_read = read.map_err(|source| Error::io(&*self.path, source))? as u64;
        if n_read < wanted {
            let reason = format!("are {}, expected {} or more", self.at + n_read, self.end);
            return Err(misfit(&self.path, "bytes", reason));
        }
        self.at += wanted;
        Ok(())
    }

    fn skip(&mut self, n: u64) {
        let buffered = (self.buffer.len() - self.done) as u64;
        self.done += usize::try_from(n.min(buffered)).unwrap_or(0);
        self.at = self.at.saturating_add(n.saturating_sub(buffered)).min(self.end);
    }

    /// Gives its memory back.
    fn close(&mut self) {
        (self.buffer, self.done) = (Vec::new(), 0);
    }
}

/// A run that is being read.
pub(super) struct RunReader {
    /// The part that it is of, by its place in the list.
    pub(super) part: usize,
    /// What is known of the document that it is at.
    pub(super) head: Head,
    heads: Stretch,
    texts: Stretch,
    seed: Option<u64>,
    left: u64,
    /// Whether the text of the document is still to be passed over.
    is_ahead: bool,
    text: Range<usize>,
}

impl RunReader {
    /// Those of a part, each before its first document.
    pub(super) fn of_part(part: &ListedPart, index: usize, text_bytes: usize) -> Vec<Self> {
        let mut at = 0;
        let open = |facts: &RunFacts| {
            // Whether 64 bits hold the sums was found when the manifest was read.
            let heads = at..at + facts.head_bytes().unwrap_or(0);
            let texts = heads.end..heads.end + facts.bytes;
            at = texts.end;
            Self {
                part: index,
                head: Head { key: 0, ordinal: 0, end: 0, len: 0 },
                heads: Stretch::new(&part.path, heads, HEADS * HEAD_BYTES),
                texts: Stretch::new(&part.path, texts, text_bytes),
                seed: part.seed,
                left: facts.documents,
                is_ahead: false,
                text: 0..0,
            }
        };
        part.runs.iter().map(open).collect()
    }

    /// Goes on to the next document. False at the end.
    pub(super) fn advance(&mut self) -> Result<bool> {
        if self.is_ahead {
            self.texts.skip(self.head.len.into());
        }
        if self.left == 0 {
            self.heads.close();
            self.texts.close();
            return Ok(false);
        }
        self.left -= 1;
        let place = self.heads.take(HEAD_BYTES)?;
        let head = Head::of_bytes(&self.heads.buffer[place]);
        self.head = head.ok_or_else(|| self.damaged())?;
        self.is_ahead = true;
        Ok(true)
    }

    /// Reads the text of the document.
    pub(super) fn read_text(&mut self) -> Result<()> {
        self.text = self.texts.take(self.head.len as usize)?;
        self.is_ahead = false;
        if super::part::key(self.text(), self.seed) == self.head.key {
            Ok(())
        } else {
            Err(self.damaged())
        }
    }

    /// The text that was read.
    pub(super) fn text(&self) -> &[u8] {
        &self.texts.buffer[self.text.clone()]
    }

    /// Where the text of the document lies in the file, if it is not read.
    pub(super) fn text_range(&self) -> Range<u64> {
        let start = self.texts.at - (self.texts.buffer.len() - self.texts.done) as u64;
        start..start + u64::from(self.head.len)
    }

    fn damaged(&self) -> Error {
        let reason = "are not those that were gathered: it is damaged; gather it anew";
        misfit(&self.heads.path, "documents", reason)
    }
}
