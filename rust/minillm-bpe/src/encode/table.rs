//! Pre-tokens that were met before, with their ids: the memory of encoding.
//!
//! Nine in ten pre-tokens are keys of 16 bytes ([`crate::key`]). An entry is such a key and 16 bytes
//! of ids, seven of them where an id has two bytes; two entries are a cache line, and a look-up is
//! one line nearly always. Longer lists of ids lie in an arena. Pre-tokens that are too long for a
//! key are found by hash and compared byte by byte.
//!
//! Tables grow with what they are asked to keep: a short text does not pay for the memory of a long
//! one. At its limit a table is full, and its owner begins anew. What is remembered changes the
//! speed and nothing else.
#![expect(clippy::cast_possible_truncation, reason = "indices are masked; lengths are below 2^32")]

use xxhash_rust::xxh3::xxh3_64;

use crate::{Result, huge_pages, ids::Id, key, prefetch::prefetch};

/// Longest pre-token worth keeping: longer ones hardly ever come back.
pub(super) const MAX_LONG_BYTES: usize = 256;

/// The ids of a key. The last is how many there are; if that is more than fit before it, the first
/// two say where they begin in the arena, 16 bits each.
type Ids<I> = <I as Id>::Sixteen;

/// How many ids fit into an entry.
const fn inline_ids<I: Id>() -> usize {
    size_of::<Ids<I>>() / size_of::<I>() - 1
}

/// Two entries: a cache line. The second is free if the first is; 0 is no key.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Set<I: Id> {
    keys: [u128; 2],
    ids: [Ids<I>; 2],
}

/// Pre-tokens that are keys: sets of two with linear probing.
#[derive(Clone, Debug)]
pub(super) struct ShortTable<I: Id> {
    /// As many as a power of two.
    sets: Vec<Set<I>>,
    n_used: usize,
    max_sets: usize,
    arena: Vec<I>,
}

impl<I: Id> ShortTable<I> {
    const MIN_SETS: usize = 1 << 10;
    /// Sets that are read and written at a time.
    const STRETCH: usize = 1 << 12;

    /// A key has at most as many ids as bytes; one more slot is written to.
    pub(super) const MAX_IDS: usize = key::MAX_BYTES + 1;

    /// Bytes of a set, in memory and in a file.
    pub(super) const SET_BYTES: usize = size_of::<Set<I>>();

    /// An empty table whose slots never take more than about `max_bytes`, nor less than 64 KiB;
    /// what they do not hold takes half of that at most.
    pub(super) fn new(max_bytes: usize) -> Self {
        let max_sets = 1 << (max_bytes / Self::SET_BYTES).max(1).ilog2();
        let table = Self::with_capacity(0);
        Self { max_sets: table.max_sets.max(max_sets), ..table }
    }

    /// An empty table with room for `n_keys`.
    pub(super) fn with_capacity(n_keys: usize) -> Self {
        let n_sets = (2 * n_keys).div_ceil(3).next_power_of_two().max(Self::MIN_SETS);
        let sets = huge_pages::vec(Set::default(), n_sets);
        Self { sets, n_used: 0, max_sets: n_sets, arena: Vec::new() }
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.n_used
    }

