//! What one thread carries along while it encodes: the pre-tokens that it met, those whose slots
//! are on their way from memory, and scratch memory.

use std::{
    num::NonZero,
    sync::{Arc, Mutex},
};

use super::{
    Shared,
    merge::Scratch,
    table::{LongTable, MAX_LONG_BYTES, ShortTable},
    trained::{Sets, TrainedTable},
};
use crate::{Error, Result, ids::Id, key, pretokenize::Block, progress::Stop};

/// Memory of one state, unless many threads share a budget.
const STATE_BYTES: usize = 32 << 20;

/// How many pre-tokens are looked up together, while the memory for as many is on its way: about as
/// many as the scanner finds at a time.
const GROUP: usize = 256;

/// The top byte of what waits in place of a key, if the pre-token is too long for one; then come 56
/// bits of length and 64 of start.
const LONG: u128 = 0xFF << 120;

/// Tables and scratch memory of one thread.
#[derive(Debug)]
pub(crate) struct State<I: Id> {
    /// What is known before any text; shared by all threads.
    trained: Option<Arc<ShortTable<I>>>,
    short: ShortTable<I>,
    short_bytes: usize,
    long: LongTable<I>,
    group: Group,
    scratch: Scratch,
    ids: Vec<I>,
    /// The first thing that went wrong in this text.
    failure: Option<Error>,
}

/// Pre-tokens whose slots are being fetched.
#[derive(Debug)]
struct Group {
    keys: [u128; GROUP],
    hashes: [u64; GROUP],
}

impl<I: Id> State<I> {
    /// Tables of its own that together never exceed about `max_bytes` (and never much less than
    /// 128 KiB), behind the shared one.
    fn new(trained: Option<Arc<ShortTable<I>>>, max_bytes: usize, stop: Stop) -> Self {
        let short_bytes = max_bytes / 2;
        Self {
            trained,
            short: ShortTable::new(short_bytes),
            short_bytes,
            long: LongTable::new(max_bytes / 4),
            group: Group { keys: [0; GROUP], hashes: [0; GROUP] },
            scratch: Scratch::new(stop),
            ids: Vec::new(),
            failure: None,
        }
    }

    /// Appends the ids of the pre-tokens of `block`, which are some of `text`.
    #[inline(never)]
    pub(super) fn append(
        &mut self,
        shared: &Shared,
        text: &[u8],
        block: Block<'_>,
        out: &mut Vec<I>,
    ) {
        for block in block.split(GROUP) {
            self.fetch(text, block);
            let n = block.ends().len();
            let mut at = 0;
            while at < n {
                let Self { trained, short, group: Group { keys, hashes }, .. } = self;
                let table = trained.as_deref().unwrap_or(short);
                at += table.append_all(&keys[at..n], &hashes[at..n], out);
                if at < n {
                    self.append_one(shared, text, self.group.keys[at], self.group.hashes[at], out);
                    at += 1;
                }
            }
        }
    }

    /// Makes keys of the pre-tokens, and asks for the memory where they are looked for first.
    fn fetch(&mut self, text: &[u8], block: Block<'_>) {
        let Self { trained, short, long, group, .. } = self;
        let table = trained.as_deref().unwrap_or(short);
        let mut start = block.start;
        for ((key, hash), end) in group.keys.iter_mut().zip(&mut group.hashes).zip(block.ends()) {
            if let Some(short_key) = key::of_span(text, start, end) {
                *key = short_key;
                *hash = key::hash(short_key);
                table.prefetch(*hash);
            } else {
                *key = LONG | ((end - start) as u128) << 64 | start as u128;
                *hash = LongTable::<I>::hash(&text[start..end]);
                long.prefetch(*hash);
            }
            start = end;
        }
    }

