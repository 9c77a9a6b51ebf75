//! How far a long operation is, and the wish to stop it.
//!
//! The worker writes, whoever watches reads about ten times a second: nothing is called back, so
//! the crate neither knows nor waits for its audience.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

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

impl Phase {
    /// What is being done, in one word; empty for nothing.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "",
            Self::Count => "counting",
            Self::Merge => "merging",
            Self::Encode => "encoding",
            Self::Fold => "adding up",
            Self::Gather => "gathering",
            Self::Arrange => "arranging",
        }
    }

    /// What is told of it, and how many units that is.
    fn unit(self) -> (&'static str, f64) {
        match self {
            Self::Merge => ("merges", 1.0),
            Self::Fold => ("million pre-tokens", 1e6),
            _ => ("MB", 1e6),
        }
    }
}

/// Shared by worker and watcher.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    done: AtomicU64,
    total: AtomicU64,
    began: Mutex<Option<Instant>>,
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
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
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

    /// One line for people: what is done of the phase, how fast, and the time left.
    pub fn describe(&self) -> String {
        let began = *self.began.lock().unwrap_or_else(PoisonError::into_inner);
        self.describe_after(began.map_or(0.0, |began| began.elapsed().as_secs_f64()))
    }

    fn describe_after(&self, elapsed_s: f64) -> String {
        let (unit, scale) = self.phase().unit();
        let (done, total) = self.done_of_total();
        let (done, total) = (done as f64, total as f64);
        let rate = done / elapsed_s.max(1e-3);
        let (mut of_total, mut left) = (String::new(), String::new());
        if total > 0.0 {
            of_total = format!(" of {}", thousands(total / scale));
        }
        if total > 0.0 && rate > 0.0 {
            left = format!(", {} s left", thousands((total - done).max(0.0) / rate));
        }
        let (shown, speed) = (thousands(done / scale), thousands(rate / scale));
        format!("{shown}{of_total} {unit}, {speed} {unit}/s{left}")
    }
}

/// A number that is not negative, rounded to a whole one, its digits in groups of three.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(phase: Phase, done: u64, total: u64, elapsed_s: f64) -> String {
        let progress = Progress::default();
        progress.begin(phase, total);
        progress.advance(done).unwrap();
        progress.describe_after(elapsed_s)
    }

    #[test]
    fn rate_and_time_left_are_told() {
        let counting = after(Phase::Count, 50_000_000, 200_000_000, 2.0);
        assert_eq!(counting, "50 of 200 MB, 25 MB/s, 6 s left");
        let merging = after(Phase::Merge, 1_500, 2_000, 0.5);
        assert_eq!(merging, "1,500 of 2,000 merges, 3,000 merges/s, 0 s left");
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        assert_eq!(after(Phase::Encode, 7_000_000, 0, 1.0), "7 MB, 7 MB/s");
        assert_eq!(after(Phase::Count, 0, 10_000_000, 0.0), "0 of 10 MB, 0 MB/s");
    }

    #[test]
    fn digits_are_grouped_by_three() {
        let shown = [0.4, 999.0, 1_000.0, 1_234_567.0].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
