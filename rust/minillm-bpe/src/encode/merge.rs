//! Merges one pre-token: lowest rank first, leftmost first among equals.
//!
//! Up to [`SHORT`] bytes the lowest rank is found by looking at all of them: quadratic, and
//! faster than any bookkeeping. Longer pre-tokens keep a heap of ranks and a linked list of parts,
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
    let mut ids = [0; SHORT];
    for (id, &byte) in ids.iter_mut().zip(pre_token) {
        *id = tables.byte_id(byte).ok_or(Error::MissingByte { byte })?;
    }
    let mut len = pre_token.len();
    // `merges[i]` is the merge of parts i and i + 1; the last part has none.
    let mut merges = [PairMerge::NONE; SHORT];
    for i in 1..len {
        merges[i - 1] = tables.byte_pair(pre_token[i - 1], pre_token[i]);
    }
    loop {
        let mut at = 0;
        for i in 1..len {
            if merges[i].rank < merges[at].rank {
                at = i;
            }
        }
        if merges[at].is_none() {
            out.extend(ids[..len].iter().map(|&id| I::of(id)));
            return Ok(());
        }
        ids[at] = merges[at].result;
        ids.copy_within(at + 2..len, at + 1);
        merges.copy_within(at + 1..len, at);
        len -= 1;
        merges[at] = if at + 1 < len { tables.pair(ids[at], ids[at + 1]) } else { PairMerge::NONE };
        if at > 0 {
            merges[at - 1] = tables.pair(ids[at - 1], ids[at]);
        }
    }
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
