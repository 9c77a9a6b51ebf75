//! The inner loop of decoding: a slot of 16 bytes for each id, copied whole.
//!
//! A token has four bytes, more or less, and asking how many there are before copying them costs
//! more than copying too many. So each id has a slot of 15 bytes and their number; all 16 are
//! written, and the next token overwrites what was too much. Only what has no such slot takes a
//! branch: longer tokens, ids that stand for nothing, and those far above all others.

use std::mem::MaybeUninit;

use super::RawId;
use crate::{TokenId, huge_pages};

/// Bytes of a token that fits a slot.
const SLOT_BYTES: usize = 15;

/// Instead of a length: the caller knows the token, if there is one. No length has this bit.
const ELSEWHERE: u8 = 1 << 7;

/// The bytes of a token and, last, their number: at most [`SLOT_BYTES`], or [`ELSEWHERE`].
///
/// An array and no more, because that is copied by one instruction.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Slot([u8; SLOT_BYTES + 1]);

impl Slot {
    const NOTHING: Self = Self([ELSEWHERE; SLOT_BYTES + 1]);

    #[inline]
    fn len(&self) -> u8 {
        self.0[SLOT_BYTES]
    }
}

/// Ids are indices; the last slot and length are [`ELSEWHERE`], and stand for all ids beyond.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Lengths alone, which fit a cache four times smaller; of longer tokens too.
    lens: Vec<u8>,
}

impl Slots {
    /// Of the ids below `len`; what `tokens` does not have stands for nothing.
    pub(super) fn new<'t>(len: usize, tokens: impl Iterator<Item = (TokenId, &'t [u8])>) -> Self {
        let mut slots = huge_pages::vec(Slot::NOTHING, len + 1);
        let mut lens = vec![ELSEWHERE; len + 1];
        for (id, token) in tokens {
            let (Ok(index), Ok(token_len)) = (usize::try_from(id), u8::try_from(token.len()))
            else {
                continue;
            };
            if index >= len || token_len >= ELSEWHERE {
                continue;
            }
            lens[index] = token_len;
            if token.len() <= SLOT_BYTES {
                slots[index].0[..token.len()].copy_from_slice(token);
                slots[index].0[SLOT_BYTES] = token_len;
            }
        }
        Self { slots, lens }
    }

    /// Bytes of all `ids`; `None` if the length of one is not known here.
    #[inline]
    pub(super) fn decoded_len<I: RawId>(&self, ids: &[I]) -> Option<usize> {
        let (mut sum, mut bits) = (0, 0);
        for id in ids {
            // SAFETY: `new` makes at least one entry, and nothing changes their number.
            let len = *unsafe { at(&self.lens, id.number()) };
            sum += usize::from(len);
            bits |= len;
        }
        (bits & ELSEWHERE == 0).then_some(sum)
    }

    /// Writes the tokens of `ids` to the start of `out`, until one has no slot or there is no room
    /// for a whole slot. Returns how many ids and bytes are written.
    ///
    /// The `bytes` are initialized; what is behind them may be written to, and means nothing.
    #[inline]
    pub(super) fn copy<I: RawId>(&self, ids: &[I], out: &mut [MaybeUninit<u8>]) -> (usize, usize) {
        // As many as have room whatever their lengths; then as many of the rest, until none has.
        let (mut done, mut written) = (0, 0);
        loop {
            let sure = (ids.len() - done).min((out.len() - written) / size_of::<Slot>());
            if sure == 0 {
                return (done, written);
            }
            for id in &ids[done..done + sure] {
                // SAFETY: `new` makes at least one slot, and nothing changes their number.
                let slot = unsafe { at(&self.slots, id.number()) };
                if slot.len() == ELSEWHERE {
                    return (done, written);
                }
                // SAFETY: `sure` slots have room behind `written` where this loop begins, and each
                // of its rounds adds less than a slot to it; so there is room for one in each.
                // The pointer is made from a slice that is borrowed mutably and needs no alignment.
                unsafe {
                    out.as_mut_ptr().add(written).cast::<Slot>().write_unaligned(*slot);
                }
                done += 1;
                written += usize::from(slot.len());
            }
        }
    }
}

/// The entry of an id in a table whose last one stands for all ids beyond.
///
/// Checking bounds here would make decoding a fifth slower.
///
/// # Safety
///
/// The table must not be empty.
#[inline]
unsafe fn at<T>(table: &[T], id: u64) -> &T {
    let last = table.len() - 1;
    let index = usize::try_from(id).map_or(last, |id| id.min(last));
    // SAFETY: the index is at most `last`, the highest there is, as there is one.
    unsafe { table.get_unchecked(index) }
}
