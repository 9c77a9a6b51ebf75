//! A tally of bounded memory: full, it becomes a sorted run on disk and begins anew.
//!
//! The frequent pre-tokens stay: they would only be in each of the runs. The others are sorted where
//! they lie, so that a spill needs no memory but the buffer of its file and what stays.

use std::ops::Range;

use super::{AHEAD, LongEntry, LongTable, Slot, Tally};
use crate::{
    Error, Result,
    count::runs::{RunFile, WRITE_BYTES},
    huge_pages, key,
};

/// The fewest slots of a table.
const LEAST_SLOTS: usize = 2 * AHEAD;

/// How many slots of a table may be in use, and how many of these stay when it spills.
fn limits(n_slots: usize) -> (usize, usize) {
    (n_slots / 4 * 3, n_slots / 8 * 3)
}

/// Where a tally goes when it is full.
pub(super) struct Spill {
    file: RunFile,
    /// Slots for short pre-tokens that there is memory for.
    n_slots: usize,
    /// Bytes of long pre-tokens that there is memory for.
    text_bytes: usize,
    /// Why a run could not be written. Counting goes on to the end of the block then; what it
    /// yields is not used.
    failed: Option<Error>,
}

impl Tally {
    /// A tally that holds no more than `bytes` bytes, the buffer of `file` included.
    pub(in crate::count) fn bounded(bytes: usize, file: RunFile) -> Self {
        let bytes = bytes.saturating_sub(WRITE_BYTES);
        // Short pre-tokens get most of it, in a power of two slots, and long ones the rest.
        let room = bytes / 8 * 7 / size_of::<Slot>();
        // While it spills, what stays is held twice.
        let n_slots = previous_power_of_two(room / 11 * 8).max(LEAST_SLOTS);
        let bytes = bytes.saturating_sub((n_slots + limits(n_slots).1) * size_of::<Slot>());
        // Of the rest, half or more goes to their text, the other half to entries.
        let entry_bytes = size_of::<LongEntry>() + 2 * size_of::<u32>();
        let n_entries = previous_power_of_two(bytes / 2 / entry_bytes).max(1);
        let text_bytes = bytes.saturating_sub(n_entries * entry_bytes);
        let long = LongTable {
            // Memory is taken from the system only as it is used.
            text: Vec::with_capacity(text_bytes),
            entries: Vec::with_capacity(n_entries),
            slots: vec![0; 2 * n_entries],
        };
        let spill = Spill { file, n_slots, text_bytes, failed: None };
        Self { long, spill: Some(Box::new(spill)), ..Self::default() }
    }

    /// Makes room for `n` more short pre-tokens: the table grows, as long as both the old and the
    /// new one find room, or else it spills.
    #[cold]
    pub(super) fn make_room(&mut self, n: usize) {
        let slots = self.short.grown(n) + self.short.slots.len();
        match &self.spill {
            Some(spill) if slots > spill.n_slots => self.empty(),
            _ => self.short.grow(n),
        }
    }

    /// Makes room for a long pre-token; false if it has been dealt with, because it would not fit
    /// into an empty table.
    pub(super) fn make_room_for_long(&mut self, text: &[u8]) -> bool {
        let Some(spill) = &self.spill else { return true };
        let text_bytes = spill.text_bytes;
        let has_room = self.long.text.len() + text.len() <= text_bytes
            && self.long.entries.len() * 2 < self.long.slots.len();
        if !has_room {
            self.empty();
        }
        let fits = text.len() <= text_bytes;
        if !fits {
            let weight = self.weight;
            self.write_run(|_, file| file.put(text, weight));
        }
        fits
    }

    /// Why a run could not be written, if so.
    pub(super) fn check_spill(&mut self) -> Result<()> {
        let failed = self.spill.as_mut().and_then(|spill| spill.failed.take());
        failed.map_or(Ok(()), Err)
    }

    /// The runs, the last of which is what the tables hold; [`None`] if memory is not bounded.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a run could not be written.
    pub(in crate::count) fn into_runs(mut self) -> Result<Option<RunFile>> {
        self.write_but(0);
        self.check_spill()?;
        Ok(self.spill.map(|spill| spill.file))
    }

    /// Writes the tables as a run, and empties them but for the frequent short pre-tokens.
    fn empty(&mut self) {
        let n_slots = self.spill.as_ref().map_or(0, |spill| spill.n_slots);
        let (most_used, most_kept) = limits(n_slots);
        let n_kept = self.short.n_used.min(most_kept).min(self.short.most_used / 2);
        self.write_but(n_kept);
        self.long.text.clear();
        self.long.entries.clear();
        self.long.slots.fill(0);
        let kept = self.short.slots[..n_kept].to_vec();
        if self.short.slots.len() == n_slots {
            self.short.slots.fill(Slot::default());
        } else {
            // The old table goes first, so that both never exist.
            self.short.slots = Vec::new();
            self.short.slots = huge_pages::vec(Slot::default(), n_slots);
        }
        (self.short.n_used, self.short.most_used) = (0, most_used);
        for Slot { key, count } in kept {
            self.short.add_at(self.short.home(key::hash(key)), key, count);
        }
    }

    /// Writes the tables as a run, but for the `n_kept` most frequent short pre-tokens. These then
    /// have the first slots.
    fn write_but(&mut self, n_kept: usize) {
        let slots = &mut self.short.slots;
        let mut n_used = 0;
        for at in 0..slots.len() {
            if slots[at].key != 0 {
                slots.swap(n_used, at);
                n_used += 1;
            }
        }
        let used = &mut slots[..n_used];
        if 0 < n_kept && n_kept < n_used {
            used.select_nth_unstable_by(n_kept, |a, b| b.count.cmp(&a.count));
        }
        if n_kept < n_used || !self.long.entries.is_empty() {
            self.write_run(|tally, file| tally.write_sorted(n_kept..n_used, file));
        }
    }

    fn write_run(&mut self, write: impl FnOnce(&mut Self, &mut RunFile) -> Result<()>) {
        let Some(mut spill) = self.spill.take() else { return };
        if spill.failed.is_none() {
            let written = write(self, &mut spill.file).and_then(|()| spill.file.finish_run());
            spill.failed = written.err();
        }
        self.spill = Some(spill);
    }

    /// Writes these slots and all long pre-tokens. Sorts both in place, which leaves nothing to be
    /// found by hash.
    fn write_sorted(&mut self, slots: Range<usize>, file: &mut RunFile) -> Result<()> {
        let slots = &mut self.short.slots[slots];
        // As numbers whose highest byte is the first of the text, keys ascend as texts do.
        slots.sort_unstable_by_key(|slot| slot.key.swap_bytes());
        let LongTable { text, entries, .. } = &mut self.long;
        entries.sort_unstable_by_key(|entry| &text[entry.start..entry.end]);
        let mut long = entries.iter().map(|entry| (&text[entry.start..entry.end], entry.count));
        let mut next_long = long.next();
        for slot in &*slots {
            let (bytes, len) = key::text_of(slot.key);
            while let Some((text, count)) = next_long
                && text < &bytes[..len]
            {
                file.put(text, count)?;
                next_long = long.next();
            }
            file.put(&bytes[..len], slot.count)?;
        }
        while let Some((text, count)) = next_long {
            file.put(text, count)?;
            next_long = long.next();
        }
        Ok(())
    }
}

/// The greatest power of two that is not above `n`; 0 for 0.
fn previous_power_of_two(n: usize) -> usize {
    n.checked_ilog2().map_or(0, |log| 1 << log)
}
