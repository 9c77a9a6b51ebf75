//! Pre-tokens that were met before, with their ids.
//!
//! Two caches by length. Four of five pre-tokens have at most seven bytes and nearly all at most
//! [`MAX_KEY_BYTES`]; those are keys that fit a register, compared in one instruction, in sets of
//! two that fill a cache line. The rest is found by hash and compared byte by byte.
//!
//! Both are bounded: a new entry takes the place of an older one, and where the lists of ids
//! or long keys reach their limit, the cache starts anew. What is cached changes the speed and
//! nothing else.
#![expect(clippy::cast_possible_truncation, reason = "indices come from masked or shifted hashes")]

use xxhash_rust::xxh3::xxh3_64;

use crate::TokenId;

/// Longest pre-token that is a [`Key`].
const MAX_KEY_BYTES: usize = 15;

/// Longest pre-token worth keeping: longer ones hardly ever come back.
const MAX_LONG_BYTES: usize = 256;

/// A pre-token of 1 to [`MAX_KEY_BYTES`] bytes: the bytes, and the length in the top byte.
pub(super) type Key = u128;

/// Stands where there is no key: pre-tokens are not empty.
pub(super) const NO_KEY: Key = 0;

/// Packs `text[start..end]`; [`NO_KEY`] if it is too long.
#[inline]
pub(super) fn pack(text: &[u8], start: usize, end: usize) -> Key {
    let len = end - start;
    if len > MAX_KEY_BYTES {
        return NO_KEY;
    }
    let tag = (len as u128) << 120;
    // Reading 16 bytes and masking is one load; only the last words of a text need the copy.
    if let Some(window) = text.get(start..start + 16)
        && let Ok(window) = <[u8; 16]>::try_from(window)
    {
        return u128::from_le_bytes(window) & ((1 << (8 * len)) - 1) | tag;
    }
    let mut bytes = [0; 16];
    bytes[..len].copy_from_slice(&text[start..end]);
    u128::from_le_bytes(bytes) | tag
}

#[inline]
fn hash(key: Key) -> u64 {
    // The two halves of one 64 x 64 -> 128 bit product, folded; the constants keep a zero half
    // from making it zero.
    let (low, high) = (key as u64, (key >> 64) as u64);
    let product =
        u128::from(low ^ 0x9E37_79B9_7F4A_7C15) * u128::from(high ^ 0xD6E8_FEB8_6659_FD93);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Ids of a pre-token: up to three here, more in the arena.
#[derive(Clone, Copy, Debug)]
struct Value {
    /// The ids; or, if `count` is above three, where they begin in the arena.
    ids: [TokenId; 3],
    count: u32,
}

/// Two entries, one cache line. The first was used last, or has never been challenged.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Set {
    keys: [Key; 2],
    values: [Value; 2],
}

const EMPTY_SET: Set = Set { keys: [NO_KEY; 2], values: [Value { ids: [0; 3], count: 0 }; 2] };

/// Cache of pre-tokens that are keys.
///
/// Grows with what it is asked to keep, from 64 KiB to its limit: a short text does not pay for
/// the memory of a long one.
#[derive(Debug)]
pub(super) struct ShortCache {
    sets: Vec<Set>,
    arena: Vec<TokenId>,
    /// Entries that had to make room since the last growth.
    evicted: usize,
    max_sets: usize,
}

impl ShortCache {
    const MIN_SETS: usize = 1 << 10;

    pub(super) fn new(max_bytes: usize) -> Self {
        let max_sets = (max_bytes / size_of::<Set>()).max(Self::MIN_SETS);
        Self { sets: vec![EMPTY_SET; Self::MIN_SETS], arena: Vec::new(), evicted: 0, max_sets }
    }

    /// Appends the ids of `key` if it is here.
    #[inline]
    pub(super) fn append(&mut self, key: Key, out: &mut Vec<TokenId>) -> bool {
        let home = self.home(key);
        let set = &mut self.sets[home];
        if set.keys[0] != key {
            if set.keys[1] != key {
                return false;
            }
            // What is met again moves to the front, out of reach of what is met once.
            set.keys.swap(0, 1);
            set.values.swap(0, 1);
        }
        let Value { ids, count } = set.values[0];
        let count = count as usize;
        if count <= ids.len() {
            // Three ids and back again: a copy of known size, where one of `count` would branch.
            out.extend_from_slice(&ids);
            out.truncate(out.len() - ids.len() + count);
        } else {
            let start = ids[0] as usize;
            out.extend_from_slice(&self.arena[start..start + count]);
        }
        true
    }

    pub(super) fn insert(&mut self, key: Key, ids: &[TokenId]) {
        if self.evicted > self.sets.len() / 4 && 2 * self.sets.len() <= self.max_sets {
            self.grow();
        }
        // At most 15 ids for each of the keys that fit; beyond that the arena holds the evicted.
        if self.arena.len() > 4 * self.max_sets {
            self.arena.clear();
            self.sets.fill(EMPTY_SET);
        }
        let mut value = Value { ids: [0; 3], count: ids.len() as u32 };
        if let Some(inline) = value.ids.get_mut(..ids.len()) {
            inline.copy_from_slice(ids);
        } else {
            value.ids[0] = self.arena.len() as u32;
            self.arena.extend_from_slice(ids);
        }
        self.place(key, value);
    }

    fn place(&mut self, key: Key, value: Value) {
        let home = self.home(key);
        let set = &mut self.sets[home];
        let slot = usize::from(set.keys[0] != NO_KEY);
        self.evicted += usize::from(set.keys[slot] != NO_KEY);
        (set.keys[slot], set.values[slot]) = (key, value);
    }

