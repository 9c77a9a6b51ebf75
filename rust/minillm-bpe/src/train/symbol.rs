//! What one place of the corpus under training holds: an id, in as few bytes as the vocabulary
//! allows.

use crate::Id;

/// An [`Id`], or one of two greater values that are none.
pub(super) trait Symbol: Id {
    /// Separates pre-tokens.
    const BOUNDARY: Self;
    /// Was the first place of a token that is now the right half of another.
    const STALE: Self;
    /// Number of ids that it can hold.
    const N_IDS: usize;

    /// Its place in arrays that have one for the boundary, the first, and then one for each id.
    fn slot(self) -> usize;
}

impl Symbol for u16 {
    const BOUNDARY: Self = Self::MAX;
    const STALE: Self = Self::MAX - 1;
    const N_IDS: usize = Self::STALE as usize;

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
    fn slot(self) -> usize {
        self.wrapping_add(1) as usize
    }
}