    /// The keys, and their ids where those need no arena.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u128, &[I])> {
        let pairs = self.sets.iter().flat_map(|set| set.keys.into_iter().zip(&set.ids));
        pairs.filter(|&(key, _)| key != 0).map(|(key, ids)| {
            let ids = ids.as_ref();
            let count = ids[inline_ids::<I>()].id() as usize;
            (key, ids.get(..count).filter(|_| count <= inline_ids::<I>()).unwrap_or_default())
        })
    }

    /// Number of sets.
    pub(super) fn n_sets(&self) -> usize {
        self.sets.len()
    }

    /// Hands the sets to `write` as a file has them, one stretch after the other.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub(super) fn write_to(&self, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut bytes = Vec::with_capacity(Self::SET_BYTES * Self::STRETCH);
        for sets in self.sets.chunks(Self::STRETCH) {
            bytes.clear();
            for set in sets {
                for key in set.keys {
                    bytes.extend_from_slice(&key.to_le_bytes());
                }
                for id in set.ids.iter().flat_map(AsRef::as_ref) {
                    bytes.extend_from_slice(&id.id().to_le_bytes()[..size_of::<I>()]);
                }
            }
            write(&bytes)?;
        }
        Ok(())
    }

    /// `n_sets` sets, a power of two, of which `read` reads the bytes one stretch after the other;
    /// [`None`] if they are such as [`insert`](Self::insert) never makes.
    ///
    /// # Errors
    ///
    /// Those of `read`.
    pub(super) fn from_bytes(
        n_sets: usize,
        mut read: impl FnMut(&mut [u8]) -> Result<()>,
    ) -> Result<Option<Self>> {
        let mut table = Self::with_capacity(0);
        let mut is_sound = true;
        table.sets = huge_pages::vec(Set::default(), n_sets);
        table.max_sets = n_sets;
        let mut bytes = vec![0; Self::SET_BYTES * n_sets.min(Self::STRETCH)];
        for sets in table.sets.chunks_mut(Self::STRETCH) {
            let bytes = &mut bytes[..sets.len() * Self::SET_BYTES];
            read(bytes)?;
            for (set, bytes) in sets.iter_mut().zip(bytes.chunks_exact(Self::SET_BYTES)) {
                let (keys, ids) = bytes.split_at(32);
                for (key, bytes) in set.keys.iter_mut().zip(keys.chunks_exact(16)) {
                    *key = bytes.try_into().map_or(0, u128::from_le_bytes);
                    table.n_used += usize::from(*key != 0);
                }
                is_sound &= set.keys[0] != 0 || set.keys[1] == 0;
                for (ids, bytes) in set.ids.iter_mut().zip(ids.chunks_exact(16)) {
                    for (id, bytes) in
                        ids.as_mut().iter_mut().zip(bytes.chunks_exact(size_of::<I>()))
                    {
                        *id = I::from_le(bytes);
                    }
                    is_sound &= ids.as_ref()[inline_ids::<I>()].id() as usize <= inline_ids::<I>();
                }
            }
        }
        // Searches end at a set that is not full.
        Ok((is_sound && table.n_used < 2 * n_sets).then_some(table))
    }

    /// Asks the processor for the set where `hash` belongs.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(set) = self.sets.get(self.home(hash)) {
            prefetch(set);
        }
    }

    /// Appends the ids of the first keys that are here, and returns how many keys those were; what
    /// follows is no key, or is not here. [`append`](Self::append) does the same for one.
    pub(super) fn append_all(&self, keys: &[u128], hashes: &[u64], out: &mut Vec<I>) -> usize {
        assert!(!self.sets.is_empty());
        out.reserve(Self::MAX_IDS * keys.len());
        let room = out.spare_capacity_mut().as_mut_ptr().cast::<I>();
        let (mut n_found, mut n_ids) = (0, 0);
        'keys: for (&key, &hash) in keys.iter().zip(hashes) {
            if key >= key::END {
                break;
            }
            let mut at = self.home(hash);
            let ids = loop {
                // SAFETY: `at` is masked by the number of sets less one, and there is a set.
                let set = unsafe { self.sets.get_unchecked(at) };
                // Which of the two it is, nobody can predict: no branch asks.
                let second = usize::from(set.keys[1] == key);
                if set.keys[second] == key {
                    break set.ids[second].as_ref();
                }
                if set.keys[1] == 0 {
                    break 'keys;
                }
                at = (at + 1) & (self.sets.len() - 1);
            };
            let count = ids[inline_ids::<I>()].id() as usize;
            if count > inline_ids::<I>() {
                let ids = self.in_arena(ids, count);
                // SAFETY: each key has room for `MAX_IDS` ids and adds fewer to `n_ids`: `insert`
                // takes no list that is as long, and `from_bytes` none that is not inline.
                unsafe { room.add(n_ids).copy_from_nonoverlapping(ids.as_ptr(), count) };
            } else {
                // All 16 bytes: a copy of known size, where one of `count` would branch.
                // SAFETY: as above; they are 8 ids at most, which is less than `MAX_IDS`.
                unsafe { room.add(n_ids).copy_from_nonoverlapping(ids.as_ptr(), ids.len()) };
            }
            n_ids += count;
            n_found += 1;
        }
        // SAFETY: so many were written behind the old end, in room that was reserved.
        unsafe { out.set_len(out.len() + n_ids) };
        n_found
    }

    /// Appends the ids of `key` if it is here.
    #[inline]
    pub(super) fn append(&self, key: u128, hash: u64, out: &mut Vec<I>) -> bool {
        let mut at = self.home(hash);
        loop {
            let set = &self.sets[at];
            let second = usize::from(set.keys[1] == key);
            if set.keys[second] == key {
                self.append_ids(&set.ids[second], out);
                return true;
            }
            if set.keys[1] == 0 {
                return false;
            }
            at = (at + 1) & (self.sets.len() - 1);
        }
    }

    #[inline]
    fn append_ids(&self, ids: &Ids<I>, out: &mut Vec<I>) {
        let ids = ids.as_ref();
        let count = ids[inline_ids::<I>()].id() as usize;
        if count <= inline_ids::<I>() {
            // All 16 bytes and back again: a copy of known size, where one of `count` would branch.
            out.extend_from_slice(ids);
            out.truncate(out.len() - ids.len() + count);
        } else {
            out.extend_from_slice(self.in_arena(ids, count));
        }
    }

    fn in_arena(&self, ids: &[I], count: usize) -> &[I] {
        let start = ids[0].id() as usize | (ids[1].id() as usize) << 16;
        &self.arena[start..start + count]
    }

    /// Whether there is room for one more key, now or after growth; at most three slots in four
    /// are used.
    pub(super) fn has_room(&self) -> bool {
        4 * self.n_used < 3 * 2 * self.sets.len() || 2 * self.sets.len() <= self.max_sets
    }

    fn arena_is_full(&self) -> bool {
        size_of_val(&self.arena[..]) >= Self::SET_BYTES / 2 * self.max_sets
    }

    /// Keeps a key that is not here, if it [has room](Self::has_room), for its ids too.
    pub(super) fn insert(&mut self, key: u128, ids: &[I]) {
        let is_inline = ids.len() <= inline_ids::<I>();
        if !self.has_room() || !is_inline && self.arena_is_full() || ids.len() >= Self::MAX_IDS {
            return; // the last cannot be: a key has no more ids than bytes
        }
        if 4 * self.n_used >= 3 * 2 * self.sets.len() {
            self.grow();
        }
        let mut value = Ids::<I>::default();
        let slots = value.as_mut();
        slots[inline_ids::<I>()] = I::of(ids.len() as u32);
        if is_inline {
            slots[..ids.len()].copy_from_slice(ids);
        } else {
            let start = self.arena.len() as u32;
            slots[0] = I::of(start & 0xFFFF);
            slots[1] = I::of(start >> 16);
            self.arena.extend_from_slice(ids);
        }
        self.place(key, value);
    }

    fn place(&mut self, key: u128, ids: Ids<I>) {
        let mut at = self.home(key::hash(key));
        loop {
            let set = &mut self.sets[at];
            if let Some(free) = set.keys.iter().position(|&key| key == 0) {
                (set.keys[free], set.ids[free]) = (key, ids);
                self.n_used += 1;
                return;
            }
            at = (at + 1) & (self.sets.len() - 1);
        }
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = huge_pages::vec(Set::default(), 2 * self.sets.len());
        self.n_used = 0;
        for set in std::mem::replace(&mut self.sets, doubled) {
            for (key, ids) in set.keys.into_iter().zip(set.ids) {
                if key != 0 {
                    self.place(key, ids);
                }
            }
        }
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.sets.len() - 1)
    }
}

