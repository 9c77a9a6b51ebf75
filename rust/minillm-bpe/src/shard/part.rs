//! Which part of the corpus one of several machines encodes.
//!
//! The sources, one behind the other, are cut into ranges of equally many bytes, and a document
//! belongs to the range in which it begins. So each machine finds its documents by looking at the
//! two ends of its range alone, and all parts together are the whole. A source that is not
//! plain text (packed, or jsonl) is not cut: it goes to the range in which its file begins.

use std::fmt::{Display, Formatter};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::misfit;
use super::recipe::Input;
use crate::corpus::Source;
use crate::special::SpecialTokens;
use crate::{Error, Result};

/// Text that is searched at once.
const WINDOW_BYTES: usize = if cfg!(test) { 16 } else { 1 << 16 };

/// One of several parts of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which one, from 1.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl Display for Part {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.index, self.of)
    }
}

impl Part {
    /// The bytes of a corpus of `total` that are this part's.
    fn range(self, total: u64) -> Range<u64> {
        let cut = |index: u32| {
            let cut = u128::from(total) * u128::from(index) / u128::from(self.of);
            u64::try_from(cut).unwrap_or(total)
        };
        cut(self.index.saturating_sub(1))..cut(self.index)
    }

    /// What of `sources`, each with its number, this part has to read. The first of `tokens` is
    /// the separator.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] if the part is not one of them or the size of a source is not known;
    /// [`Error::Io`] if one cannot be read.
    pub(super) fn cut(
        self,
        out: &Path,
        sources: Vec<(usize, Source)>,
        inputs: &[Input],
        tokens: &SpecialTokens,
    ) -> Result<Vec<(usize, Source)>> {
        if self.index == 0 || self.index > self.of {
            let reason = format!("is {self}, expected 1/{of} to {of}/{of}", of = self.of);
            return Err(misfit(out, "part", reason));
        }
        let sizes: Option<Vec<u64>> = inputs.iter().map(|input| input.size).collect();
        let Some(sizes) = sizes else {
            let unknown = inputs.iter().find(|input| input.size.is_none());
            let name = unknown.map_or("", |input| &input.path);
            return Err(misfit(out, "part", format!("needs files, and `{name}` is none")));
        };
        let ours = self.range(sizes.iter().sum());
        let (mut kept, mut base) = (Vec::new(), 0);
        for (index, source) in sources {
            let size = sizes[index];
            // The part of the file, in its own bytes.
            let start = ours.start.saturating_sub(base).min(size);
            let end = ours.end.saturating_sub(base).min(size);
            let begins_here = ours.contains(&base);
            base += size;
            match source {
                Source::File(path) => {
                    if start < end {
                        let range = document_range(&path, start..end, size, tokens)?;
                        if !range.is_empty() {
                            kept.push((index, Source::FileRange(path, range)));
                        }
                    }
                }
                other => {
                    if begins_here {
                        kept.push((index, other));
                    }
                }
            }
        }
        Ok(kept)
    }
}

/// The documents of a file of `size` bytes that begin inside of `range`. The first of `tokens` is
/// the separator.
pub(crate) fn document_range(
    path: &Path,
    range: Range<u64>,
    size: u64,
    tokens: &SpecialTokens,
) -> Result<Range<u64>> {
    let find = || {
        let mut file = File::open(path)?;
        let mut first = |at: u64| {
            if at == size { Ok(size) } else { first_document(&mut file, at, tokens) }
        };
        Ok(first(range.start)?..first(range.end)?)
    };
    find().map_err(|source| Error::io(path, source))
}

