//! Documents of many runs in one order.
//!
//! Shuffled parts are merged by key; others come one behind the other, which is a merge by the
//! numbers of source, part and document. Documents of one key are equal, and come in that order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::list::{List, ListedPart};
use super::part::Head;
use super::run::RunReader;
use crate::Result;
use crate::progress::Stop;

/// Memory for texts that are read ahead, in all runs together.
const BUFFERS_BYTES: usize = 64 << 20;

/// Bounds of what a run reads ahead. (Tests have short texts.)
const MOST_TEXT_BYTES: usize = if cfg!(test) { 16 } else { 1 << 20 };
const LEAST_TEXT_BYTES: usize = if cfg!(test) { 4 } else { 1 << 12 };

/// Where a document stands in the order: key, part, number in it; and its run.
type Turn = Reverse<(u128, usize, u64, usize)>;

/// A merge of all runs of some sources.
pub(super) struct Merge {
    runs: Vec<RunReader>,
    turns: BinaryHeap<Turn>,
    is_shuffled: bool,
    has_begun: bool,
    stop: Stop,
}

impl Merge {
    /// Merges the parts of those sources that `is_of` names.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`](crate::Error::Shard) for a part that is damaged;
    /// [`Error::Io`](crate::Error::Io); [`Error::Interrupted`](crate::Error::Interrupted). So too
    /// for going on.
    pub(super) fn new(list: &List, is_of: impl Fn(usize) -> bool, stop: Stop) -> Result<Self> {
        let n_runs: usize = list.parts.iter().map(|part| part.runs.len()).sum();
        let text_bytes = (BUFFERS_BYTES / n_runs.max(1)).clamp(LEAST_TEXT_BYTES, MOST_TEXT_BYTES);
        let (mut runs, mut turns) = (Vec::new(), BinaryHeap::new());
        for (index, part) in list.parts.iter().enumerate().filter(|(_, part)| is_of(part.source)) {
            for mut run in RunReader::of_part(part, index, text_bytes) {
                stop.check()?;
                if run.advance()? {
                    turns.push(turn(&run, runs.len(), list.is_shuffled));
                }
                runs.push(run);
            }
        }
        Ok(Self { runs, turns, is_shuffled: list.is_shuffled, has_begun: false, stop })
    }

    /// Goes on to the next document that takes part, without its text. False at the end.
    pub(super) fn advance_heads(&mut self, parts: &[ListedPart]) -> Result<bool> {
        loop {
            self.stop.check()?;
            if self.has_begun
                && let Some(mut first) = self.turns.peek_mut()
            {
                let number = first.0.3;
                let run = &mut self.runs[number];
                if run.advance()? {
                    *first = turn(run, number, self.is_shuffled);
                } else {
                    PeekMut::pop(first);
                }
            }
            self.has_begun = true;
            let Some(run) = self.current() else { return Ok(false) };
            if parts[run.part].takes(&run.head) {
                return Ok(true);
            }
        }
    }

    /// Goes on to the next document that takes part, and reads its text. False at the end.
    pub(super) fn advance(&mut self, parts: &[ListedPart]) -> Result<bool> {
        if !self.advance_heads(parts)? {
            return Ok(false);
        }
        if let Some(Reverse((.., number))) = self.turns.peek() {
            self.runs[*number].read_text()?;
        }
        Ok(true)
    }

    /// The run whose document it is at.
    pub(super) fn current(&self) -> Option<&RunReader> {
        self.turns.peek().map(|Reverse((.., number))| &self.runs[*number])
    }

    /// The text of the document.
    pub(super) fn text(&self) -> &[u8] {
        self.current().map_or(b"", RunReader::text)
    }
}

fn turn(run: &RunReader, number: usize, is_shuffled: bool) -> Turn {
    let Head { key, ordinal, .. } = run.head;
    Reverse((if is_shuffled { key } else { 0 }, run.part, ordinal, number))
}
