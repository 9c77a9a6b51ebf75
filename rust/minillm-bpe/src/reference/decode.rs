//! Textbook decoding: the tokens' bytes, one after the other.

use crate::{Error, Result, TokenId, Vocab};

/// The bytes of `ids`.
///
/// # Errors
///
/// [`Error::UnknownId`] names the first id that is not in the vocabulary, and its position.
pub fn decode(vocab: &Vocab, ids: &[TokenId]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (position, &id) in ids.iter().enumerate() {
        bytes.extend_from_slice(vocab.token(id).ok_or(Error::UnknownId { id, position })?);
    }
    Ok(bytes)
}
