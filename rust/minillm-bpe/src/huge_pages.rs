//! Memory for large tables that are read at random.
//!
//! With pages of 4 KiB, a table of some ten megabytes has more pages than the processor remembers
//! the addresses of, and each look-up waits for one more access. Pages of 2 MiB cure that;
//! Linux gives them to who asks.

use std::mem::MaybeUninit;

/// A vector of `len` times `value`, in huge pages where the system has them to give.
pub(crate) fn vec<T: Clone>(value: T, len: usize) -> Vec<T> {
    vec_with_room(value, len, len)
}

/// [`vec`] with room to grow to `capacity`; what is not used of it yet takes addresses only.
pub(crate) fn vec_with_room<T: Clone>(value: T, len: usize, capacity: usize) -> Vec<T> {
    let mut vec = Vec::with_capacity(capacity);
    advise(vec.spare_capacity_mut());
    vec.resize(len, value);
    vec
}

/// Asks for huge pages; best before the memory is written for the first time.
#[cfg(target_os = "linux")]
pub(crate) fn advise<T>(memory: &mut [MaybeUninit<T>]) {
    const PAGE: usize = 1 << 12;
    const HUGE_PAGE: usize = 1 << 21;
    let bytes = size_of_val(memory);
    let start = memory.as_mut_ptr().cast::<u8>();
    let to_page = start.align_offset(PAGE);
    let Some(bytes) = bytes.checked_sub(to_page).filter(|&bytes| bytes >= HUGE_PAGE) else {
        return;
    };
    // SAFETY: the range lies within memory that the caller has borrowed, and the advice changes
    // which pages back it, never what it holds. Whether the system follows it makes no difference.
    unsafe {
        libc::madvise(start.add(to_page).cast(), bytes - bytes % PAGE, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn advise<T>(_: &mut [MaybeUninit<T>]) {}

#[cfg(test)]
mod tests {
    #[test]
    fn vectors_of_every_size_hold_what_was_asked_for() {
        for len in [0, 1, 511, 1 << 12, (1 << 21) + 1, 3 << 20] {
            assert!(super::vec(7_u8, len) == vec![7; len]);
            assert!(super::vec(7_u64, len) == vec![7; len]);
        }
    }
}