    /// Takes the first thing that went wrong in this text; its ids are of no use then.
    ///
    /// # Errors
    ///
    /// That.
    pub(super) fn take_failure(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Appends the ids of a pre-token that was not found at once.
    fn append_one(&mut self, shared: &Shared, text: &[u8], key: u128, hash: u64, out: &mut Vec<I>) {
        if key >= LONG {
            self.append_long(shared, text, key, hash, out);
        } else if !self.short.append(key, hash, out) {
            self.merge_short(shared, key, out);
        }
    }

    #[cold]
    fn merge_short(&mut self, shared: &Shared, key: u128, out: &mut Vec<I>) {
        let (bytes, len) = key::text_of(key);
        if self.merge(shared, &bytes[..len]) {
            if !self.short.has_room() {
                self.short = ShortTable::new(self.short_bytes);
            }
            self.short.insert(key, &self.ids);
            out.extend_from_slice(&self.ids);
        }
    }

    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "both parts were numbers of that type")]
    fn append_long(
        &mut self,
        shared: &Shared,
        text: &[u8],
        key: u128,
        hash: u64,
        out: &mut Vec<I>,
    ) {
        let (start, len) = (key as u64 as usize, ((key ^ LONG) >> 64) as usize);
        let pre_token = &text[start..start + len];
        if pre_token.len() > MAX_LONG_BYTES {
            // Nobody keeps it: no copy of its ids is made.
            let merged = shared.merge(&mut self.scratch, pre_token, out);
            self.note(merged);
        } else if !self.long.append(pre_token, hash, out) && self.merge(shared, pre_token) {
            self.long.insert(pre_token, hash, &self.ids);
            out.extend_from_slice(&self.ids);
        }
    }

    /// Finds the ids of a pre-token that was not met before.
    fn merge(&mut self, shared: &Shared, pre_token: &[u8]) -> bool {
        self.ids.clear();
        let merged = shared.merge(&mut self.scratch, pre_token, &mut self.ids);
        self.note(merged)
    }

    /// Whether all is well; else the text has failed.
    fn note(&mut self, merged: Result<()>) -> bool {
        merged.map_err(|error| self.failure.get_or_insert(error)).is_ok()
    }
}

/// States of earlier calls, kept warm for the next ones, at most one per processor.
///
/// Nobody waits here: a caller that finds the pool locked or empty makes a state of its own. So a
/// process forked in the middle of a call can go on encoding.
#[derive(Debug)]
pub struct StatePool<I: Id> {
    trained: Option<Arc<ShortTable<I>>>,
    states: Mutex<Vec<State<I>>>,
    max_states: usize,
}

impl<I: Id> Default for StatePool<I> {
    fn default() -> Self {
        let max_states = std::thread::available_parallelism().map_or(1, NonZero::get);
        let states = Mutex::default();
        Self { trained: None, states, max_states }
    }
}

/// A pool for each type of ids.
#[derive(Debug, Default)]
pub struct Pools {
    two: StatePool<u16>,
    four: StatePool<u32>,
}

impl Pools {
    /// Pools whose states look into `trained` first, where their ids have its type.
    pub(super) fn new(trained: Option<TrainedTable>) -> Self {
        let mut pools = Self::default();
        match trained.map(TrainedTable::sets) {
            Some(Sets::Two(table)) => pools.two.trained = Some(Arc::new(table)),
            Some(Sets::Four(table)) => pools.four.trained = Some(Arc::new(table)),
            None => {}
        }
        pools
    }
}

/// Chooses the pool of a type of ids.
pub trait Pooled: Sized {
    /// The one for this type.
    fn pool(pools: &Pools) -> &StatePool<Self>
    where
        Self: Id;
}

impl Pooled for u16 {
    fn pool(pools: &Pools) -> &StatePool<Self> {
        &pools.two
    }
}

impl Pooled for u32 {
    fn pool(pools: &Pools) -> &StatePool<Self> {
        &pools.four
    }
}

impl<I: Id> StatePool<I> {
    /// A state for one thread, with so many bytes for what it meets, that heeds `stop`.
    pub(super) fn new_state(&self, max_bytes: usize, stop: Stop) -> State<I> {
        State::new(self.trained.clone(), max_bytes, stop)
    }

    /// Lends a state to `work`.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State<I>) -> T) -> T {
        let pooled = self.states.try_lock().ok().and_then(|mut states| states.pop());
        let mut state = pooled.unwrap_or_else(|| self.new_state(STATE_BYTES, Stop::default()));
        let result = work(&mut state);
        if let Ok(mut states) = self.states.try_lock()
            && states.len() < self.max_states
        {
            states.push(state);
        }
        result
    }
}
