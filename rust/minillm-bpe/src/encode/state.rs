//! What one thread carries along while it encodes: caches and scratch memory.

use std::num::NonZero;
use std::sync::Mutex;

use super::cache::{LongCache, NO_KEY, ShortCache, pack};
use super::merge::{Scratch, merge};
use super::tables::Tables;
use crate::{Result, TokenId, Vocab};

/// Memory of the caches of one state, unless many threads share a budget.
const STATE_BYTES: usize = 20 << 20;

/// Caches and scratch memory of one thread.
#[derive(Debug)]
pub(crate) struct State {
    short: ShortCache,
    long: LongCache,
    scratch: Scratch,
}

impl State {
    /// Caches that together never exceed about `max_bytes` (and never less than 0.5 MiB).
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            short: ShortCache::new(max_bytes / 5 * 4),
            long: LongCache::new(max_bytes / 10),
            scratch: Scratch::default(),
        }
    }

    /// Appends the ids of `text[start..end]` if they are cached.
    #[inline]
    pub(super) fn look_up(
        &mut self,
        text: &[u8],
        start: usize,
        end: usize,
        out: &mut Vec<TokenId>,
    ) -> bool {
        match pack(text, start, end) {
            NO_KEY => self.long.append(&text[start..end], out),
            key => self.short.append(key, out),
        }
    }

    /// Appends the ids of a pre-token that is not cached, and caches them.
    #[cold]
    pub(super) fn merge(
        &mut self,
        vocab: &Vocab,
        tables: &Tables,
        pre_token: &[u8],
        out: &mut Vec<TokenId>,
    ) -> Result<()> {
        let start = out.len();
        let whole = tables.may_be_whole(pre_token.len()).then(|| vocab.id(pre_token)).flatten();
        match whole {
            Some(id) => out.push(id),
            None => merge(tables, &mut self.scratch, pre_token, out)?,
        }
        match pack(pre_token, 0, pre_token.len()) {
            NO_KEY => self.long.insert(pre_token, &out[start..]),
            key => self.short.insert(key, &out[start..]),
        }
        Ok(())
    }
}

/// States of earlier calls, kept warm for the next ones, at most one per processor.
///
/// Nobody waits here: a caller that finds the pool locked or empty makes a state of its own. So a
/// process forked in the middle of a call can go on encoding.
#[derive(Debug)]
pub(super) struct StatePool {
    states: Mutex<Vec<State>>,
    max_states: usize,
}

impl Default for StatePool {
    fn default() -> Self {
        let max_states = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { states: Mutex::default(), max_states }
    }
}

impl StatePool {
    /// Lends a state to `work`.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let pooled = self.states.try_lock().ok().and_then(|mut states| states.pop());
        let mut state = pooled.unwrap_or_else(|| State::new(STATE_BYTES));
        let result = work(&mut state);
        if let Ok(mut states) = self.states.try_lock()
            && states.len() < self.max_states
        {
            states.push(state);
        }
        result
    }
}
