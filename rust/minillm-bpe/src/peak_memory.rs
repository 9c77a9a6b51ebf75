//! The most memory that this process has held at a time, for reports.

/// Its bytes, as far as the system tells them: Windows does not, in the same words.
#[cfg(unix)]
pub fn peak_memory() -> Option<u64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the right size and alignment, which the call may write;
    // it holds nothing but integers, for which zeros are valid, whatever of it was written.
    let (status, usage) =
        unsafe { (libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), usage.assume_init()) };
    // Apple counts in bytes, all others in kibibytes.
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    let peak = u64::try_from(usage.ru_maxrss).ok()?.checked_mul(unit)?;
    (status == 0).then_some(peak)
}

/// Its bytes, as far as the system tells them: Windows does not, in the same words.
#[cfg(not(unix))]
pub fn peak_memory() -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn the_peak_grows_with_what_is_held_and_stays() {
        let before = super::peak_memory().unwrap();
        let held = vec![7_u8; usize::try_from(before).unwrap() + (1 << 24)];
        assert!(super::peak_memory().unwrap() > before);
        drop(held);
        assert!(super::peak_memory().unwrap() > before);
    }
}
