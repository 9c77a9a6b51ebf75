//! Counted pre-tokens in the form that they have on disk, and how sorted lists become one.
//!
//! An entry is `varint length, varint count, text`; varints hold seven bits a byte, lowest first.
//! Entries ascend by their text, so [`fold`] makes one list of many in a single pass that holds
//! one entry of each.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{ErrorKind, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use super::table::sort_key;
use crate::{Error, Result, progress::Progress};

/// Bytes that the two numbers of an entry take at most.
pub(super) const NUMBERS_BYTES: usize = 20;

/// Entries between two looks at whether the work is to stop.
const STRIDE: u64 = 1 << 14;

/// Appends an entry.
pub(super) fn put_entry(bytes: &mut Vec<u8>, text: &[u8], count: u64) {
    put_varint(bytes, text.len() as u64);
    put_varint(bytes, count);
    bytes.extend_from_slice(text);
}

/// The entries of a stream, one at a time, through a buffer.
pub(super) struct Entries<R> {
    /// What messages call the stream.
    name: PathBuf,
    stream: R,
    /// Bytes of it that are not in the buffer yet.
    n_unread: u64,
    buffer: Vec<u8>,
    buffer_bytes: usize,
    /// Where the text of the current entry lies in the buffer.
    text: Range<usize>,
    count: u64,
    /// Text of the entry before.
    before: Vec<u8>,
    /// Number of entries so far.
    n_read: u64,
    /// Counts are multiplied by it.
    weight: u64,
    /// Bytes of text that have been counted: each length times its count.
    covered_bytes: u64,
}

impl<R: Read> Entries<R> {
    /// The entries in the next `n_bytes` of `stream`, each counted `weight` times.
    pub(super) fn new(
        name: &Path,
        stream: R,
        n_bytes: u64,
        buffer_bytes: usize,
        weight: u64,
    ) -> Self {
        Self {
            name: name.to_owned(),
            stream,
            n_unread: n_bytes,
            buffer: Vec::new(),
            buffer_bytes,
            text: 0..0,
            count: 0,
            before: Vec::new(),
            n_read: 0,
            weight,
            covered_bytes: 0,
        }
    }

    /// Text of the current entry.
    pub(super) fn text(&self) -> &[u8] {
        &self.buffer[self.text.clone()]
    }

    /// Count of the current entry.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Number of entries so far.
    pub(super) fn n_read(&self) -> u64 {
        self.n_read
    }

    /// Bytes of text that the entries so far have counted.
    pub(super) fn covered_bytes(&self) -> u64 {
        self.covered_bytes
    }

    /// An error that names the stream.
    pub(super) fn bad(&self, reason: impl Into<String>) -> Error {
        Error::BadCounts { path: self.name.clone(), reason: reason.into() }
    }

    /// Goes to the next entry; false at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::BadCounts`] for an entry that is cut short, out of order, empty, or
    /// counted zero times or more often than 64 bits can tell.
    pub(super) fn advance(&mut self) -> Result<bool> {
        self.before.clear();
        self.before.extend_from_slice(&self.buffer[self.text.clone()]);
        self.fill(NUMBERS_BYTES)?;
        let mut rest = &self.buffer[self.text.end..];
        if rest.is_empty() {
            return Ok(false);
        }
        let numbers = take_varint(&mut rest).zip(take_varint(&mut rest));
        let n_left = rest.len() as u64 + self.n_unread;
        let Some((len, count)) = numbers.filter(|(len, _)| *len <= n_left) else {
            return Err(self.bad(format!("entry {} is cut short", self.n_read)));
        };
        // What is left of a stream may be longer than an address, one entry cannot.
        let len = usize::try_from(len).map_err(|err| self.bad(err.to_string()))?;
        let start = self.buffer.len() - rest.len();
        self.text = start..start;
        self.fill(len)?;
        self.text.end += len;
        if self.text() <= self.before.as_slice() {
            return Err(self.bad(format!("entry {} is out of order", self.n_read)));
        }
        if count == 0 {
            return Err(self.bad(format!("entry {} has a count of zero", self.n_read)));
        }
        self.n_read += 1;
        // With this sum every other one fits too: of counts, and of pairs of neighbours.
        let weighted = count.checked_mul(self.weight);
        let bytes = weighted.and_then(|count| count.checked_mul(len as u64));
        let sum = bytes.and_then(|bytes| bytes.checked_add(self.covered_bytes));
        (self.count, self.covered_bytes) = weighted.zip(sum).ok_or_else(|| self.overflow())?;
        Ok(true)
    }

