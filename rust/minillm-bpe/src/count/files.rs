//! Several counts files as one corpus.
//!
//! Files are added up entry by entry, so it is only the sum that must find room in memory, however
//! many they are and however large.

use std::path::Path;

use super::{
    Counts, CountsFile, check_memory, check_weights,
    entries::{Entries, fold},
    file::{Body, Opened, cut_differs},
};
use crate::{
    Error, Result,
    pretokenize::Pattern,
    progress::{Phase, Progress},
};

/// For reading: of all files together, and the limits of what each gets of it.
const READ_BYTES: usize = 1 << 22;
const LEAST_READ_BYTES: usize = 1 << 12;
const MOST_READ_BYTES: usize = 1 << 16;

/// Counts files whose text was cut in the same way.
pub struct CountsFiles {
    first: Opened,
    /// The others.
    rest: Vec<Opened>,
    weights: Vec<u64>,
}

impl CountsFiles {
    /// Looks at the headers of the files at `paths`; each counts as often as its weight says, or
    /// once if there are no weights.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::BadCounts`] for what is no counts file, is of another version or
    /// byte order, is damaged, was counted with other Unicode tables, or cut otherwise than the
    /// first file; [`Error::Weights`]; [`Error::EmptyCorpus`] without a file.
    pub fn open(paths: &[impl AsRef<Path>], weights: &[u64]) -> Result<Self> {
        check_weights(weights, paths.len())?;
        let Some((first, rest)) = paths.split_first() else {
            return Err(Error::EmptyCorpus { sources: "no counts files".to_owned() });
        };
        let first = Opened::new(first.as_ref())?;
        let rest =
            rest.iter().map(|path| Opened::new(path.as_ref())).collect::<Result<Vec<_>>>()?;
        let files = Self { first, rest, weights: weights.to_vec() };
        files.rest.iter().try_for_each(|file| {
            check_cut(file, files.pattern(), files.special_tokens(), "the files before with")
        })?;
        Ok(files)
    }

    /// Refuses files whose text was cut otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::BadCounts`].
    pub fn expect(
        &self,
        pattern: Option<&Pattern>,
        special_tokens: Option<&[String]>,
    ) -> Result<()> {
        let pattern = pattern.unwrap_or(self.pattern());
        let special_tokens = special_tokens.unwrap_or(self.special_tokens());
        check_cut(&self.first, pattern, special_tokens, "expected")
    }

    /// What cut the text.
    pub fn pattern(&self) -> &Pattern {
        self.first.pattern()
    }

    /// What was left out of it.
    pub fn special_tokens(&self) -> &[String] {
        self.first.special_tokens()
    }

    /// Adds up the counts.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::BadCounts`] for a file that is damaged, or whose counts 64 bits
    /// cannot hold; [`Error::MemoryTooSmall`] if the sum does not find room in `max_memory`;
    /// [`Error::Interrupted`].
    pub fn load(&self, max_memory: Option<u64>, progress: &Progress) -> Result<CountsFile> {
        // Once for the size of the sum, and once more to fill just as much.
        let pre_tokens = self.all().map(Opened::pre_tokens).fold(0, u64::saturating_add);
        progress.begin(Phase::Fold, pre_tokens.saturating_mul(2));
        let (mut len, mut text_bytes) = (0, 0);
        let mut lists = self.entries();
        fold(&mut lists, progress, |text, _| {
            len += 1;
            text_bytes += text.len();
            Ok(())
        })?;
        let corpus_bytes = self.check_totals(&lists)?;
        check_memory(max_memory, len as u64, text_bytes as u64)?;
        let mut counts = Counts::with_capacity(len, text_bytes);
        counts.corpus_bytes = corpus_bytes;
        fold(&mut self.entries(), progress, |text, count| {
            counts.push(text, count);
            Ok(())
        })?;
        let (pattern, special_tokens) = (self.pattern().clone(), self.special_tokens().to_vec());
        Ok(CountsFile { counts, pattern, special_tokens })
    }

    fn all(&self) -> impl Iterator<Item = &Opened> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    fn weights(&self) -> impl Iterator<Item = u64> {
        self.weights.iter().copied().chain(std::iter::repeat(1))
    }

    fn entries(&self) -> Vec<Entries<Body>> {
        let buffer_bytes = READ_BYTES / (1 + self.rest.len());
        let buffer_bytes = buffer_bytes.clamp(LEAST_READ_BYTES, MOST_READ_BYTES);
        let files = self.all().zip(self.weights());
        files.map(|(file, weight)| file.entries(buffer_bytes, weight)).collect()
    }

