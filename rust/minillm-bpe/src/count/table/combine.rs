//! The tallies of all threads -> counts.
//!
//! Two by two, the larger takes up the smaller, all pairs at once: as many rounds as the number of
//! threads has bits. Each pair is one thread's work. Tables are walked in the order of their slots,
//! which is nearly the order in which the other one holds the same keys, so this is quick: on 194 MB
//! of text, to share a pair among two threads by stretches of slots took longer.

use std::thread;

use super::{LongTable, ShortTable, Slot, Tally};
use crate::{Error, Result, count::Counts, key};

/// Bytes of the text that `tallies` have counted.
///
/// # Errors
///
/// [`Error::TooManyBytes`] if 64 bits are too few.
pub(in crate::count) fn total_bytes(tallies: &[Tally]) -> Result<u64> {
    let sum = tallies.iter().try_fold(0_u64, |sum, tally| sum.checked_add(tally.bytes));
    sum.ok_or(Error::TooManyBytes)
}

/// Adds up what `tallies` have counted; their [`total_bytes`] must fit 64 bits.
pub(in crate::count) fn combine(mut tallies: Vec<Tally>) -> Counts {
    while tallies.len() > 1 {
        tallies = thread::scope(|scope| {
            let mut workers = Vec::new();
            let mut rest = tallies.into_iter();
            while let Some(tally) = rest.next() {
                let other = rest.next().unwrap_or_default();
                workers.push(scope.spawn(|| tally.absorb(other)));
            }
            let join = |worker: thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().map(join).collect()
        });
    }
    tallies.pop().unwrap_or_default().into_counts()
}

impl Tally {
    /// The counts of both, in the larger table of the two.
    fn absorb(mut self, mut other: Self) -> Self {
        if other.short.n_used > self.short.n_used {
            std::mem::swap(&mut self, &mut other);
        }
        // Most keys are in both. So it may get fuller than while counting, but never quite full.
        if (self.short.n_used + other.short.n_used) * 8 > self.short.slots.len() * 7 {
            self.short.grow(other.short.n_used);
        }
        for slot in other.short.used() {
            self.short.add_at(self.short.home(key::hash(slot.key)), slot.key, slot.count);
        }
        for entry in &other.long.entries {
            self.long.add(other.long.text(entry), entry.count);
        }
        self
    }

    /// What has been counted.
    pub(in crate::count) fn into_counts(self) -> Counts {
        let Self { short, long, .. } = self;
        let short_bytes: usize = short.used().map(|slot| key::text_of(slot.key).1).sum();
        let n_keys = short.n_used + long.entries.len();
        let mut counts = Counts::with_capacity(n_keys, short_bytes + long.text.len());
        for slot in short.used() {
            let (bytes, len) = key::text_of(slot.key);
            counts.push(&bytes[..len], slot.count);
        }
        for entry in &long.entries {
            counts.push(long.text(entry), entry.count);
        }
        counts
    }
}

impl ShortTable {
    /// The slots that are not free.
    fn used(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.key != 0)
    }
}

impl LongTable {
    fn text(&self, entry: &super::LongEntry) -> &[u8] {
        &self.text[entry.start..entry.end]
    }
}