/// Where the first document at or behind `at` begins, or the end of the file.
fn first_document(file: &mut File, at: u64, tokens: &SpecialTokens) -> std::io::Result<u64> {
    if at == 0 {
        return Ok(0);
    }
    let mut base = in_step(file, at, tokens)?;
    file.seek(SeekFrom::Start(base))?;
    let mut text = Vec::new();
    loop {
        let n_read = file.take(WINDOW_BYTES as u64).read_to_end(&mut text)?;
        // A token that begins behind may turn out to be a longer one.
        let certain = if n_read == 0 {
            text.len()
        } else {
            (text.len() + 1).saturating_sub(tokens.max_len())
        };
        let mut done = 0;
        while let Some((found, index)) = tokens.find(&text, done) {
            if found.start >= certain {
                break;
            }
            done = found.end;
            if index == 0 && base + done as u64 >= at {
                return Ok(base + done as u64);
            }
        }
        if n_read == 0 {
            return Ok(base + text.len() as u64);
        }
        done = done.max(certain);
        text.drain(..done);
        base += done as u64;
    }
}

/// A place before `at` from where a search finds the same tokens as from the start of the file.
///
/// No token may reach across it, not even one that the search would not take: a separator of two
/// line ends, in the midst of many, is found elsewhere by who begins elsewhere.
fn in_step(file: &mut File, at: u64, tokens: &SpecialTokens) -> std::io::Result<u64> {
    let reach = tokens.max_len() as u64;
    let mut window = WINDOW_BYTES as u64 + 2 * reach;
    // A separator that ends at `at` is to be found.
    let last = at.saturating_sub(reach);
    loop {
        let start = last.saturating_sub(window);
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(last - start + reach).read_to_end(&mut text)?;
        let lowest = if start == 0 { 0 } else { start + reach };
        let mut place = last;
        while place > lowest {
            let offset = usize::try_from(place - start).unwrap_or(usize::MAX);
            if !tokens.tokens().iter().any(|token| reaches_across(&text, offset, token.as_bytes()))
            {
                return Ok(place);
            }
            place -= 1;
        }
        if start == 0 {
            return Ok(0);
        }
        window *= 4;
    }
}

/// Whether `token` stands in `text` so that it begins before `offset` and ends behind.
fn reaches_across(text: &[u8], offset: usize, token: &[u8]) -> bool {
    let first = (offset + 1).saturating_sub(token.len());
    (first..offset).any(|start| text.get(start..).is_some_and(|rest| rest.starts_with(token)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where documents begin, found by reading everything.
    fn all_documents(text: &[u8], tokens: &SpecialTokens) -> Vec<u64> {
        let (mut starts, mut from) = (vec![0], 0);
        while let Some((range, index)) = tokens.find(text, from) {
            from = range.end;
            if index == 0 {
                starts.push(from as u64);
            }
        }
        starts
    }

    proptest! {
        #[test]
        fn prop_the_first_document_is_found_from_anywhere(
            text in "(a|\n|\n\n\n|<s>|<s>x|<s){0,60}",
            specials in prop::sample::select(vec![
                &["<s>"][..], &["\n\n"], &["a\na", "\n"], &["<s>", "<s>x"], &["\n\n", "a\n"],
            ]),
        ) {
            let specials: Vec<String> = specials.iter().map(|&text| text.to_owned()).collect();
            let tokens = SpecialTokens::new(&specials).unwrap();
            let path = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&path, &text).unwrap();
            let starts = all_documents(text.as_bytes(), &tokens);
            let mut file = File::open(&path).unwrap();
            for at in 0..=text.len() as u64 {
                let expected = starts.iter().copied().find(|&start| start >= at);
                let found = first_document(&mut file, at, &tokens).unwrap();
                prop_assert_eq!(found, expected.unwrap_or(text.len() as u64), "from {}", at);
            }
        }

        #[test]
        fn prop_ranges_of_all_parts_are_the_whole(total in any::<u64>(), of in 1_u32..50) {
            let mut at = 0;
            for index in 1..=of {
                let range = Part { index, of }.range(total);
                prop_assert_eq!(range.start, at);
                at = range.end;
            }
            prop_assert_eq!(at, total);
        }
    }
}
