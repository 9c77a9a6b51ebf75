//! The integer types that the crate's parts exchange.

/// Index of a token in the vocabulary.
pub type TokenId = u32;

/// Two neighbouring tokens, left then right.
pub type Pair = (TokenId, TokenId);
