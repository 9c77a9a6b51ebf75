//! Any pattern, through a backtracking regex engine: the slow, general path.
//!
//! The engine wants UTF-8. Each byte of the text that is not UTF-8 is shown to it as U+FFFD, which
//! no published pattern counts as letter, number or white space; that is the definition of what
//! such bytes are, and the scanners agree with it.

use std::borrow::Cow;

use fancy_regex::{Regex, RegexBuilder};

use crate::{Error, Result};

/// Steps back that one match may take before the engine gives up. A million blanks need one each.
const BACKTRACK_LIMIT: usize = 100_000_000;
const STAND_IN: char = '\u{FFFD}';
/// What U+FFFD takes beyond the one byte that it stands for.
const STAND_IN_EXTRA: usize = STAND_IN.len_utf8() - 1;

/// Compiles `pattern`.
pub(super) fn compile(pattern: &str) -> Result<Regex> {
    RegexBuilder::new(pattern)
        .backtrack_limit(BACKTRACK_LIMIT)
        .build()
        .map_err(|err| pattern_error(pattern, &err))
}

fn pattern_error(pattern: &str, err: &fancy_regex::Error) -> Error {
    Error::Pattern { pattern: pattern.to_owned(), reason: err.to_string() }
}

/// Calls `visit` with start and end of each pre-token: each match, and each stretch between
/// matches, so that nothing of the text is lost.
///
/// # Errors
///
/// [`Error::Pattern`] when the engine gives up.
pub(super) fn for_each_span(
    regex: &Regex,
    text: &[u8],
    mut visit: impl FnMut(usize, usize),
) -> Result<()> {
    let utf8 = as_utf8(text);
    let mut stand_ins = stand_ins(text).peekable();
    let mut extra = 0;
    // Offset in `text` of an offset in `utf8`; called with growing offsets only.
    let mut original = |offset: usize| {
        while stand_ins.next_if(|&at| at < offset).is_some() {
            extra += STAND_IN_EXTRA;
        }
        offset - extra
    };
    let mut done = 0;
    for found in regex.find_iter(&*utf8) {
        let found = found.map_err(|err| pattern_error(regex.as_str(), &err))?;
        let (start, end) = (original(found.start()), original(found.end()));
        if start > done {
            visit(done, start);
        }
        if end > start {
            visit(start, end);
        }
        done = end;
    }
    if done < text.len() {
        visit(done, text.len());
    }
    Ok(())
}

/// `text` with a stand-in for each invalid byte.
fn as_utf8(text: &[u8]) -> Cow<'_, str> {
    if let Ok(utf8) = str::from_utf8(text) {
        return Cow::Borrowed(utf8);
    }
    let mut utf8 = String::with_capacity(text.len() + text.len() / 8);
    for chunk in text.utf8_chunks() {
        utf8.push_str(chunk.valid());
        utf8.extend(chunk.invalid().iter().map(|_| STAND_IN));
    }
    Cow::Owned(utf8)
}

/// Where in [`as_utf8`] the stand-ins are, found again rather than held.
fn stand_ins(text: &[u8]) -> impl Iterator<Item = usize> {
    let mut end = 0;
    text.utf8_chunks().flat_map(move |chunk| {
        let first = end + chunk.valid().len();
        end = first + chunk.invalid().len() * STAND_IN.len_utf8();
        (first..end).step_by(STAND_IN.len_utf8())
    })
}