    /// Whether each file held what its header says, and all that is summed up over the entries, or
    /// by whoever trains on them, fits 64 bits. Returns the bytes of the corpus.
    fn check_totals(&self, lists: &[Entries<Body>]) -> Result<u64> {
        let (mut corpus_bytes, mut covered_bytes) = (0_u64, 0_u64);
        for ((file, list), weight) in self.all().zip(lists).zip(self.weights()) {
            let (found, expected) = (list.n_read(), file.pre_tokens());
            if found != expected {
                let reason = format!("holds {found} pre-tokens, its header says {expected}");
                return Err(list.bad(reason));
            }
            let bytes = file.corpus_bytes().checked_mul(weight);
            let sum = bytes.and_then(|bytes| bytes.checked_add(corpus_bytes));
            corpus_bytes = sum.ok_or_else(|| list.overflow())?;
            let sum = covered_bytes.checked_add(list.covered_bytes());
            covered_bytes = sum.ok_or_else(|| list.overflow())?;
        }
        Ok(corpus_bytes)
    }
}

fn check_cut(file: &Opened, pattern: &Pattern, special_tokens: &[String], who: &str) -> Result<()> {
    let found = (file.pattern(), file.special_tokens());
    match cut_differs(found, (pattern, special_tokens), who) {
        Some(reason) => Err(file.bad(reason)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{
        super::file::tests::{bytes_of, file, sorted},
        *,
    };
    use crate::pretokenize::NamedPattern;

    fn sum(paths: &[&PathBuf], weights: &[u64]) -> Result<CountsFile> {
        CountsFiles::open(paths, weights)?.load(None, &Progress::default())
    }

    #[test]
    fn files_add_up_and_do_not_depend_on_order() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        file(&[(b"x", 1 << 40), (b"yy", 2)]).save(&a).unwrap();
        file(&[(b"yy", 3), (&[0xFF; 300], 1)]).save(&b).unwrap();
        let total = sum(&[&a, &b], &[]).unwrap();
        let expected = [(b"x".to_vec(), 1 << 40), (b"yy".to_vec(), 5), (vec![0xFF; 300], 1)];
        assert_eq!(sorted(&total), expected);
        assert_eq!(bytes_of(&total), bytes_of(&sum(&[&b, &a], &[]).unwrap()));
        let weighted = sum(&[&a, &b], &[3, 1]).unwrap();
        let expected = [(b"x".to_vec(), 3 << 40), (b"yy".to_vec(), 9), (vec![0xFF; 300], 1)];
        assert_eq!(sorted(&weighted), expected);
        assert_eq!(bytes_of(&weighted), bytes_of(&sum(&[&a, &b, &a, &a], &[]).unwrap()));
    }

    #[test]
    fn thousands_of_files_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        file(&[(b"x", 2)]).save(&path).unwrap();
        let total = sum(&vec![&path; 5000], &[]).unwrap();
        assert_eq!(sorted(&total), [(b"x".to_vec(), 10_000)]);
    }

    #[test]
    fn sums_that_64_bits_cannot_hold_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        file(&[(b"x", 1 << 63)]).save(&a).unwrap();
        file(&[(b"yy", 1 << 62)]).save(&b).unwrap();
        let message = sum(&[&a, &b], &[]).unwrap_err().to_string();
        let reason = "with its counts, the corpus has more bytes than 64 bits can tell";
        assert_eq!(message, format!("{}: {reason}", b.display()));
        let message = sum(&[&a], &[2]).unwrap_err().to_string();
        assert_eq!(message, format!("{}: {reason}", a.display()));
        let load = |path| CountsFile::load(path).unwrap();
        assert!(matches!(load(&a).plus(&load(&b), &Progress::default()), Err(Error::TooManyBytes)));
    }

    #[test]
    fn counts_in_memory_add_up_as_files_do() {
        let one = file(&[(b"x", 1), (b"a text of more than sixteen bytes", 2)]);
        let other = file(&[(b"x", 5), (b"y", 1)]);
        let expected = file(&[(b"x", 6), (b"y", 1), (b"a text of more than sixteen bytes", 2)]);
        assert_eq!(bytes_of(&one.plus(&other, &Progress::default()).unwrap()), bytes_of(&expected));
        let uncut = CountsFile { pattern: Pattern::None, ..other };
        let message = one.plus(&uncut, &Progress::default()).unwrap_err().to_string();
        assert_eq!(message, "counts: counted with pattern `none`, the others with `gpt2`");
    }

    #[test]
    fn what_is_expected_is_named_with_what_is_found() {
        let saved = tempfile::NamedTempFile::new().unwrap();
        let path = saved.path().to_owned();
        file(&[(b"x", 1)]).save(&path).unwrap();
        let files = CountsFiles::open(&[&path], &[]).unwrap();
        let reason = |result: Result<()>| {
            let message = result.unwrap_err().to_string();
            message.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
        };
        assert_eq!(
            reason(files.expect(Some(&Pattern::Named(NamedPattern::Cl100k)), None)),
            "counted with pattern `gpt2`, expected `cl100k`"
        );
        assert_eq!(
            reason(files.expect(None, Some(&["<|a|>".to_owned()]))),
            "counted with special tokens [\"<|endoftext|>\"], expected [\"<|a|>\"]"
        );
        files.expect(Some(&Pattern::Named(NamedPattern::Gpt2)), None).unwrap();
        assert_eq!(
            files.load(Some(12), &Progress::default()).unwrap_err().to_string(),
            "max_memory is 12 bytes, but holding 1 distinct pre-tokens takes at least 13"
        );
    }
}
