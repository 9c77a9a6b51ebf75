//! Ids that arrive one after the other -> text, as early as it is certain.

use std::str::Utf8Error;
use std::sync::Arc;

use super::{Decoder, RawId};
use crate::Result;

/// Decodes ids piece by piece and never gives half a character.
///
/// The end of a piece may be the first part of a character; it waits for the rest. However the ids
/// are cut into pieces, the whole is the text that [`Decoder::decode_text`] makes of all of them
/// with [`InvalidUtf8::Replace`](super::InvalidUtf8::Replace).
#[derive(Clone, Debug)]
pub struct StreamDecoder {
    decoder: Arc<Decoder>,
    /// The start of a character, at most three bytes.
    held: Vec<u8>,
}

impl StreamDecoder {
    /// Begins a text.
    pub fn new(decoder: Arc<Decoder>) -> Self {
        Self { decoder, held: Vec::new() }
    }

    /// Appends to `out` the text that is certain now.
    ///
    /// # Errors
    ///
    /// As [`Decoder::decode`]; then none of `ids` is taken.
    pub fn push<I: RawId>(&mut self, ids: &[I], out: &mut String) -> Result<()> {
        let mut bytes = self.held.clone();
        self.decoder.decode(ids, &mut bytes)?;
        self.held.clear();
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            out.push_str(chunk.valid());
            let invalid = chunk.invalid();
            let is_open = |error: Utf8Error| error.error_len().is_none();
            if chunks.peek().is_none() && std::str::from_utf8(invalid).is_err_and(is_open) {
                self.held.extend_from_slice(invalid);
            } else if !invalid.is_empty() {
                out.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Ok(())
    }

    /// Ends the text and appends U+FFFD if the rest of a character never came. The next text may
    /// begin then.
    pub fn finish(&mut self, out: &mut String) {
        if !std::mem::take(&mut self.held).is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}
