//! How much of a document was there before, in the same document.
//!
//! Follows the rules of Rae et al., "Scaling Language Models: Methods, Analysis & Insights from
//! Training Gopher" (2021), arXiv:2112.11446, table A1, which look at lines and at n-grams of
//! words apart. Here n is 8 alone, only what comes again counts and not what it repeats, and one
//! number is the result. Bytes, not characters, are counted.
//!
//! What was seen is known by 64-bit hashes: among a million, two differ by mistake in none of ten
//! million documents.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

/// Words of an n-gram.
const WORDS: usize = 8;

/// Bytes of a document that are looked at: the first of a longer one. They bound memory.
const MOST_BYTES: usize = 16 << 20;

/// Odd, so that each power of it is, and no bit of a word's hash is lost.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Measures documents, one after the other.
#[derive(Default)]
pub(super) struct Repetition {
    seen: Seen,
}

impl Repetition {
    /// The share of the bytes of `text` that lie in lines, or in runs of eight words, that `text`
    /// held before; whichever is more. In linear time.
    ///
    /// A line has its line end; one of white space alone does not count. Words stand between ASCII
    /// white space, and white space between the eight counts with them.
    pub(super) fn share(&mut self, text: &[u8]) -> f64 {
        let text = &text[..text.len().min(MOST_BYTES)];
        let repeated = self.in_lines(text).max(self.in_words(text));
        if text.is_empty() { 0.0 } else { repeated as f64 / text.len() as f64 }
    }

    fn in_lines(&mut self, text: &[u8]) -> usize {
        self.seen.clear();
        let (mut repeated, mut start) = (0, 0);
        let ends = memchr::memchr_iter(b'\n', text).map(|end| end + 1);
        for end in ends.chain([text.len()]) {
            let line = &text[start..end];
            let bare = line.trim_ascii();
            start = end;
            if !bare.is_empty() && !self.seen.insert(xxh3_64(bare)) {
                repeated += line.len();
            }
        }
        repeated
    }

    fn in_words(&mut self, text: &[u8]) -> usize {
        self.seen.clear();
        // Hash and start of each of the last eight words, in turn.
        let mut last = [(0_u64, 0_usize); WORDS];
        let leaving = (1..WORDS).fold(BASE, |power, _| power.wrapping_mul(BASE));
        let (mut hash, mut n_words, mut repeated, mut covered) = (0_u64, 0, 0, 0);
        for word in words(text) {
            let of_word = xxh3_64(&text[word.clone()]);
            let slot = &mut last[n_words % WORDS];
            // The polynomial of the eight words in `BASE`; before there are eight, of zeros too.
            hash = hash.wrapping_mul(BASE).wrapping_add(of_word);
            hash = hash.wrapping_sub(slot.0.wrapping_mul(leaving));
            *slot = (of_word, word.start);
            n_words += 1;
            if n_words >= WORDS && !self.seen.insert(hash) {
                let start = last[n_words % WORDS].1;
                repeated += word.end - start.max(covered);
                covered = word.end;
            }
        }
        repeated
    }
}

/// Where the words of `text` lie.
fn words(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].iter().position(|byte| !byte.is_ascii_whitespace())?;
        let len = text[start..].iter().position(u8::is_ascii_whitespace);
        at = len.map_or(text.len(), |len| start + len);
        Some(start..at)
    })
}

/// A set of hashes that is cheap to empty: an entry is of this document if it has its number.
#[derive(Default)]
struct Seen {
    slots: Vec<(u64, u32)>,
    document: u32,
    n: usize,
}

impl Seen {
    fn clear(&mut self) {
        self.n = 0;
        if self.document == u32::MAX || self.slots.len() > 1 << 20 {
            self.slots = Vec::new();
            self.document = 0;
        }
        self.document += 1;
    }

    /// Whether `hash` is new.
    fn insert(&mut self, hash: u64) -> bool {
        if self.slots.len() <= 2 * self.n {
            self.grow();
        }
        // Polynomials have their entropy in the upper bits.
        let mask = self.slots.len() - 1;
        let mixed = hash ^ (hash >> 32);
        let mut slot = usize::try_from(mixed & mask as u64).unwrap_or(0);
        loop {
            let (found, document) = self.slots[slot];
            if document != self.document {
                self.slots[slot] = (hash, self.document);
                self.n += 1;
                return true;
            }
            if found == hash {
                return false;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let len = (2 * self.slots.len()).max(1 << 10);
        let before = std::mem::replace(&mut self.slots, vec![(0, 0); len]);
        self.n = 0;
        for (hash, document) in before {
            if document == self.document {
                self.insert(hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The slow twin: sets of the lines and n-grams themselves, and a flag for each byte.
    fn share(text: &[u8]) -> f64 {
        let (mut seen, mut in_lines) = (HashSet::new(), 0);
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let bare = line.trim_ascii();
            if !bare.is_empty() && !seen.insert(bare) {
                in_lines += line.len();
            }
        }
        let words: Vec<Range<usize>> = words(text).collect();
        let (mut seen, mut is_repeated) = (HashSet::new(), vec![false; text.len()]);
        for gram in words.windows(WORDS) {
            let content: Vec<&[u8]> = gram.iter().map(|word| &text[word.clone()]).collect();
            if !seen.insert(content) {
                is_repeated[gram[0].start..gram[WORDS - 1].end].fill(true);
            }
        }
        let in_words = is_repeated.iter().filter(|&&is| is).count();
        if text.is_empty() { 0.0 } else { in_lines.max(in_words) as f64 / text.len() as f64 }
    }

    #[test]
    fn what_comes_again_counts_and_what_it_repeats_does_not() {
        let mut repetition = Repetition::default();
        assert!((repetition.share(b"a\nb\na\nb\n") - 0.5).abs() < 1e-12);
        assert!((repetition.share(b"1 2 3 4 5 6 7 8 1 2 3 4 5 6 7 8") - 15.0 / 31.0).abs() < 1e-12);
        let distinct: Vec<String> = (0..10_000).map(|i| i.to_string()).collect();
        assert!(repetition.share(distinct.join(" ").as_bytes()).abs() < 1e-12);
        assert!(repetition.share("x y ".repeat(1000).as_bytes()) > 0.99);
    }

    proptest! {
        #[test]
        fn prop_share_is_that_of_the_slow_twin(
            texts in prop::collection::vec("([abc] ?|[ab]{2}[ \n]|\n| \t){0,120}", 1..4),
        ) {
            let mut repetition = Repetition::default();
            for text in texts {
                let (found, expected) = (repetition.share(text.as_bytes()), share(text.as_bytes()));
                prop_assert!((found - expected).abs() < 1e-12, "{} and {}", found, expected);
            }
        }
    }
}
