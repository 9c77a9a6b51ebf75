//! How far a long operation is, and the wish to stop it.
//!
//! The worker writes, whoever watches reads about ten times a second: nothing is called back, so
//! the crate neither knows nor waits for its audience.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::{Error, Result};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing yet.
    Idle = 0,
    /// Reading text and counting pre-tokens, in bytes.
    Count = 1,
    /// Merging, in merges.
    Merge = 2,
    /// Encoding text, in bytes.
    Encode = 3,
    /// Adding up counts that lie on disk, in pre-tokens.
    Fold = 4,
    /// Reading documents, in bytes.
    Gather = 5,
    /// Writing documents in their order, in bytes.
    Arrange = 6,
}

/// Shared by worker and watcher.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    done: AtomicU64,
    total: AtomicU64,
    stop: Stop,
}

/// The wish to stop, for who is too deep in the work to count it; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the watcher wants the work to stop.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

impl Progress {
    /// Begins a phase of `total` units; 0 if that is not known.
    pub fn begin(&self, phase: Phase, total: u64) {
        self.done.store(0, Relaxed);
        self.total.store(total, Relaxed);
        self.phase.store(phase as u8, Relaxed);
    }

    /// Counts `units` as done.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the watcher wants the work to stop.
    #[inline]
    pub fn advance(&self, units: u64) -> Result<()> {
        self.done.fetch_add(units, Relaxed);
        self.stop.check()
    }

    /// The wish to stop alone.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Asks the worker to stop at its next [`advance`](Self::advance).
    pub fn cancel(&self) {
        self.stop.0.store(true, Relaxed);
    }

    /// What is being done.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            1 => Phase::Count,
            2 => Phase::Merge,
            3 => Phase::Encode,
            4 => Phase::Fold,
            5 => Phase::Gather,
            6 => Phase::Arrange,
            _ => Phase::Idle,
        }
    }

    /// Units done, and units in all (0 if unknown).
    pub fn done_of_total(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.total.load(Relaxed))
    }
}
