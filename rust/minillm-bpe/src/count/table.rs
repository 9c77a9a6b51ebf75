//! One thread's counts: tables made for text that repeats itself.
//!
//! Nine in ten pre-tokens have at most 15 bytes. These are keys of 16 bytes that hold their text
//! and its length, compared as one number, in an open-addressing table of their own. Longer ones
//! lie in an arena, found by hash.

mod combine;
mod spill;

use crate::{
    Error, Result,
    corpus::Block,
    huge_pages, key,
    prefetch::prefetch,
    pretokenize::PreTokenizer,
    special::{Segment, SpecialTokens},
};
pub(super) use combine::{combine, total_bytes};
use spill::Spill;

/// How many pre-tokens wait while the memory of their slots is on its way.
const AHEAD: usize = 32;

/// One thread's counts.
pub(super) struct Tally {
    short: ShortTable,
    long: LongTable,
    waiting: Waiting,
    /// How often a pre-token counts that is waiting or found next.
    weight: u64,
    /// Bytes of the text, each as often as its weight says. No count is greater.
    bytes: u64,
    /// Where the tables go when they are full; without it, they grow.
    spill: Option<Box<Spill>>,
}

/// Pre-tokens whose slots are being fetched: a ring, so that the requests spread over the time that
/// the scanner takes to find the next ones.
#[derive(Default)]
struct Waiting {
    /// Key, 0 for none, and hash.
    ring: [(u128, u64); AHEAD],
    at: usize,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            short: ShortTable::default(),
            long: LongTable::default(),
            waiting: Waiting::default(),
            weight: 1,
            bytes: 0,
            spill: None,
        }
    }
}

impl Tally {
    /// Counts a block, each pre-token `weight` times.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyBytes`] if 64 bits are too few; those of cutting and of spilling.
    pub(super) fn add_block(
        &mut self,
        block: &Block,
        weight: u64,
        specials: &SpecialTokens,
        pretokenizer: &PreTokenizer,
    ) -> Result<()> {
        if weight != self.weight {
            self.flush();
            self.weight = weight;
        }
        let bytes = (block.bytes.len() as u64).checked_mul(weight);
        let bytes = bytes.and_then(|bytes| self.bytes.checked_add(bytes));
        self.bytes = bytes.ok_or(Error::TooManyBytes)?;
        for text in block.texts() {
            for segment in specials.split(text) {
                if let Segment::Text(text) = segment {
                    pretokenizer
                        .for_each_span(text, |start, end| self.add_span(text, start, end))?;
                }
            }
        }
        self.check_spill()
    }

    #[inline]
    fn add_span(&mut self, text: &[u8], start: usize, end: usize) {
        match key::of_span(text, start, end) {
            Some(key) => self.add_soon(key),
            None => self.add_long(&text[start..end]),
        }
    }

    fn add_long(&mut self, text: &[u8]) {
        if self.spill.is_none() || self.make_room_for_long(text) {
            self.long.add(text, self.weight);
        }
    }

    /// Counts one pre-token `count` times.
    pub(super) fn add(&mut self, text: &[u8], count: u64) {
        match key::of(text) {
            Some(key) => self.short.add(key, count),
            None => self.long.add(text, count),
        }
    }

    /// Counts a short pre-token when its slot has been fetched.
    #[inline]
    fn add_soon(&mut self, key: u128) {
        let hash = key::hash(key);
        if let Some(slot) = self.short.slots.get(self.short.home(hash)) {
            prefetch(slot);
        }
        let at = self.waiting.at % AHEAD;
        self.waiting.at = at + 1;
        let (key, hash) = std::mem::replace(&mut self.waiting.ring[at], (key, hash));
        if key != 0 {
            self.add_now(key, hash);
        }
    }

    #[inline]
    fn add_now(&mut self, key: u128, hash: u64) {
        if !self.short.has_room(1) {
            self.make_room(1);
        }
        self.short.add_at(self.short.home(hash), key, self.weight);
    }

