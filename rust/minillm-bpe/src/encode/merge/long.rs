//! Merges one long pre-token, window by window.
//!
//! Which ids a pre-token has is decided by neighbours alone: ids `t1 ... tn` are those of their
//! bytes exactly if, for each `i`, merging the bytes of `ti` and `ti+1` gives `ti` and `ti+1` again.
//! (Merging all of them cannot differ: take the first merge across the end of some `ti`. Up to then
//! `ti` and `ti+1` were merged, step by step, as if they were alone, so that merge would happen
//! there too. Conversely, the whole never merges across either end of two final neighbours, so what
//! it did to them is what they do alone.) The windows rest upon that. Each is merged by itself, the next one begins where one
//! of its last tokens does, and if it begins with that same token, then every two neighbours stand
//! side by side in one window or the other: the ids are those of the whole. If it does not, the
//! window was too short, and all begins again with one twice as long; no published vocabulary needs
//! that. How far an end is felt to its left is limited by the ranks, which must fall on the way
//! (Berglund and van der Merwe, "Formalizing BPE Tokenization", arXiv:2309.08715).
//!
//! So a pre-token of any length takes the memory of one window, and time linear in its length; for
//! a vocabulary that wants the whole as one window, n log^2 n and 24 bytes for each of its bytes.
//!
//! Within a window, the lowest of all ranks is the root of a [tree of minima](Lowest): steps
//! without a branch that depends on the text, in a near cache. A heap of ranks took three times as
//! long.

use super::super::tables::{PairMerge, Tables};
use crate::{Error, Result, TokenId, ids::Id, progress::Stop};

/// Bytes that are merged at a time. (Tests have short texts.)
const WINDOW: usize = if cfg!(test) { 8 } else { 1 << 10 };

/// The end of the linked list.
const END: u32 = u32::MAX;

/// A window and its tree; memory that merging reuses.
#[derive(Debug, Default)]
pub(super) struct Window {
    parts: Vec<Part>,
    lowest: Lowest,
}

/// A token at the place of its first byte.
#[derive(Clone, Copy, Debug)]
struct Part {
    id: TokenId,
    previous: u32,
    next: u32,
    /// What it becomes with the next one, if they merge.
    merged: TokenId,
}

impl Window {
    /// Appends the ids of one pre-token.
    pub(super) fn merge<I: Id>(
        &mut self,
        tables: &Tables,
        pre_token: &[u8],
        stop: &Stop,
        out: &mut Vec<I>,
    ) -> Result<()> {
        let n_before = out.len();
        let mut window = WINDOW;
        while !self.merge_by(window, tables, pre_token, stop, out)? {
            out.truncate(n_before);
            window = window.saturating_mul(2);
        }
        Ok(())
    }

    /// Appends the ids, found in windows of so many bytes; false if those are too short to tell.
    fn merge_by<I: Id>(
        &mut self,
        window: usize,
        tables: &Tables,
        pre_token: &[u8],
        stop: &Stop,
        out: &mut Vec<I>,
    ) -> Result<bool> {
        let mut rest = pre_token;
        let mut expected = None;
        let mut merged: &[u8] = &[];
        loop {
            stop.check()?;
            let is_last = rest.len() <= window;
            let text = if is_last { rest } else { &rest[..window] };
            // What is long repeats itself more often than not: rulers, padding, one letter.
            if text != merged {
                self.merge_whole(tables, text)?;
                merged = text;
            }
            if expected.is_some_and(|id| id != self.parts[0].id) {
                return Ok(false);
            }
            let certain = if is_last { END } else { to_u32(window - window / 4)? };
            let mut at = 0;
            while at < certain {
                let part = self.parts[index(at)];
                out.push(I::of(part.id));
                at = part.next;
            }
            if at == END {
                return Ok(is_last);
            }
            expected = Some(self.parts[index(at)].id);
            rest = &rest[index(at)..];
        }
    }

    /// Leaves the tokens of `text` in the linked list that begins at the first part.
    fn merge_whole(&mut self, tables: &Tables, text: &[u8]) -> Result<()> {
        let Self { parts, lowest } = self;
        link(tables, text, parts, lowest)?;
        while let Some(at) = lowest.first() {
            let part = parts[index(at)];
            let swallowed = part.next;
            let next = parts[index(swallowed)].next;
            let mut with_next = PairMerge::NONE;
            if next != END {
                parts[index(next)].previous = at;
                with_next = tables.pair(part.merged, parts[index(next)].id);
            }
            let merged = Part { id: part.merged, next, merged: with_next.result, ..part };
            parts[index(at)] = merged;
            lowest.set(swallowed, u32::MAX);
            lowest.set(at, with_next.rank);
            let mut first = at;
            if part.previous != END {
                let previous = &mut parts[index(part.previous)];
                let with_previous = tables.pair(previous.id, merged.id);
                previous.merged = with_previous.result;
                lowest.set(part.previous, with_previous.rank);
                first = part.previous;
            }
            lowest.renew([first, at, swallowed]);
        }
        Ok(())
    }
}