/// Pre-tokens that are too long for a key.
#[derive(Clone, Debug)]
pub(super) struct LongTable<I> {
    /// As many as a power of two; at most half of them used.
    slots: Vec<LongSlot>,
    n_used: usize,
    text: Vec<u8>,
    ids: Vec<I>,
    max_bytes: usize,
}

/// A pre-token in the arenas; free if `text_len` is 0.
#[derive(Clone, Copy, Debug, Default)]
struct LongSlot {
    hash: u64,
    text_start: u32,
    ids_start: u32,
    text_len: u16,
    ids_len: u16,
}

impl<I: Id> LongTable<I> {
    const MIN_SLOTS: usize = 1 << 8;

    /// An empty table that never takes more than about `max_bytes`, nor less than 64 KiB.
    pub(super) fn new(max_bytes: usize) -> Self {
        let max_bytes = max_bytes.clamp(1 << 16, 1 << 30);
        Self { slots: Vec::new(), n_used: 0, text: Vec::new(), ids: Vec::new(), max_bytes }
    }

    /// Asks the processor for the slot where `hash` belongs.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(self.home(hash)) {
            prefetch(slot);
        }
    }

    /// What the other functions want to know of a pre-token.
    #[inline]
    pub(super) fn hash(pre_token: &[u8]) -> u64 {
        xxh3_64(pre_token)
    }

    /// Appends the ids of `pre_token` if it is here.
    pub(super) fn append(&self, pre_token: &[u8], hash: u64, out: &mut Vec<I>) -> bool {
        let mut at = self.home(hash);
        while let Some(slot) = self.slots.get(at).filter(|slot| slot.text_len > 0) {
            if slot.hash == hash && self.text_of(slot) == pre_token {
                let start = slot.ids_start as usize;
                out.extend_from_slice(&self.ids[start..start + usize::from(slot.ids_len)]);
                return true;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        false
    }

    /// Keeps a pre-token that is not here, unless it is too long to be met again.
    pub(super) fn insert(&mut self, pre_token: &[u8], hash: u64, ids: &[I]) {
        if pre_token.len() > MAX_LONG_BYTES {
            return;
        }
        if 2 * (self.n_used + 1) > self.slots.len() {
            self.grow();
        }
        if self.bytes() > self.max_bytes {
            self.slots.fill(LongSlot::default());
            self.text.clear();
            self.ids.clear();
            self.n_used = 0;
        }
        let slot = LongSlot {
            hash,
            text_start: self.text.len() as u32,
            ids_start: self.ids.len() as u32,
            text_len: pre_token.len() as u16,
            ids_len: ids.len() as u16,
        };
        self.text.extend_from_slice(pre_token);
        self.ids.extend_from_slice(ids);
        self.place(slot);
    }

    fn place(&mut self, slot: LongSlot) {
        let mut at = self.home(slot.hash);
        while self.slots[at].text_len > 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
        self.n_used += 1;
    }

    fn grow(&mut self) {
        let len = (2 * self.slots.len()).max(Self::MIN_SLOTS);
        self.n_used = 0;
        for slot in std::mem::replace(&mut self.slots, huge_pages::vec(LongSlot::default(), len)) {
            if slot.text_len > 0 {
                self.place(slot);
            }
        }
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.slots[..]) + self.text.len() + size_of_val(&self.ids[..])
    }

    fn text_of(&self, slot: &LongSlot) -> &[u8] {
        let start = slot.text_start as usize;
        &self.text[start..start + usize::from(slot.text_len)]
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & self.slots.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<I: Id>(table: &ShortTable<I>, text: &str) -> Option<Vec<I>> {
        let key = key::of(text.as_bytes()).unwrap();
        let mut ids = Vec::new();
        table.append(key, key::hash(key), &mut ids).then_some(ids)
    }

    fn what_was_inserted_is_found<I: Id>(max_bytes: usize, n_keys: u32) -> usize {
        let mut table = ShortTable::<I>::new(max_bytes);
        let ids_of = |n: u32| (n..=n + n % 11).map(|n| I::of(n % 65_536)).collect::<Vec<I>>();
        for n in 0..n_keys {
            let text = format!("k{n}");
            if !table.has_room() {
                table = ShortTable::new(max_bytes);
            }
            let has_place = ids_of(n).len() <= inline_ids::<I>() || !table.arena_is_full();
            table.insert(key::of(text.as_bytes()).unwrap(), &ids_of(n));
            assert_eq!(get(&table, &text), has_place.then(|| ids_of(n)));
        }
        assert!(size_of_val(&table.arena[..]) <= table.max_sets * size_of::<Set<I>>() / 2 + 64);
        assert!(table.sets.len() * size_of::<Set<I>>() <= max_bytes.max(1 << 16));
        let found = (0..n_keys).filter(|&n| {
            let found = get(&table, &format!("k{n}"));
            found.inspect(|ids| assert_eq!(*ids, ids_of(n))).is_some()
        });
        found.count()
    }

    #[test]
    fn growth_keeps_everything_and_the_limit_is_kept() {
        assert_eq!(what_was_inserted_is_found::<u16>(1 << 24, 100_000), 100_000);
        assert_eq!(what_was_inserted_is_found::<u32>(1 << 24, 100_000), 100_000);
        assert!(what_was_inserted_is_found::<u16>(1 << 20, 100_000) < 30_000);
        assert!(what_was_inserted_is_found::<u32>(0, 100_000) < 2_000);
    }

    #[test]
    fn long_table_is_bounded_and_compares_bytes() {
        let mut table = LongTable::<u32>::new(1 << 16);
        let get = |table: &LongTable<u32>, text: &[u8]| {
            let mut ids = Vec::new();
            table.append(text, LongTable::<u32>::hash(text), &mut ids).then_some(ids)
        };
        assert_eq!(get(&table, b"an empty table holds nothing"), None);
        for n in 0..100_000_u32 {
            let text = format!("a rather long pre-token, number {n}");
            let text = text.as_bytes();
            table.insert(text, LongTable::<u32>::hash(text), &[n, n + 1]);
            assert_eq!(get(&table, text), Some(vec![n, n + 1]));
        }
        assert!(table.bytes() < (1 << 17) + 100);
        assert_eq!(get(&table, b"a rather long pre-token that nobody inserted"), None);
        let too_long = [b'x'; MAX_LONG_BYTES + 1];
        table.insert(&too_long, LongTable::<u32>::hash(&too_long), &[1]);
        assert_eq!(get(&table, &too_long), None);
    }
}
