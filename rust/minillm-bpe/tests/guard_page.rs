//! No scanner reads a byte before or behind its text: there lie pages that cannot be read.

#![cfg(unix)]

use std::ptr;

use minillm_bpe::pretokenize::{NamedPattern, Path, Pattern, PreTokenizer};

/// Three pages, of which only the middle one can be read and written.
struct Guarded {
    start: *mut libc::c_void,
    page: usize,
}

impl Guarded {
    fn new() -> Self {
        // SAFETY: no pointers are involved.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).unwrap_or_default();
        assert_ne!(page, 0);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        // SAFETY: a new mapping, at an address of the system's choice, touches no other memory.
        let start = unsafe { libc::mmap(ptr::null_mut(), 3 * page, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        let middle = start.wrapping_byte_add(page);
        // SAFETY: the middle page belongs to the mapping, to which nothing refers yet.
        let status = unsafe { libc::mprotect(middle, page, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(status, 0);
        Self { start, page }
    }

    fn page(&mut self) -> &mut [u8] {
        let middle = self.start.wrapping_byte_add(self.page).cast();
        // SAFETY: the page is readable, writable, initialized to zero, and ours until `drop`;
        // `&mut self` keeps a second reference away.
        unsafe { std::slice::from_raw_parts_mut(middle, self.page) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference to it outlives `self`.
        unsafe { libc::munmap(self.start, 3 * self.page) };
    }
}

#[test]
fn no_scanner_reads_beyond_its_text() {
    const LONGEST: usize = 200;
    let texts = [
        "It's the 1,234th \n\n  time that NASA'S",
        "\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{41c}\u{438}\u{440}, ",
        "\u{d55c}\u{ad6d}\u{c5b4} \u{4e2d}\u{6587}\u{3002}\u{1f600}\u{301}",
        " \n\r\t\u{a0}",
    ];
    let scanners: Vec<PreTokenizer> = NamedPattern::ALL
        .iter()
        .flat_map(|&named| {
            Path::available()
                .into_iter()
                .map(move |path| PreTokenizer::with_path(&Pattern::Named(named), path).unwrap())
        })
        .collect();
    let mut guarded = Guarded::new();
    let page = guarded.page();
    for text in texts {
        let text = text.repeat(LONGEST);
        for offset in 0..8 {
            for len in 0..=LONGEST {
                let bytes = &text.as_bytes()[offset..offset + len];
                for start in [page.len() - len, 0] {
                    page[start..start + len].copy_from_slice(bytes);
                    for scanner in &scanners {
                        let mut scanned = 0;
                        scanner
                            .for_each(&page[start..start + len], |part| scanned += part.len())
                            .unwrap();
                        assert_eq!(scanned, len);
                    }
                }
            }
        }
    }
}