    /// Counts the waiting pre-tokens.
    pub(super) fn flush(&mut self) {
        for (key, hash) in std::mem::take(&mut self.waiting.ring) {
            if key != 0 {
                self.add_now(key, hash);
            }
        }
    }
}

/// A number that ascends with the text. Texts of 16 bytes and more that begin alike share one.
pub(super) fn sort_key(text: &[u8]) -> u128 {
    key::of(text)
        .unwrap_or_else(|| {
            let mut bytes = [16; 16];
            bytes[..15].copy_from_slice(&text[..15]);
            u128::from_le_bytes(bytes)
        })
        .swap_bytes()
}

/// Open addressing with linear probing; half full at most, unless memory is bounded.
#[derive(Default)]
struct ShortTable {
    slots: Vec<Slot>,
    n_used: usize,
    /// How many may be in use before it grows or spills.
    most_used: usize,
}

/// Packed: 24 bytes and not 32, so that a quarter less memory is fetched, cleared and walked.
#[derive(Clone, Copy, Default)]
#[repr(C, packed(8))]
struct Slot {
    /// 0 if the slot is free.
    key: u128,
    count: u64,
}

impl ShortTable {
    /// The slot at which the search for a key of this hash begins, if there are slots.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked to the table's size")]
    fn home(&self, hash: u64) -> usize {
        hash as usize & self.slots.len().wrapping_sub(1)
    }

    fn add(&mut self, key: u128, count: u64) {
        if !self.has_room(1) {
            self.grow(1);
        }
        self.add_at(self.home(key::hash(key)), key, count);
    }

    #[inline]
    fn add_at(&mut self, home: usize, key: u128, count: u64) {
        let mask = self.slots.len() - 1;
        let mut at = home;
        loop {
            let slot = &mut self.slots[at];
            if slot.key == key {
                slot.count += count;
                return;
            }
            if slot.key == 0 {
                *slot = Slot { key, count };
                self.n_used += 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Whether there is room for `n` more keys.
    #[inline]
    fn has_room(&self, n: usize) -> bool {
        self.n_used + n <= self.most_used
    }

    /// Number of slots when it has grown for `n` more keys.
    fn grown(&self, n: usize) -> usize {
        ((self.n_used + n) * 2 + 1).next_power_of_two().max(1 << 12)
    }

    #[cold]
    fn grow(&mut self, n: usize) {
        let slots = huge_pages::vec(Slot::default(), self.grown(n));
        let old = std::mem::replace(&mut self.slots, slots);
        self.n_used = 0;
        self.most_used = self.slots.len() / 2;
        for slot in old.into_iter().filter(|slot| slot.key != 0) {
            self.add_at(self.home(key::hash(slot.key)), slot.key, slot.count);
        }
    }
}

/// Pre-tokens of 16 bytes and more: text in an arena, found by hash.
#[derive(Default)]
struct LongTable {
    text: Vec<u8>,
    entries: Vec<LongEntry>,
    /// Index of the entry plus one; 0 if the slot is free.
    slots: Vec<u32>,
}

struct LongEntry {
    hash: u64,
    start: usize,
    end: usize,
    count: u64,
}

impl LongTable {
    #[expect(clippy::cast_possible_truncation, reason = "masked to the table's size")]
    fn add(&mut self, text: &[u8], count: u64) {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = xxhash_rust::xxh3::xxh3_64(text);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(index) = self.slots[at].checked_sub(1) {
            let entry = &mut self.entries[index as usize];
            if entry.hash == hash && &self.text[entry.start..entry.end] == text {
                entry.count += count;
                return;
            }
            at = (at + 1) & mask;
        }
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.entries.push(LongEntry { hash, start, end: self.text.len(), count });
        // 2^32 long pre-tokens would take 64 GiB of text: memory ends before the index does.
        self.slots[at] = self.entries.len() as u32;
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked to the table's size")]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(1 << 10);
        self.slots = vec![0; size];
        for (index, entry) in self.entries.iter().enumerate() {
            let mut at = entry.hash as usize & (size - 1);
            while self.slots[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = index as u32 + 1;
        }
    }
}
