//! Merges one pre-token: lowest rank first, leftmost first among equals.
//!
//! Up to [`SHORT`] bytes the lowest rank is found by looking at all of them: quadratic, and
//! faster than any bookkeeping. Which parts are left is one bit a byte. Longer pre-tokens keep a heap of ranks and a linked list of parts,
//! n log n. `reference::encode` is the slow twin of both.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::tables::{PairMerge, Tables};
use crate::{Error, Result, TokenId, ids::Id};

/// Longest pre-token that is merged by scanning.
const SHORT: usize = 32;

/// The end of the linked list.
const END: u32 = u32::MAX;

/// Memory that merging reuses.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    parts: Vec<Part>,
    /// Rank in the high half, index of the left part in the low half: pops in merge order.
    heap: BinaryHeap<Reverse<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    id: TokenId,
    previous: u32,
    next: u32,
    /// The merge of this part with the next one.
    merge: PairMerge,
}

/// Appends the ids of one pre-token.
///
/// # Errors
///
/// [`Error::MissingByte`] if there is no token for one of the bytes, [`Error::PreTokenTooLong`]
/// for 4 GiB and above.
pub(super) fn merge<I: Id>(
    tables: &Tables,
    scratch: &mut Scratch,
    pre_token: &[u8],
    out: &mut Vec<I>,
) -> Result<()> {
    if pre_token.len() <= SHORT {
        merge_short(tables, pre_token, out)
    } else {
        merge_long(tables, scratch, pre_token, out)
    }
}

fn merge_short<I: Id>(tables: &Tables, pre_token: &[u8], out: &mut Vec<I>) -> Result<()> {
    // A part stands where its first byte does, so that nothing moves when two become one, and
    // `begins` has a bit for each. `merges` holds the merge of each part with the next one.
    let mut parts = [0; SHORT];
    let mut merges = [PairMerge::NONE; SHORT];
    let mut begins = 0_u32;
    for (at, &byte) in pre_token.iter().enumerate() {
        parts[at] = tables.byte_id(byte).ok_or(Error::MissingByte { byte })?;
        begins |= 1 << at;
        if let Some(&next) = pre_token.get(at + 1) {
            merges[at] = tables.byte_pair(byte, next);
        }
    }
    while let Some(at) = lowest(&merges[..pre_token.len()]) {
        let id = merges[at].result;
        parts[at] = id;
        let swallowed = after(begins, at);
        begins &= !(1 << swallowed);
        merges[swallowed] = PairMerge::NONE;
        let next = after(begins, at);
        merges[at] = if next < SHORT { tables.pair(id, parts[next]) } else { PairMerge::NONE };
        if let Some(previous) = before(begins, at) {
            merges[previous] = tables.pair(parts[previous], id);
        }
    }
    while begins != 0 {
        out.push(I::of(parts[begins.trailing_zeros() as usize]));
        begins &= begins - 1;
    }
    Ok(())
}

/// Where the lowest rank stands, the leftmost of them; [`None`] if there is no merge.
#[inline]
fn lowest(merges: &[PairMerge]) -> Option<usize> {
    let (mut lowest, mut at) = (PairMerge::NONE.rank, 0);
    for (i, merge) in merges.iter().enumerate() {
        let is_lower = merge.rank < lowest;
        lowest = if is_lower { merge.rank } else { lowest };
        at = if is_lower { i } else { at };
    }
    (lowest != PairMerge::NONE.rank).then_some(at)
}

/// The first bit of `begins` behind `at`; [`SHORT`] or more if there is none.
#[inline]
fn after(begins: u32, at: usize) -> usize {
    at + 1 + (u64::from(begins) >> (at + 1) | 1 << SHORT).trailing_zeros() as usize
}

/// The last bit of `begins` before `at`.
#[inline]
fn before(begins: u32, at: usize) -> Option<usize> {
    (begins & ((1 << at) - 1)).checked_ilog2().map(|bit| bit as usize)
}

fn merge_long<I: Id>(
    tables: &Tables,
    scratch: &mut Scratch,
    pre_token: &[u8],
    out: &mut Vec<I>,
) -> Result<()> {
    let Scratch { parts, heap } = scratch;
    link(tables, pre_token, parts)?;
    heap.clear();
    heap.extend((0..).zip(&*parts).filter_map(|(at, part)| entry(at, part.merge)));
    while let Some(Reverse(lowest)) = heap.pop() {
        let (rank, at) = unpack(lowest);
        let part = parts[index(at)];
        // Stale: the part was swallowed, or has another neighbour by now. (Where the rank is the
        // present one, the merge is due, whichever change the entry is from.)
        if part.merge.rank != rank {
            continue;
        }
        let swallowed = parts[index(part.next)];
        parts[index(part.next)].merge = PairMerge::NONE;
        let (id, next) = (part.merge.result, swallowed.next);
        let mut with_next = PairMerge::NONE;
        if next != END {
            parts[index(next)].previous = at;
            with_next = tables.pair(id, parts[index(next)].id);
            heap.extend(entry(at, with_next));
        }
        parts[index(at)] = Part { id, next, merge: with_next, ..part };
        if part.previous != END {
            let previous = &mut parts[index(part.previous)];
            previous.merge = tables.pair(previous.id, id);
            heap.extend(entry(part.previous, previous.merge));
        }
    }
    let mut at = 0;
    while at != END {
        let part = parts[index(at)];
        out.push(I::of(part.id));
        at = part.next;
    }
    Ok(())
}

/// Fills `parts` with one part per byte.
fn link(tables: &Tables, pre_token: &[u8], parts: &mut Vec<Part>) -> Result<()> {
    if u32::try_from(pre_token.len()).is_err() {
        return Err(Error::PreTokenTooLong { bytes: pre_token.len() });
    }
    parts.clear();
    parts.reserve(pre_token.len());
    for (at, &byte) in (0..).zip(pre_token) {
        let id = tables.byte_id(byte).ok_or(Error::MissingByte { byte })?;
        if let Some(last) = parts.last_mut() {
            last.merge = tables.pair(last.id, id);
            last.next = at;
        }
        let previous = if at == 0 { END } else { at - 1 };
        parts.push(Part { id, previous, next: END, merge: PairMerge::NONE });
    }
    Ok(())
}

fn entry(at: u32, merge: PairMerge) -> Option<Reverse<u64>> {
    (!merge.is_none()).then(|| Reverse(u64::from(merge.rank) << 32 | u64::from(at)))
}

#[expect(clippy::cast_possible_truncation, reason = "each half has 32 bits")]
fn unpack(entry: u64) -> (u32, u32) {
    ((entry >> 32) as u32, entry as u32)
}

fn index(at: u32) -> usize {
    at as usize
}
