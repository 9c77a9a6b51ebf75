//! The forms in which ids lie in memory.

use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, Ordering};

/// A number that may be an id.
///
/// The atomic ones are for arrays that another thread may change meanwhile, as one of Python may.
/// Reading them costs the same; what is decoded then is of the moment at which each was read.
pub trait RawId: Sync {
    /// The number; one that is no id at all, as a negative one, is beyond 32 bits.
    fn number(&self) -> u64;
}

impl RawId for u16 {
    #[inline]
    fn number(&self) -> u64 {
        u64::from(*self)
    }
}

impl RawId for u32 {
    #[inline]
    fn number(&self) -> u64 {
        u64::from(*self)
    }
}

impl RawId for i64 {
    #[inline]
    fn number(&self) -> u64 {
        self.cast_unsigned()
    }
}

impl RawId for AtomicU16 {
    #[inline]
    fn number(&self) -> u64 {
        self.load(Ordering::Relaxed).number()
    }
}

impl RawId for AtomicU32 {
    #[inline]
    fn number(&self) -> u64 {
        self.load(Ordering::Relaxed).number()
    }
}

impl RawId for AtomicI64 {
    #[inline]
    fn number(&self) -> u64 {
        self.load(Ordering::Relaxed).number()
    }
}