    fn grow(&mut self) {
        let doubled = vec![EMPTY_SET; 2 * self.sets.len()];
        for set in std::mem::replace(&mut self.sets, doubled) {
            for (key, value) in set.keys.into_iter().zip(set.values) {
                if key != NO_KEY {
                    self.place(key, value);
                }
            }
        }
        self.evicted = 0;
    }

    #[inline]
    fn home(&self, key: Key) -> usize {
        hash(key) as usize & (self.sets.len() - 1)
    }
}

/// Cache of pre-tokens that are too long to be a [`Key`]; one entry a slot, the last one stays.
#[derive(Debug)]
pub(super) struct LongCache {
    slots: Vec<LongSlot>,
    text: Vec<u8>,
    ids: Vec<TokenId>,
    max_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct LongSlot {
    hash: u64,
    text_start: u32,
    /// 0 in an empty slot.
    text_len: u32,
    ids_start: u32,
    ids_len: u32,
}

impl LongCache {
    const SLOTS: usize = 1 << 14;

    pub(super) fn new(max_bytes: usize) -> Self {
        Self { slots: Vec::new(), text: Vec::new(), ids: Vec::new(), max_bytes }
    }

    /// Appends the ids of `pre_token` if it is here.
    pub(super) fn append(&self, pre_token: &[u8], out: &mut Vec<TokenId>) -> bool {
        let hash = xxh3_64(pre_token);
        let Some(slot) = self.slots.get(hash as usize % Self::SLOTS) else { return false };
        let start = slot.text_start as usize;
        let found =
            slot.hash == hash && &self.text[start..start + slot.text_len as usize] == pre_token;
        if found {
            let start = slot.ids_start as usize;
            out.extend_from_slice(&self.ids[start..start + slot.ids_len as usize]);
        }
        found
    }

    pub(super) fn insert(&mut self, pre_token: &[u8], ids: &[TokenId]) {
        if pre_token.len() > MAX_LONG_BYTES {
            return;
        }
        let used = self.text.len() + size_of_val(&self.ids[..]);
        if self.slots.is_empty() || used > self.max_bytes {
            self.slots.clear();
            self.slots.resize(Self::SLOTS, LongSlot::default());
            self.text.clear();
            self.ids.clear();
        }
        let hash = xxh3_64(pre_token);
        self.slots[hash as usize % Self::SLOTS] = LongSlot {
            hash,
            text_start: self.text.len() as u32,
            text_len: pre_token.len() as u32,
            ids_start: self.ids.len() as u32,
            ids_len: ids.len() as u32,
        };
        self.text.extend_from_slice(pre_token);
        self.ids.extend_from_slice(ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        pack(text.as_bytes(), 0, text.len())
    }

    fn get(cache: &mut ShortCache, text: &str) -> Option<Vec<TokenId>> {
        let mut ids = Vec::new();
        cache.append(key(text), &mut ids).then_some(ids)
    }

    #[test]
    fn keys_do_not_depend_on_what_follows() {
        let long = b"the end of a text that goes on";
        assert_eq!(pack(long, 0, 3), pack(b"the", 0, 3));
        assert_eq!(pack(long, 4, 19), pack(&long[4..19], 0, 15));
        assert_eq!(pack(long, 4, 20), NO_KEY);
        assert_ne!(key("a"), key("a\0"), "the length is part of the key");
    }

    #[test]
    fn what_was_inserted_last_is_found() {
        let mut cache = ShortCache::new(1 << 20);
        for n in 0..200_000_u32 {
            let text = format!("k{n}");
            let ids: Vec<TokenId> = (n..=n + n % 7).collect();
            cache.insert(key(&text), &ids);
            assert_eq!(get(&mut cache, &text), Some(ids));
        }
        assert!(cache.sets.len() * size_of::<Set>() <= 1 << 20);
        assert!(cache.arena.len() <= 4 * cache.max_sets + MAX_KEY_BYTES);
    }

    #[test]
    fn growth_keeps_what_is_cached() {
        let mut cache = ShortCache::new(1 << 24);
        for n in 0..3000_u32 {
            cache.insert(key(&format!("k{n}")), &[n]);
        }
        assert!(cache.sets.len() > ShortCache::MIN_SETS);
        let found: Vec<_> = (0..3000).filter_map(|n| get(&mut cache, &format!("k{n}"))).collect();
        assert!(found.len() > 2000, "{} of 3000 are left", found.len());
        assert!((0..3000).all(|n| get(&mut cache, &format!("k{n}")).is_none_or(|ids| ids == [n])));
    }

    #[test]
    fn what_is_used_outlives_what_is_met_once() {
        let mut cache = ShortCache::new(0);
        cache.insert(key("the"), &[1]);
        for n in 0..100_000 {
            assert_eq!(get(&mut cache, "the"), Some(vec![1]));
            cache.insert(key(&format!("k{n}")), &[n]);
        }
    }

    #[test]
    fn long_cache_is_bounded_and_compares_bytes() {
        let mut cache = LongCache::new(1 << 16);
        let get = |cache: &LongCache, text: &[u8]| {
            let mut ids = Vec::new();
            cache.append(text, &mut ids).then_some(ids)
        };
        for n in 0..100_000_u32 {
            let text = format!("a rather long pre-token, number {n}");
            cache.insert(text.as_bytes(), &[n, n + 1]);
            assert_eq!(get(&cache, text.as_bytes()), Some(vec![n, n + 1]));
        }
        assert!(cache.text.len() + 4 * cache.ids.len() < (1 << 16) + 100);
        assert_eq!(get(&cache, b"a rather long pre-token that nobody inserted"), None);
        cache.insert(&[b'x'; MAX_LONG_BYTES + 1], &[1]);
        assert_eq!(get(&cache, &[b'x'; MAX_LONG_BYTES + 1]), None);
    }
}
