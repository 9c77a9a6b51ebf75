//! A stream of any length -> the pieces between delimiters, each in memory whole.
//!
//! A piece is borrowed from the buffer that the stream is read into. One that is too long is passed
//! over without being held.

use std::io::{ErrorKind, Read};
use std::path::Path;

use memchr::memmem::Finder;

use crate::progress::Progress;
use crate::{Error, Result};

/// What is read at once. (Tests have short texts.)
const READ_BYTES: usize = if cfg!(test) { 8 } else { 1 << 18 };

/// Memory that is kept for the next piece.
const KEPT_BYTES: usize = 16 * READ_BYTES;

/// What stands between two delimiters, or before or behind all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'b> {
    /// All of it.
    Whole(&'b [u8]),
    /// It has more bytes than a piece may have.
    TooLong,
}

/// The pieces of a stream.
pub(super) struct Pieces<'f, R> {
    stream: R,
    name: &'f Path,
    /// [`None`]: the stream is one piece.
    delimiter: Option<Finder<'f>>,
    longest: usize,
    buffer: Vec<u8>,
    /// What of the buffer is filled, and what of that is not handed out.
    filled: usize,
    at: usize,
    /// Where the next piece begins in the stream.
    next: u64,
    has_ended: bool,
}

impl<'f, R: Read> Pieces<'f, R> {
    /// Reads `stream`, which messages call `name`.
    pub(super) fn new(
        stream: R,
        name: &'f Path,
        delimiter: Option<&'f [u8]>,
        longest: usize,
    ) -> Self {
        let delimiter = delimiter.map(Finder::new);
        let buffer = Vec::new();
        let (next, has_ended) = (0, false);
        Self { stream, name, delimiter, longest, buffer, filled: 0, at: 0, next, has_ended }
    }

    /// The next piece and where it begins; [`None`] at the end, before which no empty one is.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Interrupted`].
    pub(super) fn next(&mut self, progress: &Progress) -> Result<Option<(u64, Piece<'_>)>> {
        let reach = self.delimiter.as_ref().map_or(0, |finder| finder.needle().len());
        let begin = self.next;
        if self.buffer.len() > KEPT_BYTES && self.filled - self.at < READ_BYTES {
            self.drop_front();
            self.buffer.truncate(KEPT_BYTES);
            self.buffer.shrink_to(KEPT_BYTES);
        }
        let (mut searched, mut is_too_long) = (self.at, false);
        loop {
            let text = &self.buffer[searched..self.filled];
            let found = self.delimiter.as_ref().and_then(|finder| finder.find(text));
            let end = found.map(|found| searched + found).or_else(|| {
                (self.has_ended && (self.filled > self.at || is_too_long)).then_some(self.filled)
            });
            let Some(end) = end else {
                if self.has_ended {
                    return Ok(None);
                }
                // A delimiter may begin in what is there and end in what is to come.
                searched = self.filled.saturating_sub(reach.saturating_sub(1)).max(searched);
                if searched - self.at > self.longest || is_too_long {
                    is_too_long = true;
                    self.next += (searched - self.at) as u64;
                    self.at = searched;
                }
                let moved = self.at;
                self.fill(progress)?;
                searched -= moved - self.at;
                continue;
            };
            let start = self.at;
            self.at = if found.is_some() { end + reach } else { end };
            self.next += (self.at - start) as u64;
            let is_too_long = is_too_long || end - start > self.longest;
            let piece = &self.buffer[start..end];
            let piece = if is_too_long { Piece::TooLong } else { Piece::Whole(piece) };
            return Ok(Some((begin, piece)));
        }
    }

