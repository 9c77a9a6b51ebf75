//! What one thread carries along while it encodes: the pre-tokens that it met, those whose slots
//! are on their way from memory, and scratch memory.

use std::{
    num::NonZero,
    ops::Range,
    sync::{Arc, Mutex},
};

use super::{
    Shared,
    merge::Scratch,
    table::{LongTable, MAX_LONG_BYTES, ShortTable},
    trained::{Sets, TrainedTable},
};
use crate::{Error, Result, ids::Id, key, progress::Stop};

/// Memory of one state, unless many threads share a budget.
const STATE_BYTES: usize = 32 << 20;

/// How many pre-tokens are looked up together, while the memory for as many is on its way.
const GROUP: usize = 32;

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
    waiting: Waiting,
    scratch: Scratch,
    ids: Vec<I>,
    /// The first thing that went wrong in this text.
    failure: Option<Error>,
}

/// Pre-tokens whose slots are being fetched. One group waits while the other one is collected, so
/// that the requests spread over the time that the scanner takes to find the next ones.
#[derive(Debug)]
struct Waiting {
    /// Key and hash.
    groups: [(u128, u64); 2 * GROUP],
    /// How many have come so far in this text.
    n_pushed: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { groups: [(0, 0); 2 * GROUP], n_pushed: 0 }
    }
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
            waiting: Waiting::default(),
            scratch: Scratch::new(stop),
            ids: Vec::new(),
            failure: None,
        }
    }

    /// Takes the next pre-token of `text`, and appends the ids of a group whose turn it is.
    #[inline]
    pub(super) fn push(
        &mut self,
        shared: &Shared,
        text: &[u8],
        start: usize,
        end: usize,
        out: &mut Vec<I>,
    ) {
        let next = if let Some(key) = key::of_span(text, start, end) {
            let hash = key::hash(key);
            self.trained.as_deref().unwrap_or(&self.short).prefetch(hash);
            (key, hash)
        } else {
            self.long_key(text, start, end)
        };
        let at = self.waiting.n_pushed;
        self.waiting.groups[at % (2 * GROUP)] = next;
        self.waiting.n_pushed = at + 1;
        if (at + 1).is_multiple_of(GROUP) && at >= GROUP {
            let first = (at + 1) % (2 * GROUP);
            self.append(shared, text, first..first + GROUP, out);
        }
    }

    #[inline(never)]
    fn long_key(&self, text: &[u8], start: usize, end: usize) -> (u128, u64) {
        let hash = LongTable::<I>::hash(&text[start..end]);
        self.long.prefetch(hash);
        (LONG | ((end - start) as u128) << 64 | start as u128, hash)
    }

    /// Appends the ids of all that wait: `text` is at its end.
    ///
    /// # Errors
    ///
    /// The first of this text; its ids are of no use then.
    pub(super) fn finish(&mut self, shared: &Shared, text: &[u8], out: &mut Vec<I>) -> Result<()> {
        let n_pushed = std::mem::take(&mut self.waiting.n_pushed);
        let n_begun = n_pushed % GROUP;
        if n_pushed >= GROUP {
            // The last group that is whole waits still.
            let first = (n_pushed - n_begun - GROUP) % (2 * GROUP);
            self.append(shared, text, first..first + GROUP, out);
        }
        let first = (n_pushed - n_begun) % (2 * GROUP);
        self.append(shared, text, first..first + n_begun, out);
        self.failure.take().map_or(Ok(()), Err)
    }

    #[inline(never)]
    fn append(&mut self, shared: &Shared, text: &[u8], group: Range<usize>, out: &mut Vec<I>) {
        for at in group {
            let (key, hash) = self.waiting.groups[at];
            if key >= LONG {
                self.append_long(shared, text, key, hash, out);
                continue;
            }
            let trained = self.trained.as_ref();
            let is_trained = trained.is_some_and(|trained| trained.append(key, hash, out));
            if !is_trained && !self.short.append(key, hash, out) {
                self.merge_short(shared, key, out);
            }
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
