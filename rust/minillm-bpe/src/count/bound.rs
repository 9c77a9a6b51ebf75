//! How bounded memory is divided while text is counted.
//!
//! A quarter goes to blocks of text, three quarters to the tallies. When all is counted both are
//! gone, and folding the runs has the whole bound to itself.

use crate::{Error, Result};

/// Bytes of text that a thread takes at a time, if memory allows it.
const BLOCK_BYTES: usize = 1 << 20;

/// A document that offers no place to cut may grow to this many blocks.
const MOST_BLOCKS: usize = 4;

/// The least bytes for each thread, and for the block that is being read.
const LEAST_SHARE: u64 = 1 << 18;

/// Sizes, in bytes, of what counting holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Text that a thread takes at a time.
    pub block: usize,
    /// The longest text without a place to cut.
    pub longest_block: usize,
    /// Tables of one thread; [`None`] if they may grow.
    pub tally: Option<usize>,
    /// Buffers when runs are folded.
    pub fold: usize,
}

impl Plan {
    /// No bound.
    pub(super) fn unbounded() -> Self {
        Self { block: BLOCK_BYTES, longest_block: usize::MAX, tally: None, fold: usize::MAX }
    }

    /// What `threads` threads may hold within `max_memory` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryTooSmall`].
    pub(super) fn within(max_memory: u64, threads: usize) -> Result<Self> {
        let least = LEAST_SHARE * (threads as u64 + 1);
        if max_memory < least {
            let what = format!("counting on {threads} threads");
            return Err(Error::MemoryTooSmall { max_memory, least, what });
        }
        let bytes = usize::try_from(max_memory).unwrap_or(usize::MAX);
        let longest_block = bytes / 4 / (threads + 1);
        Ok(Self {
            block: (longest_block / MOST_BLOCKS).min(BLOCK_BYTES),
            longest_block,
            tally: Some(bytes / 4 * 3 / threads),
            fold: bytes,
        })
    }
}
