//! Encodes a text that arrives in pieces, cut anywhere: the ids are those of the whole.

use super::{Encoder, SpecialMatcher};
use crate::{Result, ids::Id};

/// Fewer pending bytes than this are not worth a look. (Tests have short texts.)
const MIN_PENDING_BYTES: usize = if cfg!(test) { 8 } else { 1 << 14 };

/// Encodes a text that arrives in pieces.
///
/// Holds back what later pieces could still change: what follows the last place where pre-tokens
/// end for certain, and the beginning of what may become a special token. For a named pattern that
/// is a few kilobytes of prose and at most one run without white space; another pattern has no
/// such places, and all text since the last special token is held. Linear in the bytes pushed.
///
/// # Examples
///
/// ```
/// # use std::sync::Arc;
/// # use minillm_bpe::{AllowedSpecial, Encoder, Vocab, pretokenize::Pattern};
/// # let bytes = (0..=255_u8).map(|byte| (u32::from(byte), vec![byte])).collect();
/// # let specials = vec![("<|endoftext|>".to_owned(), Some(256))];
/// # let encoder = Encoder::new(Arc::new(Vocab::new(bytes, vec![], specials, Pattern::None)?))?;
/// let mut ids: Vec<u32> = Vec::new();
/// let mut stream = encoder.stream(&AllowedSpecial::All)?;
/// stream.push(b"hi<|endo", &mut ids)?;
/// stream.push(b"ftext|>", &mut ids)?;
/// stream.finish(&mut ids)?;
/// assert_eq!(ids, [104, 105, 256]);
/// # Ok::<(), minillm_bpe::Error>(())
/// ```
#[derive(Debug)]
pub struct StreamEncoder {
    encoder: Encoder,
    specials: SpecialMatcher,
    pending: Vec<u8>,
    /// Look for certain ids when this many bytes are pending. Doubles while there are none, so
    /// that a text without a place to cut is not searched again for every piece.
    look_at: usize,
}

impl StreamEncoder {
    pub(super) fn new(encoder: Encoder, specials: SpecialMatcher) -> Self {
        Self { encoder, specials, pending: Vec::new(), look_at: MIN_PENDING_BYTES }
    }

    /// Takes the next piece, and appends ids that are certain by now.
    ///
    /// # Errors
    ///
    /// As [`Encoder::encode_ordinary`]; the stream is of no use then.
    pub fn push<I: Id>(&mut self, piece: &[u8], out: &mut Vec<I>) -> Result<()> {
        self.pending.extend_from_slice(piece);
        if self.pending.len() < self.look_at {
            return Ok(());
        }
        let encoded = self.encode_certain(out)?;
        self.pending.drain(..encoded);
        self.look_at = (2 * self.pending.len()).max(MIN_PENDING_BYTES);
        Ok(())
    }

    /// Appends the ids of what is left; the stream can then take another text.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn finish<I: Id>(&mut self, out: &mut Vec<I>) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.look_at = MIN_PENDING_BYTES;
        let Self { encoder, specials, .. } = self;
        encoder.with_state(|state| encoder.encode_with(state, specials, &pending, out))
    }

    /// Encodes the longest certain beginning of what is pending, and returns its length.
    fn encode_certain<I: Id>(&self, out: &mut Vec<I>) -> Result<usize> {
        let Self { encoder, specials, pending: text, .. } = self;
        // A special token that begins before the horizon, and whatever else could begin there, is
        // seen to its end. Behind it, more text might yet complete one, or lengthen one.
        let horizon = (text.len() + 1).saturating_sub(specials.tokens.max_len().max(1));
        encoder.with_state(|state| {
            let mut at = 0;
            while let Some((range, index)) = specials.tokens.find(text, at)
                && range.start < horizon
            {
                encoder.encode_ordinary_with(state, &text[at..range.start], out)?;
                out.push(I::of(specials.ids[index]));
                at = range.end;
            }
            let upto = horizon.saturating_sub(at);
            if let Some(cut) = encoder.pre_tokenizer().safe_cut(&text[at..], upto) {
                encoder.encode_ordinary_with(state, &text[at..at + cut], out)?;
                at += cut;
            }
            Ok(at)
        })
    }
}
