//! The inner loop of decoding: a slot of 16 bytes for each id, copied whole.
//!
//! A token has four bytes, more or less, and asking how many there are before copying them costs
//! more than copying too many. So each id has a slot of 15 bytes and their number; all 16 are
//! written, and the next token overwrites what was too much. Only what has no such slot takes a
//! branch: longer tokens, ids that stand for nothing, and those far above all others.

use std::mem::MaybeUninit;

use super::RawId;
use crate::{TokenId, huge_pages};

/// Bytes that a slot holds.
const SLOT_BYTES: usize = 15;

/// Instead of a length: the caller knows the token, if there is one.
const ELSEWHERE: u8 = u8::MAX;

/// A token, or its absence.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
struct Slot {
    bytes: [u8; SLOT_BYTES],
    /// At most [`SLOT_BYTES`], or [`ELSEWHERE`].
    len: u8,
}

const NOTHING: Slot = Slot { bytes: [0; SLOT_BYTES], len: ELSEWHERE };

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
        let mut slots = huge_pages::vec(NOTHING, len + 1);
        let mut lens = vec![ELSEWHERE; len + 1];
        for (id, token) in tokens {
            let Ok(index) = usize::try_from(id) else { continue };
            let Ok(token_len) = u8::try_from(token.len()) else { continue };
            if index >= len {
                continue;
            }
            lens[index] = token_len;
            if let Some(bytes) = slots[index].bytes.get_mut(..token.len()) {
                bytes.copy_from_slice(token);
                slots[index].len = token_len;
            }
        }
        Self { slots, lens }
    }

    /// Bytes of all `ids`; `None` if the length of one is not known here.
    #[inline]
    pub(super) fn decoded_len<I: RawId>(&self, ids: &[I]) -> Option<usize> {
        let (mut sum, mut longest) = (0, 0);
        for id in ids {
            let len = self.lens[index(id.number(), self.lens.len())];
            sum += usize::from(len);
            longest = longest.max(len);
        }
        (longest != ELSEWHERE).then_some(sum)
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
                let slot = self.slots[index(id.number(), self.slots.len())];
                if usize::from(slot.len) > SLOT_BYTES {
                    return (done, written);
                }
                // SAFETY: `sure` slots have room behind `written` where this loop begins, and each
                // of its rounds adds less than a slot to it; so there is room for one in each.
                // The pointer is made from a slice that is borrowed mutably and needs no alignment.
                unsafe {
                    out.as_mut_ptr().add(written).cast::<Slot>().write_unaligned(slot);
                }
                done += 1;
                written += usize::from(slot.len);
            }
        }
    }
}

/// Where the id is in a table of `len` entries whose last stands for all ids beyond.
#[inline]
fn index(id: u64, len: usize) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX).min(len - 1)
}