    /// Reads more behind what is filled, for which it makes room.
    fn fill(&mut self, progress: &Progress) -> Result<()> {
        if self.buffer.len() - self.filled < READ_BYTES {
            self.drop_front();
            if self.buffer.len() - self.filled < READ_BYTES {
                // Doubled, so that what is moved is no more than what is read.
                self.buffer.resize((2 * self.buffer.len()).max(4 * READ_BYTES), 0);
            }
        }
        let room = &mut self.buffer[self.filled..][..READ_BYTES];
        let n_read = loop {
            match self.stream.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                n_read => break n_read.map_err(|source| Error::io(self.name, source))?,
            }
        };
        self.filled += n_read;
        self.has_ended = n_read == 0;
        progress.advance(n_read as u64)
    }

    fn drop_front(&mut self) {
        self.buffer.copy_within(self.at..self.filled, 0);
        self.filled -= self.at;
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hands out a few bytes at a time.
    struct Slow<'t>(&'t [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.len().min(self.1).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn pieces(
        text: &[u8],
        at_once: usize,
        by: Option<&str>,
        longest: usize,
    ) -> Vec<(u64, Option<String>)> {
        let by = by.map(str::as_bytes);
        let mut pieces = Pieces::new(Slow(text, at_once), Path::new("t"), by, longest);
        let mut found = Vec::new();
        while let Some((start, piece)) = pieces.next(&Progress::default()).unwrap() {
            found.push((
                start,
                match piece {
                    Piece::Whole(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
                    Piece::TooLong => None,
                },
            ));
        }
        found
    }

    proptest! {
        #[test]
        fn prop_pieces_are_those_of_a_split(
            text in "(a{0,9}|b|\\|\\|?|\\|x){0,30}",
            at_once in 1_usize..20,
            longest in 1_usize..40,
            by in prop::sample::select(vec![Some("|"), Some("||"), Some("|x|"), None]),
        ) {
            let mut expected = Vec::new();
            let (mut at, n) = (0, by.map_or(0, str::len));
            for piece in by.map_or(vec![&text[..]], |by| text.split(by).collect()) {
                let is_held = piece.len() <= longest;
                expected.push((at as u64, is_held.then(|| piece.to_owned())));
                at += piece.len() + n;
            }
            // Nothing behind the last delimiter is no piece.
            expected.pop_if(|(_, piece)| piece.as_deref() == Some(""));
            prop_assert_eq!(pieces(text.as_bytes(), at_once, by, longest), expected);
        }
    }

    #[test]
    fn a_piece_that_is_too_long_is_not_held() {
        let stream = std::io::repeat(b'x').take(100_000).chain(&b"|ab|"[..]);
        let mut pieces = Pieces::new(stream, Path::new("t"), Some(b"|"), 100);
        let progress = Progress::default();
        assert_eq!(pieces.next(&progress).unwrap(), Some((0, Piece::TooLong)));
        assert_eq!(pieces.next(&progress).unwrap(), Some((100_001, Piece::Whole(b"ab"))));
        assert_eq!(pieces.next(&progress).unwrap(), None);
        assert!(pieces.buffer.capacity() < 1000);
    }

    #[test]
    fn memory_of_a_long_piece_is_given_back() {
        let long = "x".repeat(10_000) + &"|y".repeat(100);
        let mut pieces = Pieces::new(long.as_bytes(), Path::new("t"), Some(b"|"), 1 << 20);
        let progress = Progress::default();
        assert!(pieces.next(&progress).unwrap().is_some());
        assert!(pieces.buffer.len() > KEPT_BYTES);
        let mut n = 0;
        while let Some((_, piece)) = pieces.next(&progress).unwrap() {
            assert_eq!(piece, Piece::Whole(b"y"));
            n += 1;
        }
        assert_eq!(n, 100);
        assert!(pieces.buffer.len() <= KEPT_BYTES);
    }

    #[test]
    fn who_wants_to_stop_is_heard() {
        let progress = Progress::default();
        progress.cancel();
        let mut pieces = Pieces::new(&b"abc"[..], Path::new("t"), None, 10);
        assert!(matches!(pieces.next(&progress), Err(Error::Interrupted)));
    }
}
