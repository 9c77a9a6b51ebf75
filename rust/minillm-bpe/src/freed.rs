//! Memory that was freed goes back to the system.
//!
//! An allocator keeps some of what is freed, in the hope that it is soon wanted again; that of
//! glibc all the more, the larger the pieces were that it has once taken back. Where memory is
//! bounded, what is kept would count as held.

/// Gives back what the allocator holds and nobody uses.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() {
    // SAFETY: `malloc_trim` may be called at any time, by any thread; it takes the allocator's own
    // locks, and releases only pages in which nothing is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_in_use_stays() {
        let kept = vec![7_u8; 3 << 20];
        drop(vec![1_u8; 1 << 20]);
        super::give_back();
        assert!(kept == vec![7; 3 << 20]);
    }
}
