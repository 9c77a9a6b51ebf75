//! What one place of the corpus under training holds: an id, in as few bytes as the vocabulary
//! allows.

use crate::TokenId;

/// An id, or one of two greater values that are none.
pub(super) trait Symbol: Copy + Eq + Send + Sync {
    /// Separates pre-tokens.
    const BOUNDARY: Self;
    /// Was the first place of a token that is now the right half of another.
    const STALE: Self;
    /// Number of ids that it can hold.
    const N_IDS: usize;

    fn of(id: TokenId) -> Self;

    /// The id that it is.
    fn id(self) -> TokenId;

    /// Its place in arrays that have one for the boundary, the first, and then one for each id.
    fn slot(self) -> usize;
}

impl Symbol for u16 {
    const BOUNDARY: Self = Self::MAX;
    const STALE: Self = Self::MAX - 1;
    const N_IDS: usize = Self::STALE as usize;

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a caller keeps below `N_IDS`")]
    fn of(id: TokenId) -> Self {
        id as Self
    }

    #[inline]
    fn id(self) -> TokenId {
        TokenId::from(self)
    }

    #[inline]
    fn slot(self) -> usize {
        usize::from(self.wrapping_add(1))
    }
}

impl Symbol for u32 {
    const BOUNDARY: Self = Self::MAX;
    const STALE: Self = Self::MAX - 1;
    const N_IDS: usize = Self::STALE as usize;

    #[inline]
    fn of(id: TokenId) -> Self {
        id
    }

    #[inline]
    fn id(self) -> TokenId {
        self
    }

    #[inline]
    fn slot(self) -> usize {
        self.wrapping_add(1) as usize
    }
}
