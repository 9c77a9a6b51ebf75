//! What several targets need.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Write,
    process,
};

/// The system's allocator, which ends the process when it is asked for more than `MOST_BYTES` at
/// once: far more than a small input needs, far less than one can claim.
pub struct Bounded<const MOST_BYTES: usize>;

impl<const MOST_BYTES: usize> Bounded<MOST_BYTES> {
    fn check(n_bytes: usize) {
        if n_bytes > MOST_BYTES {
            // Nothing that allocates.
            let _ = std::io::stderr().write_all(b"an allocation is far larger than the file\n");
            process::abort();
        }
    }
}

// SAFETY: each method hands its arguments on to `System` as they are, and the caller has promised
// for them what `System` asks.
unsafe impl<const MOST_BYTES: usize> GlobalAlloc for Bounded<MOST_BYTES> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::check(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::check(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::check(new_size);
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, new_size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Takes the first byte of what is left; 0 at the end.
pub fn next(data: &mut &[u8]) -> u8 {
    data.split_off_first().copied().unwrap_or(0)
}

/// Cuts `items` where `places` say, each a number of items from the place before.
pub fn pieces<'a, T>(mut items: &'a [T], places: &[u8]) -> Vec<&'a [T]> {
    let mut pieces = Vec::new();
    for &place in places {
        let (piece, rest) = items.split_at(usize::from(place).min(items.len()));
        pieces.push(piece);
        items = rest;
    }
    pieces.push(items);
    pieces
}