/// Fills `parts` with one part per byte, and `lowest` with the ranks of their merges.
fn link(tables: &Tables, text: &[u8], parts: &mut Vec<Part>, lowest: &mut Lowest) -> Result<()> {
    let len = to_u32(text.len())?;
    parts.clear();
    lowest.reset(text.len());
    for (at, &byte) in (0..len).zip(text) {
        let id = tables.known_byte_id(byte)?;
        let is_last = at + 1 == len;
        let with_next =
            if is_last { PairMerge::NONE } else { tables.byte_pair(byte, text[index(at) + 1]) };
        let next = if is_last { END } else { at + 1 };
        parts.push(Part { id, previous: at.wrapping_sub(1), next, merged: with_next.result });
        lowest.set(at, with_next.rank);
    }
    lowest.build();
    Ok(())
}

/// Children of a node.
const FAN: usize = 32;

/// A tree of minima: the lowest of many ranks, leftmost among equals, where a few change at a time.
#[derive(Debug, Default)]
struct Lowest {
    /// The ranks with their places, and on each level above the minima of the nodes below; the last
    /// is one node.
    levels: Vec<Vec<[u64; FAN]>>,
    root: u64,
}

/// Behind every rank with its place.
const NONE: u64 = u64::MAX;

impl Lowest {
    /// Forgets all; ranks may be [set](Self::set) for so many places.
    fn reset(&mut self, n_places: usize) {
        let (mut n_nodes, mut level) = (n_places, 0);
        while level == 0 || n_nodes > 1 {
            n_nodes = n_nodes.div_ceil(FAN);
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[level].clear();
            self.levels[level].resize(n_nodes, [NONE; FAN]);
            level += 1;
        }
        self.levels.truncate(level);
    }

    /// Changes a rank; the tree is [renewed](Self::renew) for several at once.
    #[inline]
    fn set(&mut self, at: u32, rank: u32) {
        self.levels[0][index(at) / FAN][index(at) % FAN] = entry(at, rank);
    }

    /// Makes the tree true to all that was set.
    fn build(&mut self) {
        for level in 1..self.levels.len() {
            for node in 0..self.levels[level - 1].len() {
                self.renew_node(level, node);
            }
        }
        self.renew_root();
    }

    /// Makes the tree true to what was set at these places, which ascend.
    #[inline]
    fn renew(&mut self, changed: [u32; 3]) {
        let mut nodes = changed.map(index);
        for level in 1..self.levels.len() {
            let mut last = usize::MAX;
            for node in &mut nodes {
                *node /= FAN;
                if *node != last {
                    self.renew_node(level, *node);
                    last = *node;
                }
            }
        }
        self.renew_root();
    }

    #[inline]
    fn renew_node(&mut self, level: usize, node: usize) {
        self.levels[level][node / FAN][node % FAN] = lowest_of(&self.levels[level - 1][node]);
    }

    fn renew_root(&mut self) {
        self.root = self.levels.last().and_then(|level| level.first()).map_or(NONE, lowest_of);
    }

    /// The place of the lowest rank, if there is one.
    #[inline]
    fn first(&self) -> Option<u32> {
        let (rank, at) = unpack(self.root);
        (rank != u32::MAX).then_some(at)
    }
}

/// Four at a time: one comparison need not wait for the last.
#[inline]
fn lowest_of(ranks: &[u64; FAN]) -> u64 {
    let (fours, _) = ranks.as_chunks::<4>();
    let lowest = fours.iter().fold([NONE; 4], |lowest, four| {
        [0, 1, 2, 3].map(|lane| if four[lane] < lowest[lane] { four[lane] } else { lowest[lane] })
    });
    lowest[0].min(lowest[1]).min(lowest[2].min(lowest[3]))
}

/// Rank in the high half, place in the low half: ascends in merge order.
fn entry(at: u32, rank: u32) -> u64 {
    u64::from(rank) << 32 | u64::from(at)
}

#[expect(clippy::cast_possible_truncation, reason = "each half has 32 bits")]
fn unpack(entry: u64) -> (u32, u32) {
    ((entry >> 32) as u32, entry as u32)
}

fn index(at: u32) -> usize {
    at as usize
}

/// A place in a window; [`END`] is none.
fn to_u32(place: usize) -> Result<u32> {
    let narrow = u32::try_from(place).ok().filter(|&place| place != END);
    narrow.ok_or(Error::PreTokenTooLong { bytes: place })
}
