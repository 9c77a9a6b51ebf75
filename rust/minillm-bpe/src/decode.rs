//! Ids -> bytes, at the speed at which memory is written.
//!
//! How many bytes there will be is found first, from a table of lengths that fits a near cache; so
//! the bytes are written once, to where they stay ([`Decoding`]). The loop that writes them is in
//! `slots`, its slow twin in [`reference`](crate::reference).

mod offsets;
mod parts;
mod raw_id;
mod slots;
mod stream;

use std::mem::MaybeUninit;

use crate::{Error, Result, TokenId, Vocab};
pub use offsets::char_offsets;
pub use parts::Decoding;
pub use raw_id::RawId;
use slots::Slots;
pub use stream::StreamDecoder;

/// What to do with bytes that are not valid UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidUtf8 {
    /// Refuse.
    Strict,
    /// Put U+FFFD for each maximal invalid sequence, as the Unicode standard recommends (section
    /// 3.9) and Python does.
    Replace,
}

/// Turns ids into the bytes that they stand for.
///
/// Special tokens come out as their text. Ids up to a limit have a slot in a table of ranges; what
/// lies far above all others, as special tokens may, is searched for instead.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Token `id` is `bytes[starts[id]..starts[id + 1]]`; empty if there is none.
    starts: Vec<usize>,
    bytes: Vec<u8>,
    /// The tokens beyond `starts`, ascending.
    far: Vec<(TokenId, Vec<u8>)>,
    /// What of this is short, where it is found at once.
    slots: Slots,
}

/// Ids whose lengths are added up before one of them is looked at alone.
const BLOCK_IDS: usize = 4096;

impl Decoder {
    /// Builds the tables, in time and memory linear in the vocabulary.
    pub fn new(vocab: &Vocab) -> Self {
        // Gaps cost a slot each: at most as many as there are tokens, and a small table always.
        let limit = (2 * vocab.len()).max(1 << 16);
        let (mut starts, mut bytes, mut far) = (vec![0], Vec::new(), Vec::new());
        for (id, token) in vocab.tokens() {
            match usize::try_from(id) {
                Ok(id) if id < limit => {
                    starts.resize(id + 1, bytes.len());
                    bytes.extend_from_slice(token);
                    starts.push(bytes.len());
                }
                _ => far.push((id, token.to_vec())),
            }
        }
        let slots = Slots::new(starts.len() - 1, vocab.tokens());
        Self { starts, bytes, far, slots }
    }

    /// Appends the bytes of `ids` to `out`, on this thread.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownId`] names the first id that stands for nothing, and its position;
    /// [`Error::IdOutOfRange`] one that cannot be an id. `out` is then as it was.
    pub fn decode<I: RawId>(&self, ids: &[I], out: &mut Vec<u8>) -> Result<()> {
        let decoding = self.measure(ids, 1)?;
        let (old, new) = (out.len(), decoding.n_bytes());
        out.reserve(new);
        decoding.write_to(&mut out.spare_capacity_mut()[..new])?;
        // SAFETY: so many bytes have room behind the `old` ones, and `write_to` initialized them.
        unsafe { out.set_len(old + new) };
        Ok(())
    }

    /// Finds how many bytes `ids` stand for, as the first of two steps: for who has a place for
    /// them. Both steps take up to `threads` threads, if there are millions of ids.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), whatever the number of threads.
    pub fn measure<'a, I: RawId>(
        &'a self,
        ids: &'a [I],
        threads: usize,
    ) -> Result<Decoding<'a, I>> {
        Decoding::new(self, ids, threads)
    }

    /// The text of `ids`.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode); [`Error::InvalidUtf8`] if the bytes are no text and `invalid`
    /// is strict.
    pub fn decode_text<I: RawId>(&self, ids: &[I], invalid: InvalidUtf8) -> Result<String> {
        let mut bytes = Vec::new();
        self.decode(ids, &mut bytes)?;
        String::from_utf8(bytes).or_else(|error| match invalid {
            InvalidUtf8::Replace => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
            InvalidUtf8::Strict => {
                Err(Error::InvalidUtf8 { position: error.utf8_error().valid_up_to() })
            }
        })
    }

    /// The bytes of one token.
    #[inline]
    pub fn token(&self, id: TokenId) -> Option<&[u8]> {
        let index = usize::try_from(id).ok()?;
        if let Some(&[start, end]) = self.starts.get(index..index + 2) {
            // Tokens are not empty: an empty range is a gap.
            return (start < end).then(|| &self.bytes[start..end]);
        }
        let index = self.far.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        Some(&self.far[index].1)
    }

    /// The token of a number at a position.
    fn known(&self, id: &impl RawId, position: usize) -> Result<&[u8]> {
        let number = id.number();
        let id = TokenId::try_from(number)
            .map_err(|_| Error::IdOutOfRange { id: number.cast_signed(), position })?;
        self.token(id).ok_or(Error::UnknownId { id, position })
    }

    /// Bytes of `ids`, which begin at position `first`.
    fn decoded_len<I: RawId>(&self, ids: &[I], first: usize) -> Result<usize> {
        let mut sum = 0;
        for (block, ids) in ids.chunks(BLOCK_IDS).enumerate() {
            if let Some(len) = self.slots.decoded_len(ids) {
                sum += len;
                continue;
            }
            let first = first + block * BLOCK_IDS;
            for (position, id) in (first..).zip(ids) {
                sum += self.known(id, position)?.len();
            }
        }
        Ok(sum)
    }

    /// Fills `out` with the bytes of `ids`, which begin at position `first`; if that is not
    /// exactly what `out` has room for, it is an error.
    fn fill<I: RawId>(
        &self,
        mut ids: &[I],
        mut first: usize,
        mut out: &mut [MaybeUninit<u8>],
    ) -> Result<()> {
        loop {
            let (done, written) = self.slots.copy(ids, out);
            (ids, first, out) = (&ids[done..], first + done, &mut out[written..]);
            let Some((id, later)) = ids.split_first() else { break };
            let token = self.known(id, first)?;
            let (place, rest) = out.split_at_mut_checked(token.len()).ok_or(Error::IdsChanged)?;
            place.iter_mut().zip(token).for_each(|(place, byte)| {
                place.write(*byte);
            });
            (ids, first, out) = (later, first + 1, rest);
        }
        if out.is_empty() { Ok(()) } else { Err(Error::IdsChanged) }
    }
}

#[cfg(test)]
mod tests;