    /// Makes the buffer hold `wanted` bytes behind the current text, or all there are.
    fn fill(&mut self, wanted: usize) -> Result<()> {
        if self.buffer.len() - self.text.end >= wanted || self.n_unread == 0 {
            return Ok(());
        }
        self.buffer.drain(..self.text.end);
        self.text = 0..0;
        let room = wanted.max(self.buffer_bytes) - self.buffer.len();
        let n_bytes = self.n_unread.min(room as u64);
        // No more is allocated than the stream has, whatever its entries claim.
        self.buffer.reserve_exact(room.min(usize::try_from(n_bytes).unwrap_or(room)));
        let n_new = self.stream.by_ref().take(n_bytes).read_to_end(&mut self.buffer);
        let n_new = n_new.map_err(|source| match source.kind() {
            // What a stream says of its own content.
            ErrorKind::InvalidData => self.bad(source.to_string()),
            _ => Error::io(&self.name, source),
        })?;
        if n_new as u64 != n_bytes {
            return Err(self.bad("became shorter while it was read"));
        }
        self.n_unread -= n_bytes;
        Ok(())
    }

    /// An error that says with which stream a sum became too large.
    pub(super) fn overflow(&self) -> Error {
        self.bad("with its counts, the corpus has more bytes than 64 bits can tell")
    }
}

/// Makes one sorted list of many: calls `emit` with each text and the sum of its counts.
///
/// # Errors
///
/// As [`Entries::advance`]; [`Error::BadCounts`] naming the list with which a sum no longer fits
/// 64 bits; [`Error::Interrupted`]; and those of `emit`.
pub(super) fn fold<R: Read>(
    lists: &mut [Entries<R>],
    progress: &Progress,
    mut emit: impl FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    let mut heads = BinaryHeap::with_capacity(lists.len());
    for (index, list) in lists.iter_mut().enumerate() {
        if list.advance()? {
            heads.push(Reverse((sort_key(list.text()), index)));
        }
    }
    let mut equal = Vec::with_capacity(lists.len());
    let mut n_waiting = 0;
    while let Some(Reverse((key, first))) = heads.pop() {
        equal.push(first);
        while let Some(&Reverse((other, index))) = heads.peek()
            && other == key
        {
            heads.pop();
            equal.push(index);
        }
        if equal.len() > 1 {
            // Keys of long texts may be equal though the texts are not: only the first one's turn
            // has come.
            let least = equal.iter().copied().min_by_key(|&index| lists[index].text());
            let least = least.unwrap_or(first);
            equal.retain(|&index| {
                let is_least = lists[index].text() == lists[least].text();
                if !is_least {
                    heads.push(Reverse((key, index)));
                }
                is_least
            });
        }
        let mut sum = 0_u64;
        for &index in &equal {
            let list = &lists[index];
            sum = sum.checked_add(list.count()).ok_or_else(|| list.overflow())?;
        }
        emit(lists[equal[0]].text(), sum)?;
        for index in equal.drain(..) {
            if lists[index].advance()? {
                heads.push(Reverse((sort_key(lists[index].text()), index)));
            }
            n_waiting += 1;
        }
        if n_waiting >= STRIDE {
            progress.advance(std::mem::take(&mut n_waiting))?;
        }
    }
    progress.advance(n_waiting)
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        let bits = u64::from(byte & 0x7F);
        // A tenth byte has room for one bit.
        number |= Some(bits << shift).filter(|shifted| shifted >> shift == bits)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
