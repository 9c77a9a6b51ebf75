//! Merges one pre-token: lowest rank first, leftmost first among equals.
//!
//! Up to [`SHORT`] bytes the lowest rank is found by looking at all of them: quadratic, and
//! faster than any bookkeeping. Which parts are left is one bit a byte. Longer pre-tokens fall apart
//! first, between bytes that no merge joins, mostly into one or two, and what is still longer then
//! is for [`long`].
//! `reference::encode` is the slow twin of both.

mod long;

use super::tables::{PairMerge, Tables};
use crate::progress::Stop;
use crate::{Result, ids::Id};
use long::Window;

/// Longest pre-token that is merged by scanning.
const SHORT: usize = 32;

/// Memory that merging reuses, and the wish to stop, for which a long pre-token looks out.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    window: Window,
    stop: Stop,
}

impl Scratch {
    pub(super) fn new(stop: Stop) -> Self {
        Self { window: Window::default(), stop }
    }
}

/// Appends the ids of one pre-token.
///
/// # Errors
///
/// [`MissingByte`](crate::Error::MissingByte) if there is no token for one of the bytes,
/// [`Interrupted`](crate::Error::Interrupted) if that was wished,
/// [`PreTokenTooLong`](crate::Error::PreTokenTooLong) if 4 GiB have to be merged as a whole.
pub(super) fn merge<I: Id>(
    tables: &Tables,
    scratch: &mut Scratch,
    pre_token: &[u8],
    out: &mut Vec<I>,
) -> Result<()> {
    if pre_token.len() <= SHORT {
        return merge_short(tables, pre_token, out);
    }
    let mut start = 0;
    for end in 1..=pre_token.len() {
        let last = pre_token[end - 1];
        if pre_token.get(end).is_some_and(|&next| tables.may_join(last, next)) {
            continue;
        }
        match pre_token[start..end] {
            [only] => out.push(I::of(tables.known_byte_id(only)?)),
            [left, right] => {
                let merge = tables.byte_pair(left, right);
                if merge.is_none() {
                    let ids = [tables.known_byte_id(left)?, tables.known_byte_id(right)?];
                    out.extend_from_slice(&ids.map(I::of));
                } else {
                    out.push(I::of(merge.result));
                }
            }
            ref several => merge_several(tables, scratch, several, out)?,
        }
        start = end;
    }
    Ok(())
}

/// Appends the ids of bytes between which all might join.
#[inline(never)]
fn merge_several<I: Id>(
    tables: &Tables,
    scratch: &mut Scratch,
    bytes: &[u8],
    out: &mut Vec<I>,
) -> Result<()> {
    if bytes.len() <= SHORT {
        return merge_short(tables, bytes, out);
    }
    scratch.window.merge(tables, bytes, &scratch.stop, out)
}

fn merge_short<I: Id>(tables: &Tables, pre_token: &[u8], out: &mut Vec<I>) -> Result<()> {
    // A part stands where its first byte does, so that nothing moves when two become one, and
    // `begins` has a bit for each. `merges` holds the merge of each part with the next one.
    let mut parts = [0; SHORT];
    let mut merges = [PairMerge::NONE; SHORT];
    let mut begins = 0_u32;
    for (at, &byte) in pre_token.iter().enumerate() {
        parts[at] = tables.known_byte_id(byte)?;
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
