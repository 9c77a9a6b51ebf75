//! The integer types that the crate's parts exchange.

use std::fmt::Debug;

use crate::{encode::Pooled, shard::Dtype};

/// Index of a token in the vocabulary.
pub type TokenId = u32;

/// Two neighbouring tokens, left then right.
pub type Pair = (TokenId, TokenId);

/// A [`TokenId`] as it is stored: in two bytes where the vocabulary allows it, else in four.
///
/// Sealed by a trait that cannot be named outside: it is `u16` and `u32`.
pub trait Id: Pooled + Copy + Default + Ord + Debug + Send + Sync + 'static {
    /// The same as a type of token files.
    const DTYPE: Dtype;
    /// As many as fit 16 bytes.
    #[doc(hidden)]
    type Sixteen: AsRef<[Self]> + AsMut<[Self]> + Copy + Default + Debug + Send + Sync;

    /// `id`, which must fit.
    fn of(id: TokenId) -> Self;

    /// The id that it is.
    fn id(self) -> TokenId;

    /// The id that these bytes are, lowest first.
    #[doc(hidden)]
    fn from_le(bytes: &[u8]) -> Self;
}

impl Id for u16 {
    const DTYPE: Dtype = Dtype::Uint16;
    type Sixteen = [Self; 8];

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a caller knows that it fits")]
    fn of(id: TokenId) -> Self {
        id as Self
    }

    #[inline]
    fn id(self) -> TokenId {
        TokenId::from(self)
    }

    #[inline]
    fn from_le(bytes: &[u8]) -> Self {
        bytes.try_into().map_or(0, Self::from_le_bytes)
    }
}

impl Id for u32 {
    const DTYPE: Dtype = Dtype::Uint32;
    type Sixteen = [Self; 4];

    #[inline]
    fn of(id: TokenId) -> Self {
        id
    }

    #[inline]
    fn id(self) -> TokenId {
        self
    }

    #[inline]
    fn from_le(bytes: &[u8]) -> Self {
        bytes.try_into().map_or(0, Self::from_le_bytes)
    }
}
